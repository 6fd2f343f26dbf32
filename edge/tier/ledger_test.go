package tier

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/policy"
	"github.com/tkcoord/tkcoord/strategy"
)

// slowLedger is the leased check of the contract over fixed windows, word for word,
// for one caller at a time, with the one difference that a grant may be partial.
type slowLedger struct {
	p      policy.Policy
	batch  int64
	window escrow.Window
	keys   map[string]*slowBudget // of the window
}

type slowBudget struct {
	count, credits int64
	lastUse        clock.Millis
}

func (m *slowLedger) debit(b *slowBudget, amount int64) {
	got := min(amount, int64(m.p.Limit)-b.count)
	b.count += got
	b.credits += got
}

func (m *slowLedger) check(now clock.Millis, key string, cost int64) strategy.Decision {
	if w := m.p.Cadence.At(now); w != m.window {
		m.window, m.keys = w, map[string]*slowBudget{}
	}
	b := m.keys[key]
	if b == nil {
		b = &slowBudget{lastUse: now}
		m.keys[key] = b
	}
	if idle := m.p.Tier.ReturnIdleAfter; idle > 0 && now-b.lastUse > idle {
		b.count, b.credits = b.count-b.credits, 0 // ours go back to the ledger
	}
	b.lastUse = now
	limit, end := int64(m.p.Limit), int64(m.window.End)
	deny := strategy.Decision{Limit: limit, ResetAt: end, RetryAfter: max(1, end-int64(now))}
	if cost > limit {
		deny.Remaining = limit - b.count
		return deny
	}
	if b.credits < cost {
		m.debit(b, max(m.batch, cost))
	}
	if b.credits < cost {
		deny.Remaining = 0
		if m.p.Kind == policy.Federated {
			deny.Remaining = b.credits
		}
		surplus := max(0, b.credits-m.batch-int64(m.p.Tier.LowWater)) // goes back soon
		b.count, b.credits = b.count-surplus, b.credits-surplus
		return deny
	}
	b.credits -= cost
	left := b.credits
	if low := m.p.Tier.LowWater; low > 0 && float64(left) <= low {
		m.debit(b, m.batch)
	}
	return strategy.Decision{Allowed: true, Limit: limit, Remaining: left, ResetAt: end}
}

// TestLedgerSameAsTheContract: every field of every reply is that of the contract,
// over random timelines.
func TestLedgerSameAsTheContract(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			length := []time.Duration{time.Second, time.Minute, time.Hour}[r.IntN(3)]
			limit := escrow.Credits(1 + r.IntN(60))
			opts := policy.Tier{Batch: 1 + r.IntN(20), LowWater: []float64{0, 0, 2.5, 7}[r.IntN(4)], WindowCoupled: r.IntN(2) == 0}
			passes := []int{0, 0, 0, 5, 50, 995, 2000, 45_000, 400_000}
			keys := []string{"a", "b"}
			if r.IntN(3) == 0 {
				opts.ReturnIdleAfter, keys, passes = 100, keys[:1], []int{0, 0, 5, 50, 1200, 45_000}
			}
			p := leased(limit, length, opts)
			batch := int64(opts.Batch)
			if r.IntN(3) == 0 {
				p = federated(limit, length, opts.Batch)
				passes = []int{0, 0, 5, 995, 45_000}
			}
			inCluster(t, func(t *testing.T, c *cluster) {
				tier := c.tier("n1")
				model := &slowLedger{p: p, batch: batch}
				oversize := uint64(0)
				for range 150 {
					key := keys[r.IntN(len(keys))]
					cost := []int64{1, 1, 1, 2, 5, 30, 70}[r.IntN(7)]
					if cost > int64(limit) {
						oversize++
					}
					now := clock.Millis(time.Now().UnixMilli())
					want := model.check(now, key, cost)
					got := c.decide(tier, p, key, cost)
					if got != want {
						t.Fatalf("%+v at %d: Check(%q, %d) =\n %+v, want\n %+v", p, now, key, cost, got, want)
					}
					synctest.Wait() // for the refill, if there is one
					if !got.Allowed {
						time.Sleep(1500 * time.Millisecond) // what it gathered goes back, and refusals are forgotten
					}
					time.Sleep(time.Duration(passes[r.IntN(len(passes))]) * time.Millisecond)
				}
				if s := tier.Stats(); s.Decided != oversize {
					t.Errorf("%d checks decided by the log, want the %d above the limit", s.Decided, oversize)
				}
			}, p)
		})
	}
}

// TestFederatedCountsDown: the numbers that the contract's page gives.
func TestFederatedCountsDown(t *testing.T) {
	for _, tt := range []struct {
		limit escrow.Credits
		want  []int64
	}{
		{5, []int64{4, 3, 2, 1, 0}},
		{20, []int64{15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 3, 2, 1, 0}},
	} {
		p := federated(tt.limit, time.Minute, 16)
		inCluster(t, func(t *testing.T, c *cluster) {
			tier := c.tier("n1")
			var got []int64
			for d := c.decide(tier, p, "k", 1); d.Allowed; d = c.decide(tier, p, "k", 1) {
				got = append(got, d.Remaining)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("limit %d: remaining %v, want %v", tt.limit, got, tt.want)
			}
		}, p)
	}
}

// TestNodesShareOneLimit: whatever nodes lease and the log decides, no more than
// the limit is admitted in a window, and all of it is if it is asked for.
func TestNodesShareOneLimit(t *testing.T) {
	p := leased(100, time.Second, policy.Tier{Batch: 7, LowWater: 3, ReturnIdleAfter: 50})
	inCluster(t, func(t *testing.T, c *cluster) {
		c.way = time.Millisecond
		nodes := []*Tier{c.tier("n1"), c.tier("n2"), c.tier("n3")}
		var mu sync.Mutex
		admitted := map[int64]int64{} // by the end of the window
		var work sync.WaitGroup
		stop := make(chan struct{})
		for i, n := range nodes {
			for j := range 4 {
				work.Go(func() {
					r := rand.New(rand.NewPCG(uint64(i), uint64(j)))
					for {
						select {
						case <-stop:
							return
						default:
						}
						cost := 1 + r.Int64N(3)
						var d strategy.Decision
						var err error
						if r.IntN(10) == 0 {
							d, _, err = c.check(t.Context(), "p", "k", cost)
						} else {
							d, err = n.Check(t.Context(), &p, "k", cost)
						}
						if err != nil {
							t.Error(err)
							return
						}
						if d.Allowed {
							mu.Lock()
							admitted[d.ResetAt] += cost
							mu.Unlock()
						}
						time.Sleep(time.Duration(1+r.IntN(10)) * time.Millisecond)
					}
				})
			}
		}
		time.Sleep(5500 * time.Millisecond)
		close(stop)
		work.Wait()
		full := 0
		for end, n := range admitted {
			if n > 100 {
				t.Errorf("%d admitted in the window that ends at %d", n, end)
			}
			if n >= 98 { // a cost of 3 may not fit
				full++
			}
		}
		if full < 4 {
			t.Errorf("%v: few windows were used up", admitted)
		}
	}, p)
}

// TestLeasedCostsFewEntries: a leased check costs no entry but that of its batch.
func TestLeasedCostsFewEntries(t *testing.T) {
	p := leased(10_000, time.Hour, policy.Tier{Batch: 100})
	inCluster(t, func(t *testing.T, c *cluster) {
		tier := c.tier("n1")
		for range 1000 {
			c.decide(tier, p, "k", 1)
		}
		if x, s := c.counts(); x > 11 || s != 0 {
			t.Errorf("%d exchanges and %d strict checks for 1000 checks in batches of 100", x, s)
		}
	}, p)
}

// TestWhatTheEdgeCannotTake: is decided by the log, on the same budget.
func TestWhatTheEdgeCannotTake(t *testing.T) {
	p := leased(10, time.Hour, policy.Tier{Batch: 4})
	inCluster(t, func(t *testing.T, c *cluster) {
		tier := c.tier("n1", func(cfg *Config) { cfg.Edge.MaxKeys = 2 })
		for _, tt := range []struct {
			name, key string
			cost      int64
			remaining int64
			strict    int
		}{
			{"a key that fits", "a", 1, 3, 0},
			{"another one", "b", 1, 3, 0},
			{"one too many", "c", 1, 9, 1},
			{"a cost above the limit", "a", 11, 6, 1},
			{"the empty key", "", 1, 9, 1},
		} {
			_, before := c.counts()
			d := c.decide(tier, p, tt.key, tt.cost)
			if _, after := c.counts(); d.Allowed != (tt.cost <= 10) || d.Remaining != tt.remaining || after-before != tt.strict {
				t.Errorf("%s: %+v with %d strict checks, want remaining %d with %d", tt.name, d, after-before, tt.remaining, tt.strict)
			}
		}
		if s := tier.Stats(); s.Decided != 3 || s.Edge.Keys != 2 {
			t.Errorf("%+v, want 3 decided by the log", s)
		}
	}, p)
}

// TestTurnOfAWindow: in the last moments of a window, when credits come too late,
// the log decides instead of a denial.
func TestTurnOfAWindow(t *testing.T) {
	p := leased(100, time.Second, policy.Tier{Batch: 10})
	inCluster(t, func(t *testing.T, c *cluster) {
		tier := c.tier("n1")
		for i := range 200 {
			if d := c.decide(tier, p, "k", 1); !d.Allowed {
				t.Fatalf("check %d, %v: %+v far below the limit", i, time.Now(), d)
			}
			time.Sleep(time.Second - 200*time.Microsecond)
		}
	}, p)
}

// TestCutOff: without a coordinator credits are spent, and then a federated policy
// denies and others have no answer.
func TestCutOff(t *testing.T) {
	fed, two := federated(100, time.Minute, 3), leased(100, time.Minute, policy.Tier{Batch: 3})
	two.Name = "two"
	inCluster(t, func(t *testing.T, c *cluster) {
		tier := c.tier("n1")
		c.decide(tier, fed, "k", 1)
		c.decide(tier, two, "k", 1)
		c.fail(errDown)
		for range 2 {
			if d := c.decide(tier, fed, "k", 1); !d.Allowed {
				t.Errorf("with credits: %+v", d)
			}
			c.decide(tier, two, "k", 1)
		}
		time.Sleep(time.Second)
		d := c.decide(tier, fed, "k", 1)
		now := time.Now()
		if want := (strategy.Decision{Limit: 100, ResetAt: now.Truncate(time.Minute).Add(time.Minute).UnixMilli()}); d.RetryAfter != want.ResetAt-now.UnixMilli() || d.Allowed || d.ResetAt != want.ResetAt || d.Limit != 100 || d.Remaining != 0 {
			t.Errorf("federated, cut off: %+v, want %+v", d, want)
		}
		if d, err := tier.Check(t.Context(), &two, "k", 1); !errors.Is(err, errDown) {
			t.Errorf("two-tier, cut off: %+v, %v", d, err)
		}
		c.fail(nil)
		time.Sleep(2 * time.Second)
		if d := c.decide(tier, fed, "k", 1); !d.Allowed {
			t.Errorf("with the coordinator back: %+v", d)
		}
	}, fed, two)
}

// TestPolicyChanges: a changed batch and limit count from the next question on, a
// changed mode at once, and a deleted policy has no answer.
func TestPolicyChanges(t *testing.T) {
	p := leased(100, time.Hour, policy.Tier{Batch: 3})
	inCluster(t, func(t *testing.T, c *cluster) {
		tier := c.tier("n1")
		remaining := func(want ...int64) {
			t.Helper()
			for i, w := range want {
				if d := c.decide(tier, p, "k", 1); !d.Allowed || d.Remaining != w || d.Limit != int64(p.Limit) {
					t.Errorf("check %d: %+v, want %d remaining", i, d, w)
				}
			}
		}
		remaining(2, 1)
		p.Tier.Batch, p.Limit = 5, 50
		c.apply(fsm.Policies{Put: []policy.Policy{p}})
		remaining(0, 4, 3)
		back := p.Tier
		p.Tier = policy.Tier{Mode: policy.Strict}
		c.apply(fsm.Policies{Put: []policy.Policy{p}})
		remaining(41, 40)
		p.Tier, p.Limit = back, 11
		c.apply(fsm.Policies{Put: []policy.Policy{p}})
		remaining(2, 1, 0, 0) // what was out stays out; one is left
		if d := c.decide(tier, p, "k", 1); d.Allowed || d.Limit != 11 {
			t.Errorf("over the lower limit: %+v", d)
		}
		c.apply(fsm.Policies{Delete: []string{"p"}})
		time.Sleep(2 * time.Second)
		if d, err := tier.Check(t.Context(), &p, "other", 1); !errors.Is(err, fsm.ErrUnknownPolicy) || d.Allowed {
			t.Errorf("deleted: %+v, %v", d, err)
		}
	}, p)
}

// TestClose: credits go back, and later checks are decided by the log.
func TestClose(t *testing.T) {
	p := leased(100, time.Hour, policy.Tier{Batch: 30})
	gcra := leasedBy(strategy.Params{Name: strategy.GCRA, Limit: 100, Period: 1000, Burst: 50}, policy.Tier{Batch: 10})
	gcra.Name = "gcra"
	inCluster(t, func(t *testing.T, c *cluster) {
		tier := c.tier("n1")
		c.decide(tier, p, "k", 5)
		c.decide(tier, gcra, "k", 1)
		if err := tier.Close(); err != nil {
			t.Fatal(err)
		}
		if n := c.out("k"); n != 5 {
			t.Errorf("%d are out after Close, want the 5 that were used", n)
		}
		_, before := c.counts()
		if d := c.decide(tier, p, "k", 1); !d.Allowed || d.Remaining != 94 {
			t.Errorf("after Close: %+v", d)
		}
		if d := c.decide(tier, gcra, "k", 1); !d.Allowed || d.Remaining != 39 {
			t.Errorf("after Close, gcra: %+v", d)
		}
		if _, after := c.counts(); after-before != 2 {
			t.Errorf("%d strict checks", after-before)
		}
		if err := tier.Close(); err != nil {
			t.Errorf("second Close: %v", err)
		}
	}, p, gcra)
}

// TestAbandon: nothing is given back.
func TestAbandon(t *testing.T) {
	p := leased(100, time.Hour, policy.Tier{Batch: 30})
	inCluster(t, func(t *testing.T, c *cluster) {
		tier := c.tier("n1")
		c.decide(tier, p, "k", 5)
		c.fail(errDown)
		start := time.Now()
		tier.Abandon()
		if n := c.out("k"); n != 30 || time.Since(start) != 0 {
			t.Errorf("%d are out after %v, want the batch at once", n, time.Since(start))
		}
	}, p)
}
