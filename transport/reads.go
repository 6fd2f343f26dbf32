package transport

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// ReadConfig is what a ReadIndexer reads from.
type ReadConfig struct {
	ID raft.ServerID // of this node

	// Raft is *raft.Raft.
	Raft interface {
		State() raft.RaftState
		CurrentTerm() uint64
		CommitIndex() uint64
		VerifyLeader() raft.Future
		GetConfiguration() raft.ConfigurationFuture
	}
	// Log is the log store that raft has.
	Log interface {
		GetLog(index uint64, out *raft.Log) error
	}
	// Peers is raft's transport, *RaftTransport.
	Peers interface {
		begin() (round uint64)
		acknowledged(peer raft.ServerID, term, round uint64) bool
	}
	// Applied waits until the state machine holds an entry.
	Applied interface {
		wait(ctx context.Context, index uint64) error
	}

	// Timeout is how long a quorum may take to confirm that this node leads.
	// Readers then hear ErrNotLeader, and may ask another node. Below the round
	// trip to the second fastest voter no read succeeds.
	Timeout time.Duration
}

// A ReadIndexer lets a leader read its own state machine linearizably without
// writing to the log (Ongaro's thesis, section 6.4). For reads that arrived
// before a round begins, it
//
//  1. sees that an entry of this term was committed, so that the commit index is
//     not behind what earlier leaders acknowledged: Established says so;
//  2. takes the commit index;
//  3. sees that a quorum acknowledges this node as the leader of this term, to
//     requests that were sent after the round began, so that no other leader can
//     have acknowledged anything before then;
//  4. sees that the term is still the same;
//  5. waits for the state machine to hold what was committed.
//
// One round runs at a time and serves everybody who waited when it began. Who
// comes later waits for the next one: the round may have been confirmed by
// answers given before he asked. VerifyLeader alone does not do for the third
// step either; see acks.
//
// Safe for concurrent use.
type ReadIndexer struct {
	cfg         ReadConfig
	established atomic.Uint64 // term

	// asking holds one token while a call of VerifyLeader has not answered. If
	// raft hangs it never does, and no second one is made.
	asking chan struct{}

	mu      sync.Mutex // guards the rest
	running bool       // a round is, or is about to
	next    *readRound // collects; nil while nobody waits

	// last belongs to the goroutine that runs rounds.
	last struct{ index, command uint64 }
}

// A readRound serves those who joined it before it began.
type readRound struct {
	done    chan struct{} // closed when the rest is set
	index   uint64        // the read index
	command uint64        // the newest command up to it
	err     error
}

// NewReadIndexer returns a ReadIndexer that refuses until Established is called.
func NewReadIndexer(c ReadConfig) *ReadIndexer {
	return &ReadIndexer{cfg: c, asking: make(chan struct{}, 1)}
}

// Established says that this node leads in term, and that an entry which it
// proposed in that term was committed and applied here: a barrier, say.
func (r *ReadIndexer) Established(term uint64) { r.established.Store(term) }

// Await returns an index at which a read of the local state machine may be made
// now: it sees all that was acknowledged, to anyone, before the call. It fails
// with ErrNotLeader, or with ctx's error.
func (r *ReadIndexer) Await(ctx context.Context) (index uint64, err error) {
	round := r.join()
	select {
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	case <-round.done:
	}
	if round.err != nil {
		return 0, round.err
	}
	if err := r.cfg.Applied.wait(ctx, round.command); err != nil {
		return 0, err
	}
	return round.index, nil
}

// join returns the round that begins next, and sees to it that it does.
func (r *ReadIndexer) join() *readRound {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next == nil {
		r.next = &readRound{done: make(chan struct{})}
	}
	round := r.next
	if !r.running {
		r.running = true
		go r.run()
	}
	return round
}

// run runs rounds until nobody waits for one.
func (r *ReadIndexer) run() {
	for {
		r.mu.Lock()
		round := r.next
		r.next = nil // NB: from here on nobody joins this round
		r.running = round != nil
		r.mu.Unlock()
		if round == nil {
			return
		}
		round.index, round.command, round.err = r.confirm()
		close(round.done)
	}
}

// confirm makes one round.
func (r *ReadIndexer) confirm() (index, command uint64, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), r.cfg.Timeout)
	defer cancel()
	round := r.cfg.Peers.begin()
	term := r.cfg.Raft.CurrentTerm()
	if err := r.leads(term); err != nil {
		return 0, 0, err
	}
	index = r.cfg.Raft.CommitIndex()
	for {
		if err := r.verify(ctx); err != nil {
			return 0, 0, fmt.Errorf("%w in term %d: %w", ErrNotLeader, term, err)
		}
		if err := r.leads(term); err != nil {
			return 0, 0, err
		}
		if r.quorum(term, round) {
			break
		}
		// Raft was content with answers to older requests. It has made new ones,
		// so asking again takes one more round trip.
	}
	command, err = r.lastCommand(index)
	return index, command, err
}

// leads checks that this node leads in term and has established it.
func (r *ReadIndexer) leads(term uint64) error {
	switch {
	case r.cfg.Raft.State() != raft.Leader || r.cfg.Raft.CurrentTerm() != term:
		return fmt.Errorf("%w in term %d", ErrNotLeader, term)
	case r.established.Load() != term:
		return fmt.Errorf("%w in term %d: it has just begun", ErrNotLeader, term)
	}
	return nil
}

// verify has raft send heartbeats at once and waits for a quorum of answers.
func (r *ReadIndexer) verify(ctx context.Context) error {
	select {
	case r.asking <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return awaitCall(ctx, func() error {
		defer func() { <-r.asking }()
		return r.cfg.Raft.VerifyLeader().Error()
	})
}

// quorum reports whether a majority of the voters acknowledged a request that
// was sent in round or later.
func (r *ReadIndexer) quorum(term, round uint64) bool {
	voters, agree := 0, 0
	for _, s := range r.cfg.Raft.GetConfiguration().Configuration().Servers {
		if s.Suffrage != raft.Voter {
			continue
		}
		voters++
		if s.ID == r.cfg.ID || r.cfg.Peers.acknowledged(s.ID, term, round) {
			agree++
		}
	}
	return agree > voters/2
}

// lastCommand returns the newest entry up to a committed index that the state
// machine sees: raft keeps its own entries to itself, so waiting for one of them
// to be applied would take until the next command. 0 if the snapshot covers it,
// which the state machine holds.
func (r *ReadIndexer) lastCommand(index uint64) (uint64, error) {
	command := r.last.command
	for i := index; i > r.last.index; i-- {
		var e raft.Log
		err := r.cfg.Log.GetLog(i, &e)
		if errors.Is(err, raft.ErrLogNotFound) {
			command = 0
			break
		}
		if err != nil {
			return 0, fmt.Errorf("%w: %w", ErrNotLeader, err)
		}
		if e.Type == raft.LogCommand {
			command = i
			break
		}
	}
	r.last.index, r.last.command = index, command
	return command, nil
}
