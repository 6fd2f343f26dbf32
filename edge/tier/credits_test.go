package tier

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/policy"
	"github.com/tkcoord/tkcoord/strategy"
)

var slidingLog = strategy.Params{Name: strategy.SlidingWindowLog, Limit: 100, Period: 60_000}

// together runs f n times at once and waits until all are blocked or done.
func together(n int, f func(i int)) *sync.WaitGroup {
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { f(i) })
	}
	synctest.Wait()
	return &all
}

// TestOneDebitPerKey: however many wait for credits of a key, one debit is under
// way. Keys and policies do not wait for each other.
func TestOneDebitPerKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, slidingLog)
		tier := newTier(t, d)
		defer tier.Close()
		p := leasedBy(slidingLog, policy.Tier{Batch: 10})
		other := p
		other.Name = "other"
		release := d.block()
		var allowed atomic.Int64
		check := func(p policy.Policy, key string) {
			if got, err := tier.Check(t.Context(), &p, key, 1); err == nil && got.Allowed {
				allowed.Add(1)
			}
		}
		all := []*sync.WaitGroup{
			together(25, func(int) { check(p, "a") }), together(3, func(int) { check(p, "b") }), together(3, func(int) { check(other, "a") }),
		}
		under := 0
		for i := range tier.shards {
			for _, e := range tier.shards[i].by {
				if e.lease != nil {
					under++
				}
			}
		}
		if under != 3 {
			t.Errorf("%d debits under way for 3 keys", under)
		}
		release()
		for _, w := range all {
			w.Wait()
		}
		if n := d.questions(); allowed.Load() != 31 || n != 3+1+1 {
			t.Errorf("%d of 31 allowed with %d debits, want 3 for a and one for each of the others", allowed.Load(), n)
		}
		if s := tier.Stats(); s.Leases != 5 || s.Credits != 50-31 || s.Keys != 3 {
			t.Errorf("%+v", s)
		}
	})
}

// A request that waited for the debit of a much larger one was denied with it,
// although there was enough for itself.
func TestDenialOfALargerDebit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, slidingLog)
		tier := newTier(t, d)
		defer tier.Close()
		p := leasedBy(slidingLog, policy.Tier{Batch: 10})
		release := d.block()
		var large, small strategy.Decision
		first := together(1, func(int) { large, _ = tier.Check(t.Context(), &p, "a", 101) })
		second := together(1, func(int) { small, _ = tier.Check(t.Context(), &p, "a", 1) })
		release()
		first.Wait()
		second.Wait()
		if large.Allowed || !small.Allowed || small.Remaining != 9 {
			t.Errorf("101 of 100: %+v; 1 beside it: %+v", large, small)
		}
	})
}

// TestLeaseOutlivesItsAsker: whoever asked for a batch may go away: others get it.
// A debit that fails is an error of all who wait for it, and of nobody later.
func TestLeaseOutlivesItsAsker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, slidingLog)
		tier := newTier(t, d)
		defer tier.Close()
		p := leasedBy(slidingLog, policy.Tier{Batch: 10})
		release := d.block()
		ctx, cancel := context.WithCancel(t.Context())
		var gone, stays error
		first := together(1, func(int) { _, gone = tier.Check(ctx, &p, "a", 1) })
		second := together(1, func(int) { _, stays = tier.Check(t.Context(), &p, "a", 1) })
		cancel()
		first.Wait()
		release()
		second.Wait()
		if !errors.Is(gone, context.Canceled) || stays != nil || d.questions() != 1 {
			t.Errorf("%v and %v with %d debits", gone, stays, d.questions())
		}
		if s := tier.Stats(); s.Credits != 9 {
			t.Errorf("%d credits left, want 9", s.Credits)
		}

		d.fail(errDown)
		release = d.block()
		var failed atomic.Int64
		all := together(5, func(int) {
			if _, err := tier.Check(t.Context(), &p, "b", 1); errors.Is(err, errDown) {
				failed.Add(1)
			}
		})
		release()
		all.Wait()
		if failed.Load() != 5 {
			t.Errorf("%d of 5 failed", failed.Load())
		}
		d.fail(nil)
		if got, err := tier.Check(t.Context(), &p, "b", 1); err != nil || !got.Allowed {
			t.Errorf("afterwards: %+v, %v", got, err)
		}
	})
}

// TestRefill: at low water a batch comes without anybody waiting for it, one at a
// time.
func TestRefill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, slidingLog)
		tier := newTier(t, d)
		defer tier.Close()
		p := leasedBy(slidingLog, policy.Tier{Batch: 10, LowWater: 4})
		if _, err := tier.Check(t.Context(), &p, "a", 1); err != nil {
			t.Fatal(err)
		}
		release := d.block()
		for range 9 {
			if got, err := tier.Check(t.Context(), &p, "a", 1); err != nil || !got.Allowed {
				t.Fatalf("%+v, %v with credits in hand", got, err)
			}
		}
		synctest.Wait()
		waiting := together(3, func(int) { _, _ = tier.Check(t.Context(), &p, "a", 1) })
		release()
		waiting.Wait()
		synctest.Wait()
		if n := d.questions(); n != 2 || len(tier.refills) != 0 {
			t.Errorf("%d debits, want one and one in the background; %d under way", n, len(tier.refills))
		}
		if s := tier.Stats(); s.Credits != 20-13 {
			t.Errorf("%d credits left", s.Credits)
		}
	})
}

// TestLateRefill: a batch that comes in the background after its window is dropped
// if credits are coupled to windows; one that somebody waited for serves him.
func TestLateRefill(t *testing.T) {
	params := strategy.Params{Name: strategy.GCRA, Limit: 1000, Period: 1000, Burst: 1000}
	for _, coupled := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			d := newDesk(t, params)
			tier := newTier(t, d, func(c *Config) {
				slow := c.Authority
				c.Authority = func(ctx context.Context, name, key string, cost int64) (strategy.Decision, clock.Millis, error) {
					got, at, err := slow(ctx, name, key, cost)
					d.pass(20) // the answer takes longer than ten units need to drain
					return got, at, err
				}
			})
			defer tier.Close()
			p := leasedBy(params, policy.Tier{Batch: 10, LowWater: 9, WindowCoupled: coupled})
			got, err := tier.Check(t.Context(), &p, "a", 1)
			tier.work.Wait()
			want := int64(19)
			if coupled {
				want = 9
			}
			if s := tier.Stats(); err != nil || !got.Allowed || got.Remaining != 9 || s.Credits != want || s.Leases != 2 {
				t.Errorf("coupled %v: %+v, %v, then %+v, want %d credits", coupled, got, err, s, want)
			}
		})
	}
}

// TestRoomForKeys: the key unused for longest makes room and loses its credits, but
// not while a debit is under way. When nobody can make room, the log decides.
func TestRoomForKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, slidingLog)
		tier := newTier(t, d, func(c *Config) { c.MaxKeys = 3 })
		defer tier.Close()
		p := leasedBy(slidingLog, policy.Tier{Batch: 10})
		check := func(key string) strategy.Decision {
			t.Helper()
			got, err := tier.Check(t.Context(), &p, key, 1)
			if err != nil {
				t.Error(err)
			}
			return got
		}
		for _, key := range []string{"a", "b", "c", "a", "d"} {
			check(key)
		}
		if s := tier.Stats(); s.Keys != 3 || s.Evicted != 1 || s.Credits != 8+9+9 {
			t.Errorf("%+v, want b gone", s)
		}
		if got := check("a"); got.Remaining != 7 {
			t.Errorf("a has %d left, want 7", got.Remaining)
		}
		if got := check("b"); got.Remaining != 9 {
			t.Errorf("b has %d left, want those of a new batch", got.Remaining)
		}

		release := d.block()
		all := together(3, func(i int) { check(fmt.Sprint("new", i)) })
		decided := tier.Stats().Decided
		last := together(1, func(int) {
			if got := check("one too many"); !got.Allowed || got.Remaining != 99 {
				t.Errorf("%+v, want a decision of the log", got)
			}
		})
		release()
		all.Wait()
		last.Wait()
		if s := tier.Stats(); s.Keys != 3 || s.Decided != decided+1 {
			t.Errorf("%+v", s)
		}
	})
}

// TestNewPolicyForgets: what was leased under a policy is not spent under another
// one, or under the same name changed.
func TestNewPolicyForgets(t *testing.T) {
	d := newDesk(t, slidingLog)
	tier := newTier(t, d)
	defer tier.Close()
	p := leasedBy(slidingLog, policy.Tier{Batch: 10})
	for i, change := range []func(){
		func() {},
		func() { p.Tier.Batch = 7 },
		func() { p.Rate.Limit = 50 },
		func() { p.Name = "q" },
	} {
		change()
		for j := range 3 {
			q := p // what is equal is the same policy
			got, err := tier.Check(t.Context(), &q, "a", 1)
			if want := int64(p.Tier.Batch - 1 - j); err != nil || got.Remaining != want {
				t.Errorf("change %d: %+v, %v, want %d remaining", i, got, err, want)
			}
		}
	}

	p = policy.Policy{Name: "denies", Kind: policy.TwoTier, Tier: policy.Tier{Mode: policy.CachedDeny}, MaxKeys: 1}
	for range 2 {
		if got, err := tier.Check(t.Context(), &p, "b", 101); err != nil || got.Allowed {
			t.Fatalf("%+v, %v", got, err)
		}
	}
	before, q := d.questions(), p
	q.MaxKeys = 2
	if _, err := tier.Check(t.Context(), &q, "b", 101); err != nil || d.questions() != before+1 {
		t.Errorf("a denial of the policy before is repeated: %v", err)
	}
}

// TestCrowd: many callers over few keys, few places and a policy that changes, with
// debits that fail and callers that go away. What is admitted was debited.
func TestCrowd(t *testing.T) {
	params := strategy.Params{Name: strategy.TokenBucket, Capacity: 3000, RefillPerSec: 1}
	d := newDesk(t, params)
	var asked atomic.Int64
	tier := newTier(t, d, func(c *Config) {
		c.MaxKeys = 4
		plain := c.Authority
		c.Authority = func(ctx context.Context, name, key string, cost int64) (strategy.Decision, clock.Millis, error) {
			if asked.Add(1)%17 == 0 {
				return strategy.Decision{}, 0, errDown
			}
			return plain(ctx, name, "all", cost)
		}
	})
	var admitted atomic.Int64
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for j := range 500 {
				p := leasedBy(params, policy.Tier{Batch: 5, LowWater: float64(i % 3), WindowCoupled: i%2 == 0})
				p.MaxKeys = 1 + j/100
				ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
				if j%7 == 0 {
					cancel()
				}
				cost := int64(1 + j%3)
				if got, err := tier.Check(ctx, &p, fmt.Sprint(j%6), cost); err == nil && got.Allowed {
					admitted.Add(cost)
				}
				cancel()
			}
		})
	}
	all.Wait()
	if err := tier.Close(); err != nil {
		t.Fatal(err)
	}
	if n := admitted.Load(); n > 3000 || n < 500 {
		t.Errorf("%d admitted of 3000", n)
	}
	if s := tier.Stats(); s.Keys != 0 || len(tier.refills) != 0 {
		t.Errorf("after Close: %+v", s)
	}
}

func TestBadCosts(t *testing.T) {
	d := newDesk(t, slidingLog)
	tier := newTier(t, d)
	defer tier.Close()
	p := leasedBy(slidingLog, policy.Tier{Batch: 10})
	for _, cost := range []int64{0, -1, strategy.MaxCost + 1} {
		if got, err := tier.Check(t.Context(), &p, "a", cost); err == nil || got.Allowed {
			t.Errorf("cost %d: %+v, %v", cost, got, err)
		}
	}
	p.Tier.Batch = strategy.MaxCost
	if got, err := tier.Check(t.Context(), &p, "a", strategy.MaxCost); err != nil || got.Allowed || d.questions() != 1 {
		t.Errorf("the largest cost: %+v, %v", got, err)
	}
}

func TestValidate(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Edge.Fail, cfg.MaxKeys, cfg.LeaseTimeout = 1, 0, 0
	if _, err := New(cfg); err == nil {
		t.Error("New accepts nonsense")
	}
}
