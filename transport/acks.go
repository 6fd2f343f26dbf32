package transport

import (
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// acks remember which peers have acknowledged this node as the leader of a
// term, and as of when.
//
// Raft's VerifyLeader asks the same, but takes the first answer that arrives
// from each peer, to whatever request, even one that was sent before
// VerifyLeader was called. If the leader was paused, or the network was slow,
// such an answer was given before another leader was elected, and proves
// nothing about now. (etcd had the same flaw, etcd-io/etcd#20418.) So each
// request to append is dated here, before it is sent, by rounds: no clock is
// involved.
//
// The zero value has heard of nobody. Safe for concurrent use.
type acks struct {
	round atomic.Uint64 // newest that was begun

	mu    sync.Mutex // guards the rest
	term  uint64
	heard map[raft.ServerID]uint64 // in term, the newest round in which a request was sent that was acknowledged
}

// begin starts a round: a request that is sent from now on belongs to it, or to
// a later one.
func (a *acks) begin() uint64 { return a.round.Add(1) }

// note runs send, which sends one request to append to a peer, and takes note
// of the answer. A peer that answers in the request's term had not, until then,
// heard of a later one, so it had not voted in any. It does not matter whether
// it could append.
func (a *acks) note(peer raft.ServerID, req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse, send func() error) error {
	round := a.round.Load() // NB: before sending
	if err := send(); err != nil {
		return err
	}
	if resp.Term != req.Term {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if req.Term > a.term {
		a.term, a.heard = req.Term, make(map[raft.ServerID]uint64)
	}
	if req.Term == a.term {
		a.heard[peer] = max(a.heard[peer], round)
	}
	return nil
}

// acknowledged reports whether peer acknowledged a request of round or later in
// term.
func (a *acks) acknowledged(peer raft.ServerID, term, round uint64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.term == term && a.heard[peer] >= round
}
