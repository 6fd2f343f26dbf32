package transport

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"go.uber.org/goleak"
)

// A fakeLeadership stands for raft in a loop under test.
type fakeLeadership struct {
	state     atomic.Uint32
	term      atomic.Uint64
	transfers atomic.Int64
	transfer  error
}

func (f *fakeLeadership) State() raft.RaftState { return raft.RaftState(f.state.Load()) }
func (f *fakeLeadership) CurrentTerm() uint64   { return f.term.Load() }
func (f *fakeLeadership) LeadershipTransfer() raft.Future {
	f.transfers.Add(1)
	return futureFunc(func() error { return f.transfer })
}

// A leadershipTest runs a loop in a bubble of virtual time.
type leadershipTest struct {
	*fakeLeadership
	loop   *LeadershipLoop
	cancel context.CancelFunc
	ended  chan error

	mu    sync.Mutex // guards the rest
	calls []*leadCall
}

type leadCall struct {
	ctx    context.Context
	term   uint64
	answer chan error // what lead returns
}

// newLeadershipTest starts a loop whose lead returns what the test says, or,
// with obey, when its context ends.
func newLeadershipTest(t *testing.T, obey bool) *leadershipTest {
	lt := &leadershipTest{fakeLeadership: &fakeLeadership{}, loop: NewLeadershipLoop(slog.New(slog.DiscardHandler)), ended: make(chan error, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	lt.cancel = cancel
	var running atomic.Int64
	go func() {
		lt.ended <- lt.loop.Run(ctx, lt, func(ctx context.Context, term uint64) error {
			if running.Add(1) > 1 {
				t.Error("two leaders at once")
			}
			defer running.Add(-1)
			c := &leadCall{ctx, term, make(chan error, 1)}
			lt.mu.Lock()
			lt.calls = append(lt.calls, c)
			lt.mu.Unlock()
			if obey {
				select {
				case <-ctx.Done():
					return ctx.Err()
				case err := <-c.answer:
					return err
				}
			}
			return <-c.answer
		})
	}()
	return lt
}

// announce says what raft does.
func (lt *leadershipTest) announce(t *testing.T, gained bool) {
	t.Helper()
	if gained {
		lt.term.Add(1)
		lt.state.Store(uint32(raft.Leader))
	} else {
		lt.state.Store(uint32(raft.Follower))
	}
	select {
	case lt.loop.changes <- gained:
	case <-time.After(time.Second):
		t.Fatal("raft would stand still")
	}
}

// seen returns the calls of lead so far, once nothing moves any more.
func (lt *leadershipTest) seen() []*leadCall {
	synctest.Wait()
	lt.mu.Lock()
	defer lt.mu.Unlock()
	return lt.calls
}

func (lt *leadershipTest) stop(t *testing.T) {
	t.Helper()
	lt.cancel()
	if err := <-lt.ended; !errors.Is(err, context.Canceled) {
		t.Errorf("Run = %v, want context.Canceled", err)
	}
}

func TestLeadershipGainedAndLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lt := newLeadershipTest(t, true)
		for round := 1; round <= 3; round++ {
			lt.announce(t, true)
			calls := lt.seen()
			if len(calls) != round || calls[round-1].term != uint64(round) || calls[round-1].ctx.Err() != nil {
				t.Fatalf("gained %d times: %d calls", round, len(calls))
			}
			lt.announce(t, false)
			if lt.seen(); !errors.Is(context.Cause(calls[round-1].ctx), errLeadershipLost) {
				t.Errorf("lost: the context ended with %v", context.Cause(calls[round-1].ctx))
			}
		}
		lt.stop(t)
		if n := lt.transfers.Load(); n > 0 {
			t.Errorf("%d transfers, want none", n)
		}
	})
}

// If the loss went unseen, the second gain is of another term, in which another
// node may have led and committed in between.
func TestLeadershipGainedTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lt := newLeadershipTest(t, true)
		lt.announce(t, true)
		first := lt.seen()[0]
		lt.announce(t, true)
		calls := lt.seen()
		if !errors.Is(context.Cause(first.ctx), errRegained) {
			t.Errorf("the first context ended with %v, want errRegained", context.Cause(first.ctx))
		}
		if len(calls) != 2 || calls[1].term != 2 || calls[1].ctx.Err() != nil {
			t.Errorf("%d calls, want a second one that lives", len(calls))
		}
		lt.stop(t)
	})
}

// Raft is never held up, however slow the leader's work winds down; and when it
// has, what counts is the last change.
func TestLeadershipFlapping(t *testing.T) {
	for _, last := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			lt := newLeadershipTest(t, false)
			lt.announce(t, true)
			slow := lt.seen()[0]
			for range 5 * bufferedChanges {
				lt.announce(t, false)
				lt.announce(t, true)
			}
			if !last {
				lt.announce(t, false)
			}
			if calls := lt.seen(); len(calls) != 1 || slow.ctx.Err() == nil {
				t.Errorf("%d calls while the first has not returned, its context: %v", len(calls), slow.ctx.Err())
			}
			slow.answer <- nil
			calls := lt.seen()
			if want := map[bool]int{true: 2, false: 1}[last]; len(calls) != want {
				t.Errorf("%d calls after it returned, want %d", len(calls), want)
			}
			if last {
				if got, want := calls[1].term, lt.CurrentTerm(); got != want {
					t.Errorf("term %d, want %d", got, want)
				}
				calls[1].answer <- nil
			}
			lt.stop(t)
		})
	}
}

// A leader that cannot do its work makes room for one that can.
func TestLeadershipGivesUp(t *testing.T) {
	broken := errors.New("barrier timed out")
	t.Run("handed over", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			lt := newLeadershipTest(t, true)
			lt.announce(t, true)
			lt.seen()[0].answer <- broken
			synctest.Wait()
			lt.announce(t, false) // what a transfer leads to
			time.Sleep(time.Hour)
			if calls, n := lt.seen(), lt.transfers.Load(); n != 1 || len(calls) != 1 {
				t.Errorf("%d transfers, %d calls; want one of each", n, len(calls))
			}
			lt.stop(t)
		})
	})
	t.Run("nobody to hand over to", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			lt := newLeadershipTest(t, true)
			lt.transfer = errors.New("cannot find peer")
			lt.announce(t, true)
			for i := range 5 {
				lt.seen()[i].answer <- broken
				time.Sleep(leadAgain - time.Millisecond)
				if n := len(lt.seen()); n != i+1 {
					t.Fatalf("%d calls before it is time, want %d", n, i+1)
				}
				time.Sleep(time.Millisecond)
				if n := len(lt.seen()); n != i+2 {
					t.Fatalf("%d calls after a second, want %d", n, i+2)
				}
			}
			lt.stop(t)
		})
	})
	t.Run("but not what was regained", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			lt := newLeadershipTest(t, false)
			lt.announce(t, true)
			first := lt.seen()[0]
			lt.term.Add(2) // lost and won; the changes are about to be announced
			first.answer <- broken
			synctest.Wait()
			if n := lt.transfers.Load(); n != 0 {
				t.Errorf("%d transfers of a leadership that has not failed", n)
			}
			lt.loop.changes <- false
			lt.loop.changes <- true
			calls := lt.seen()
			if len(calls) != 2 || calls[1].term != 3 {
				t.Errorf("%d calls, want a second one in term 3", len(calls))
			}
			calls[1].answer <- nil
			lt.stop(t)
		})
	})
	t.Run("and an early end is no failure", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			lt := newLeadershipTest(t, true)
			lt.announce(t, true)
			lt.seen()[0].answer <- nil
			time.Sleep(time.Hour)
			if calls, n := lt.seen(), lt.transfers.Load(); n != 0 || len(calls) != 1 {
				t.Errorf("%d transfers, %d calls; want no transfer and no second call", n, len(calls))
			}
			lt.stop(t)
		})
	})
}

// Run returns after what it called, and takes changes until then.
func TestLeadershipRunEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lt := newLeadershipTest(t, false)
		lt.announce(t, true)
		call := lt.seen()[0]
		lt.cancel()
		synctest.Wait()
		if call.ctx.Err() == nil || len(lt.ended) > 0 {
			t.Errorf("context %v, Run returned %v; want it to end and Run to wait", call.ctx.Err(), len(lt.ended) > 0)
		}
		for range 2 * bufferedChanges {
			lt.announce(t, true)
		}
		call.answer <- nil
		lt.stop(t)
		if n := len(lt.seen()); n != 1 {
			t.Errorf("%d calls, want none after the end", n)
		}
	})
}

// With real nodes, leadership goes round; each leader's work runs in its term,
// and none of it is left.
func TestLeadershipCluster(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent(), goleak.IgnoreAnyFunction("github.com/hashicorp/raft.(*inmemPipeline).decodeResponses"))
	t.Run("", func(t *testing.T) {
		var loops [3]*LeadershipLoop
		c := newMemCluster(t, 3, func(i int, n *memNode) {
			n.shortTimeouts()
			loops[i] = NewLeadershipLoop(slog.New(slog.DiscardHandler))
			loops[i].Configure(&n.config)
		})
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		var leading [3]atomic.Uint64 // the term whose barrier was applied, 0 after it ended
		for i, n := range c {
			running.Go(func() {
				loops[i].Run(ctx, n.Raft, func(ctx context.Context, term uint64) error {
					if err := await(ctx, n.Barrier(time.Second)); err != nil {
						return err
					}
					leading[i].Store(term)
					defer leading[i].Store(0)
					<-ctx.Done()
					return nil
				})
			})
		}
		at := func() int {
			lead := c.leader(t)
			pollUntil(t, "the leader's work runs in its term", func() bool {
				if c[lead].State() != raft.Leader {
					lead = c.leader(t)
				}
				return leading[lead].Load() == c[lead].CurrentTerm()
			})
			return lead
		}
		for range 10 {
			lead := at()
			if err := c[lead].LeadershipTransfer().Error(); err != nil {
				t.Logf("transfer: %v", err) // an election timeout is short here
			}
			pollUntil(t, "the old leader's work ends", func() bool { return leading[lead].Load() == 0 || c[lead].State() == raft.Leader })
		}
		lead := at()
		c.cut(lead)
		pollUntil(t, "the isolated leader's work ends", func() bool { return leading[lead].Load() == 0 })
		cancel()
		running.Wait()
	})
}
