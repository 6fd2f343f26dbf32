package transport

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/tkcoord/tkcoord/fsm/clock"
)

// Peers asks other nodes of the cluster, by their gRPC address.
type Peers interface {
	// Stats tells how far a node is, and what its wall clock shows.
	Stats(ctx context.Context, address string) (PeerStats, error)
	// Digest returns the digest that a node computed at an index, "" while it
	// has none.
	Digest(ctx context.Context, address string, index uint64) (string, error)
}

// PeerStats is what a node says of itself.
type PeerStats struct {
	ID                                string
	LastTerm, LastIndex, AppliedIndex uint64
	Wall                              clock.Millis
}

// askTimeout bounds one round of questions to the other voters.
const askTimeout = time.Second

// askVoters puts a question to all voters other than this node at once and
// returns the answers that came in time.
func askVoters[A any](ctx context.Context, voters []MemberStatus, ask func(context.Context, MemberStatus) (A, error)) []A {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var mu sync.Mutex
	var answers []A
	var all sync.WaitGroup
	for _, v := range voters {
		all.Go(func() {
			if a, err := ask(ctx, v); err == nil {
				mu.Lock()
				defer mu.Unlock()
				answers = append(answers, a)
			}
		})
	}
	all.Wait()
	return answers
}

// A heard is what a voter said last.
type heard struct {
	PeerStats
	offset clock.Millis // its wall clock minus the cluster clock
}

// medianLag asks the voters for their wall clocks and returns how far the
// cluster clock lags their median. It reports false unless a majority of the
// voters, this node among them, answered.
func (n *Node) medianLag(ctx context.Context) (clock.Millis, bool) {
	voters, others := n.voters()
	type answer struct {
		id string
		heard
	}
	answers := askVoters(ctx, others, func(ctx context.Context, m MemberStatus) (answer, error) {
		before := n.clock.Now()
		s, err := n.peers.Stats(ctx, m.GRPCAddress)
		// The answer was made about half way between.
		return answer{m.ServerID, heard{s, s.Wall - (before+n.clock.Now())/2}}, err
	})
	lags := []clock.Millis{n.clock.WallOffset()}
	news := make(map[string]heard, len(answers))
	for _, a := range answers {
		lags = append(lags, a.offset)
		news[a.id] = a.heard
	}
	n.mu.Lock()
	n.heard = news
	n.mu.Unlock()
	return median(lags), len(lags) > voters/2
}

// heardStats returns what the voters said last, by server id; nothing unless
// this node leads.
func (n *Node) heardStats() map[string]heard {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.heard
}

// peerLog asks a node for its newest log entry.
func (n *Node) peerLog(ctx context.Context, p Peer) (lastIndex, lastTerm uint64, err error) {
	s, err := n.peers.Stats(ctx, p.GRPCAddress)
	return s.LastIndex, s.LastTerm, err
}

// median returns the lower median, so that half of the clocks must agree before
// the cluster clock is moved forward.
func median(v []clock.Millis) clock.Millis {
	slices.Sort(v)
	return v[(len(v)-1)/2]
}
