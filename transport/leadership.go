package transport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hashicorp/raft"
)

// A LeadershipLoop runs a leader's work while this node leads, and at no other
// time.
//
// Raft announces each gain and loss of leadership on Config.NotifyCh, and stands
// still while nobody takes the announcement, heartbeats and elections included.
// (LeaderCh never blocks it, but drops announcements.) So the channel has room
// for more changes than any cluster goes through while a node starts, and Run
// takes them at any time, whatever the leader's work is doing. After Run has
// returned, raft must be shut down.
type LeadershipLoop struct {
	log     *slog.Logger
	changes chan bool
}

// A leadership is the part of *raft.Raft that is needed to give it up.
type candidate interface {
	State() raft.RaftState
	CurrentTerm() uint64
	LeadershipTransfer() raft.Future
}

const (
	// bufferedChanges of leadership may happen before Run is called.
	bufferedChanges = 1024
	// leadAgain is when a leader that failed to begin, and could not hand over,
	// tries again.
	leadAgain = time.Second
)

var (
	errLeadershipLost = errors.New("leadership lost")
	errRegained       = errors.New("leadership lost and regained")
)

// NewLeadershipLoop returns a loop that does nothing yet.
func NewLeadershipLoop(log *slog.Logger) *LeadershipLoop {
	return &LeadershipLoop{log: log, changes: make(chan bool, bufferedChanges)}
}

// Configure makes raft announce its leadership here. It must be called before
// raft.NewRaft.
func (l *LeadershipLoop) Configure(c *raft.Config) { c.NotifyCh = l.changes }

// Run calls lead whenever this node begins to lead, until ctx ends; then it
// returns ctx's error, after lead has returned.
//
// The context given to lead ends with the leadership. Two calls never overlap: a
// call that takes its time to return delays the next one. term is raft's term
// when the call was made; if leadership changes hands quickly that may not be a
// term in which this node leads, and another call follows.
//
// If lead returns an error while this node leads, it could not do its work, and
// leadership is handed to another node. Where that is not possible, as in a
// cluster of one, lead is called again after a second, and so on. If lead returns
// nil it is not called again in this term.
func (l *LeadershipLoop) Run(ctx context.Context, r candidate, lead func(ctx context.Context, term uint64) error) error {
	var now *tenure // whose lead has not returned
	leads := false  // as far as raft announced
	var retry <-chan time.Time
	stop := ctx.Done()
	for {
		if leads && now == nil && retry == nil {
			now = newTenure(ctx, r.CurrentTerm(), lead)
		}
		select {
		case <-stop:
			stop, leads = nil, false // lead's context has ended with ctx
		case leads = <-l.changes:
			// NB: gained after gained means that a loss went unseen. Whatever the
			// change is, it ends what went before.
			now.end(leads)
			retry = nil
			leads = leads && stop != nil
		case err := <-now.done():
			if err != nil && now.ctx.Err() == nil {
				l.giveUp(ctx, r, now.term, err)
				retry = time.After(leadAgain)
			} else if now.ctx.Err() == nil {
				leads = false
			}
			now.end(false)
			now = nil
		case <-retry:
			retry = nil
		}
		if stop == nil && now == nil {
			return context.Cause(ctx)
		}
	}
}

// giveUp hands leadership over, unless it has changed hands already.
func (l *LeadershipLoop) giveUp(ctx context.Context, r candidate, term uint64, why error) {
	l.log.Error("could not lead, handing over", "term", term, "err", why)
	if len(l.changes) > 0 || r.State() != raft.Leader || r.CurrentTerm() != term {
		return
	}
	f := r.LeadershipTransfer()
	go func() { // ends within an election timeout, or with ctx
		if err := await(ctx, f); err != nil {
			l.log.Warn("leadership not handed over", "term", term, "err", err)
		}
	}()
}

// A tenure is one call of lead. A nil one has not begun and never returns.
type tenure struct {
	ctx      context.Context
	cancel   context.CancelCauseFunc
	term     uint64
	returned chan error
}

func newTenure(ctx context.Context, term uint64, lead func(context.Context, uint64) error) *tenure {
	t := &tenure{term: term, returned: make(chan error, 1)}
	t.ctx, t.cancel = context.WithCancelCause(ctx)
	go func() { t.returned <- lead(t.ctx, term) }()
	return t
}

func (t *tenure) done() <-chan error {
	if t == nil {
		return nil
	}
	return t.returned
}

func (t *tenure) end(regained bool) {
	switch {
	case t == nil:
	case regained:
		t.cancel(fmt.Errorf("term %d: %w", t.term, errRegained))
	default:
		t.cancel(fmt.Errorf("term %d: %w", t.term, errLeadershipLost))
	}
}
