package edge

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/policy"
)

// batched returns the limiter of policy p with a batch.
func (b *bubble) batched(e *Edge, batch Batch) *Limiter {
	b.t.Helper()
	l := e.Limiter("p")
	if err := l.SetBatch(batch); err != nil {
		b.t.Fatal(err)
	}
	return l
}

// TestBatchCountsDown: what an edge holds counts down from the size of a batch,
// whatever the demand, and the last batch is what is left. The numbers are those of
// the ThrottleKit contract for a federated limit.
func TestBatchCountsDown(t *testing.T) {
	for _, tt := range []struct {
		name  string
		limit int64
		size  int64
		costs []int64
		want  []int64 // Held after each; -1 for a denial
	}{
		{"limit below the batch", 5, 16, []int64{1, 1, 1, 1, 1, 1}, []int64{4, 3, 2, 1, 0, -1}},
		{"batch after batch, then the rest", 10, 4, []int64{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, []int64{3, 2, 1, 0, 3, 2, 1, 0, 1, 0, -1}},
		{"a batch comes on top of what is held", 100, 10, []int64{7, 5, 8}, []int64{3, 8, 0}},
		{"a cost above the batch asks for itself", 100, 10, []int64{25, 1, 30}, []int64{0, 9, 9}},
		{"a denial keeps what it gathered", 10, 4, []int64{3, 8, 7, 1}, []int64{1, -1, 0, -1}},
		{"one at a time", 3, 1, []int64{1, 1, 1, 1}, []int64{0, 0, 0, -1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, b *bubble) {
				l := b.batched(b.edge(), Batch{Size: tt.size})
				var got []int64
				for _, n := range tt.costs {
					d := b.check(l, "k", n)
					if !d.Allowed {
						d.Held = -1
					}
					got = append(got, d.Held)
				}
				if !slices.Equal(got, tt.want) {
					t.Errorf("held %v, want %v", got, tt.want)
				}
			}, perWindow("p", escrow.Credits(tt.limit), time.Minute))
		})
	}
}

// TestBatchAsksOnDemandOnly: nothing is asked for before it is needed: not at low
// water 0, not at the start of a window, not because the demand is high.
func TestBatchAsksOnDemandOnly(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		l := b.batched(b.edge(), Batch{Size: 10})
		for range 3 { // windows
			for i := range 30 {
				if d := b.check(l, "k", 1); !d.Allowed || d.Held != int64(9-i%10) {
					t.Fatalf("check %d: %+v", i, d)
				}
			}
			if s := b.budget("p", "k"); s.Out != 30 {
				t.Errorf("%d are out, want 30", s.Out)
			}
			b.nextWindow(time.Second)
		}
		if n := b.count("k"); n != 9 {
			t.Errorf("%d questions for 3 times 30 credits in batches of 10", n)
		}
	}, perWindow("p", 1000, time.Second))
}

// TestBatchStays: use that is slower than its batch lasts gives nothing back, and a
// new window begins with a new batch, also when the key was unused for longer than
// its lease.
func TestBatchStays(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		l := b.batched(b.edge(), Batch{Size: 100})
		for i := range int64(20) {
			if d := b.check(l, "k", 1); d.Held != 99-i {
				t.Fatalf("check %d: holds %d, want %d", i, d.Held, 99-i)
			}
			time.Sleep(4 * time.Second)
		}
		time.Sleep(31 * time.Second) // the lease ends, then the window
		b.nextWindow(2 * time.Minute)
		if d := b.check(l, "k", 1); d.Held != 99 {
			t.Errorf("holds %d in the next window, want 99", d.Held)
		}
	}, perWindow("p", 1000, 2*time.Minute))
}

// nextWindow sleeps until the next multiple of length is past.
func (b *bubble) nextWindow(length time.Duration) {
	now := time.Now()
	time.Sleep(now.Truncate(length).Add(length).Sub(now) + b.rtt)
	synctest.Wait()
}

// TestLowWater: credits are there before the last one is spent, and no more than a
// batch at once.
func TestLowWater(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		l := b.batched(b.edge(), Batch{Size: 10, LowWater: 3})
		want := []int64{9, 8, 7, 6, 5, 4, 3, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 12}
		for i, held := range want {
			start := time.Now()
			d := b.check(l, "k", 1)
			if d.Held != held || i > 0 && time.Since(start) != 0 {
				t.Fatalf("check %d: holds %d after %v, want %d at once", i, d.Held, time.Since(start), held)
			}
			time.Sleep(5 * b.rtt)
		}
		for b.check(l, "k", 1).Allowed {
			time.Sleep(5 * b.rtt)
		}
		if s := b.budget("p", "k"); s.Out != s.Peak {
			t.Errorf("%+v, want all of it out", s)
		}
		if n := b.count("k"); n > 8 {
			t.Errorf("%d questions about 60 credits in batches of 10", n)
		}
	}, perWindow("p", 60, time.Hour))
}

// TestBatchIdle: credits of an idle key go back if they are to, and otherwise
// stay, also past the ttl of their lease.
func TestBatchIdle(t *testing.T) {
	for _, tt := range []struct {
		name       string
		returnIdle time.Duration
		out, held  int64 // while idle, and after the next check
	}{
		{"kept", 0, 10, 5},
		{"returned", 2 * time.Second, 2, 9},
		{"returned at once", 1, 2, 9},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, b *bubble) {
				l := b.batched(b.edge(), Batch{Size: 10, ReturnIdle: tt.returnIdle})
				b.check(l, "k", 2)
				time.Sleep(100 * time.Millisecond)
				if tt.returnIdle != 1 {
					b.check(l, "k", 1)
					b.check(l, "k", 1)
					tt.out = max(tt.out, 4)
				}
				time.Sleep(40 * time.Second) // the lease lasts half a minute
				synctest.Wait()
				if s := b.budget("p", "k"); s.Out != escrow.Credits(tt.out) || s.Used != s.Holders[0].Used || s.Used == 0 {
					t.Errorf("%+v while idle, want %d out and the use reported", s, tt.out)
				}
				before := b.count("k")
				if d := b.check(l, "k", 1); !d.Allowed || d.Held != tt.held {
					t.Errorf("%+v after the rest, want %d held", d, tt.held)
				}
				time.Sleep(30 * time.Minute)
				synctest.Wait()
				if n := b.count("k") - before; n > 3 {
					t.Errorf("%d questions about an idle key", n)
				}
			}, perWindow("p", 1000, 2*time.Hour))
		})
	}
}

// TestBatchCoalesces: checks that wait share one question, which asks for all of
// them.
func TestBatchCoalesces(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		l := b.batched(b.edge(), Batch{Size: 10})
		var wg sync.WaitGroup
		var mu sync.Mutex
		held := map[int64]int{}
		for range 64 {
			wg.Go(func() {
				d, err := l.Check(t.Context(), "k", 1)
				if err != nil || !d.Allowed {
					t.Errorf("%+v, %v", d, err)
				}
				mu.Lock()
				held[d.Held]++
				mu.Unlock()
			})
		}
		wg.Wait()
		if n := b.count("k"); n > 2 {
			t.Errorf("%d questions for 64 checks at once", n)
		}
		if s := b.budget("p", "k"); s.Out > 64+10 {
			t.Errorf("%d are out for 64 checks", s.Out)
		}
		if len(held) < 62 {
			t.Errorf("64 checks saw %d different numbers of credits left", len(held))
		}
	}, perWindow("p", 1000, time.Minute))
}

// TestBatchChanges: a changed batch counts from the next question on.
func TestBatchChanges(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		e := b.edge()
		l := b.batched(e, Batch{Size: 10})
		b.check(l, "k", 1)
		b.batched(e, Batch{Size: 3})
		for _, held := range []int64{8, 7, 6, 5, 4, 3, 2, 1, 0, 2, 1, 0, 2} {
			if d := b.check(l, "k", 1); d.Held != held {
				t.Fatalf("holds %d, want %d", d.Held, held)
			}
		}
	}, perWindow("p", 1000, time.Minute))
}

// TestBatchReturnsSurplus: what a request too large for the budget gathered does not
// stay with this edge.
func TestBatchReturnsSurplus(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		first, second := b.edge(), b.edge(func(c *Config) { c.EdgeID = "edge-2" })
		b.check(b.batched(second, Batch{Size: 1}), "k", 1)
		l := b.batched(first, Batch{Size: 10})
		if d := b.check(l, "k", 100); d.Allowed {
			t.Fatalf("%+v, 101 of 100", d)
		}
		time.Sleep(time.Second)
		if s := b.budget("p", "k"); s.Out != 11 {
			t.Errorf("%d are out, want 1 and a batch", s.Out)
		}
	}, perWindow("p", 100, time.Minute))
}

func TestBatchValidate(t *testing.T) {
	l := newEdge(quietConfig()).Limiter("p")
	for _, b := range []Batch{
		{}, {Size: -1}, {Size: int64(escrow.MaxCredits) + 1}, {Size: 1, LowWater: -1}, {Size: 1, LowWater: 1 << 60},
		{Size: 1, ReturnIdle: -1}, {Size: 1, ReturnIdle: maxReturnIdle + 1},
	} {
		if err := l.SetBatch(b); !errors.Is(err, ErrInvalid) || l.batch.Load() != nil {
			t.Errorf("SetBatch(%+v) = %v", b, err)
		}
	}
	if err := l.SetBatch(Batch{Size: int64(escrow.MaxCredits), LowWater: int64(escrow.MaxCredits), ReturnIdle: maxReturnIdle}); err != nil {
		t.Error(err)
	}
}

// TestBatchFollowsTheLimit: a limit that was lowered below what is out refuses, and
// one that was raised is noticed within a second.
func TestBatchFollowsTheLimit(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		l := b.batched(b.edge(), Batch{Size: 4})
		for range 10 {
			b.check(l, "k", 1)
		}
		if d := b.check(l, "k", 1); d.Allowed || d.RetryAfter <= 0 || d.RetryAfter > time.Hour {
			t.Fatalf("%+v over the limit", d)
		}
		b.apply(t, fsm.Policies{Put: []policy.Policy{perWindow("p", 20, time.Hour)}})
		time.Sleep(time.Second)
		if d := b.check(l, "k", 1); !d.Allowed || d.Held != 3 || d.Limit != 20 {
			t.Errorf("%+v under the higher limit", d)
		}
	}, perWindow("p", 10, time.Hour))
}

// TestBatchKeepsTheSession: credits that stay with an idle key are not lost because
// the edge was silent for so long that its session ended.
func TestBatchKeepsTheSession(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		e := b.edge()
		l := b.batched(e, Batch{Size: 10})
		for i := range int64(5) {
			if d := b.check(l, "k", 1); d.Held != 9-i {
				t.Fatalf("check %d: %+v, want %d held", i, d, 9-i)
			}
			time.Sleep(time.Hour)
			for range 64 {
				b.apply(t, fsm.Digest{}) // lets the machine forget silent sessions
			}
		}
		if s := e.Stats(); s.SessionsEnded != 0 || s.Exchanges > 5*60/2+20 {
			t.Errorf("%+v, want no session ended and an exchange each two minutes or so", s)
		}
	}, perWindow("p", 100, 24*time.Hour))
}
