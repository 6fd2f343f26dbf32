package tier

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"testing"

	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/policy"
	"github.com/tkcoord/tkcoord/strategy"
	"pgregory.net/rapid"
)

// A desk is an authority with a clock of its own: the real strategies, without a
// log.
type desk struct {
	mu     sync.Mutex
	now    clock.Millis
	rules  strategy.Strategy
	states map[string]*strategy.State
	asked  int
	err    error         // what it answers instead, if set
	hold   chan struct{} // answers wait for it to be closed, if set
}

const epoch = clock.Millis(1_700_000_040_000)

func newDesk(tb testing.TB, p strategy.Params) *desk {
	tb.Helper()
	s, err := strategy.New(p)
	if err != nil {
		tb.Fatal(err)
	}
	return &desk{now: epoch, rules: s, states: map[string]*strategy.State{}}
}

func (d *desk) check(_ context.Context, _, key string, cost int64) (strategy.Decision, clock.Millis, error) {
	d.mu.Lock()
	hold := d.hold
	d.mu.Unlock()
	if hold != nil {
		<-hold
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked++
	if d.err != nil {
		return strategy.Decision{}, 0, d.err
	}
	s := d.states[key]
	if s == nil {
		s = &strategy.State{}
		d.states[key] = s
	}
	return d.rules.Check(s, int64(d.now), float64(cost)), d.now, nil
}

// block holds answers back until the function it returns is called.
func (d *desk) block() (release func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	hold := make(chan struct{})
	d.hold = hold
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.hold = nil
		close(hold)
	}
}

func (d *desk) fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err = err
}

func (d *desk) questions() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.asked
}

func (d *desk) pass(ms clock.Millis) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.now += ms
}

func (d *desk) read() clock.Millis {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.now
}

// A fatal lets a helper that wants a testing.TB fail a rapid.T.
type fatal struct {
	testing.TB
	t *rapid.T
}

func (f fatal) Helper()                           {}
func (f fatal) Fatal(args ...any)                 { f.t.Fatal(args...) }
func (f fatal) Fatalf(format string, args ...any) { f.t.Fatalf(format, args...) }

// newTier returns a tier at a desk.
func newTier(tb testing.TB, d *desk, change ...func(*Config)) *Tier {
	tb.Helper()
	cfg := DefaultConfig()
	cfg.Authority, cfg.Clock = d.check, d.read
	cfg.Edge.Logger = slog.New(slog.DiscardHandler)
	cfg.Edge.Exchange = func(context.Context, *tkcoordv1.ExchangeRequest) (*tkcoordv1.ExchangeResponse, error) {
		return nil, fmt.Errorf("no ledger here")
	}
	cfg.Edge.Monotonic = func() clock.Nanos { return clock.Nanos(d.read()) * clock.NanosPerMilli }
	for _, f := range change {
		f(&cfg)
	}
	t, err := New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

// leasedBy is a policy that nodes lease.
func leasedBy(p strategy.Params, tier policy.Tier) policy.Policy {
	tier.Mode = policy.Leased
	return policy.Policy{Name: "p", Kind: policy.TwoTier, Strategy: p.Name, Rate: p, Tier: tier, MaxKeys: 1000}
}

// slow is the leased check of the ThrottleKit contract, word for word, for one
// caller at a time.
type slow struct {
	desk *desk
	tier policy.Tier
	keys map[string]*slowKey
}

type slowKey struct {
	credits float64
	last    *strategy.Decision
	lastUse clock.Millis
}

func (m *slow) debit(k *slowKey, key string, amount float64) strategy.Decision {
	d, _, _ := m.desk.check(context.Background(), "", key, int64(amount))
	k.last = &d
	if d.Allowed {
		k.credits += amount
	}
	return d
}

func (m *slow) check(key string, cost float64) strategy.Decision {
	now := m.desk.read()
	k := m.keys[key]
	if k == nil || m.tier.ReturnIdleAfter > 0 && now-k.lastUse > m.tier.ReturnIdleAfter {
		k = &slowKey{}
		m.keys[key] = k
	}
	k.lastUse = now
	if m.tier.WindowCoupled && k.last != nil && int64(now) >= k.last.ResetAt && k.credits > 0 {
		k.credits = 0
	}
	for {
		if k.credits >= cost {
			k.credits -= cost
			d := strategy.Decision{Allowed: true, Limit: k.last.Limit, Remaining: int64(max(0, math.Floor(k.credits))), ResetAt: k.last.ResetAt}
			if m.tier.LowWater > 0 && k.credits <= m.tier.LowWater {
				before := *k
				got := m.debit(k, key, float64(m.tier.Batch))
				if m.tier.WindowCoupled && int64(now) >= got.ResetAt {
					*k = before
				}
			}
			return d
		}
		d := m.debit(k, key, max(float64(m.tier.Batch), cost))
		if !d.Allowed && k.credits < cost {
			return d
		}
	}
}

func drawStrategy(t *rapid.T) strategy.Params {
	limit := float64(rapid.IntRange(1, 60).Draw(t, "limit"))
	period := float64(rapid.SampledFrom([]int{7, 100, 1000, 60_000}).Draw(t, "period"))
	return rapid.SampledFrom([]strategy.Params{
		{Name: strategy.GCRA, Limit: limit, Period: period, Burst: float64(rapid.IntRange(1, 60).Draw(t, "burst"))},
		{Name: strategy.TokenBucket, Capacity: limit, RefillPerSec: float64(rapid.IntRange(1, 1000).Draw(t, "refill"))},
		{Name: strategy.SlidingWindow, Limit: limit, Period: period, Buckets: rapid.IntRange(1, 10).Draw(t, "buckets")},
		{Name: strategy.SlidingWindowLog, Limit: limit, Period: period},
	}).Draw(t, "strategy")
}

func drawTier(t *rapid.T) policy.Tier {
	return policy.Tier{
		Batch:           rapid.IntRange(1, 30).Draw(t, "batch"),
		LowWater:        rapid.SampledFrom([]float64{0, 0, 1, 2.5, 10}).Draw(t, "lowWater"),
		WindowCoupled:   rapid.Bool().Draw(t, "windowCoupled"),
		ReturnIdleAfter: clock.Millis(rapid.SampledFrom([]int{0, 0, 1, 50, 5000}).Draw(t, "returnIdleAfter")),
	}
}

// TestSameAsTheContract: every field of every reply is that of the contract, for
// any strategy and options, over random timelines.
func TestSameAsTheContract(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		params, opts := drawStrategy(t), drawTier(t)
		real, twin := newDesk(fatal{t: t}, params), newDesk(fatal{t: t}, params)
		tier := newTier(fatal{t: t}, real)
		defer tier.Close()
		model := &slow{desk: twin, tier: opts, keys: map[string]*slowKey{}}
		p := leasedBy(params, opts)
		for range rapid.IntRange(1, 80).Draw(t, "checks") {
			key := rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "key")
			cost := rapid.SampledFrom([]int64{1, 1, 1, 2, 3, 10, 40}).Draw(t, "cost")
			got, err := tier.Check(context.Background(), &p, key, cost)
			if err != nil {
				t.Fatal(err)
			}
			if want := model.check(key, float64(cost)); got != want {
				t.Fatalf("at %d: Check(%q, %d) =\n %+v, want\n %+v", real.now-epoch, key, cost, got, want)
			}
			tier.work.Wait() // the refill, if there is one
			if a, b := real.questions(), twin.questions(); a != b {
				t.Fatalf("%d questions to the log, want %d", a, b)
			}
			ms := clock.Millis(rapid.SampledFrom([]int{0, 0, 0, 1, 3, 50, 51, 1000, 70_000}).Draw(t, "pass"))
			if rest := clock.Millis(got.ResetAt) - real.now; rest > 0 && rest < 100_000 && rapid.IntRange(0, 9).Draw(t, "until the reset") == 0 {
				ms = rest
			}
			real.pass(ms)
			twin.pass(ms)
		}
	})
}

// TestCachedDenySameAsTheContract: a denial is repeated until its retry is over,
// and nothing else is decided here.
func TestCachedDenySameAsTheContract(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		params := drawStrategy(t)
		if rapid.Bool().Draw(t, "window") {
			params = strategy.Params{Name: strategy.FixedWindow, Limit: 5, Period: 1000}
		}
		real, twin := newDesk(fatal{t: t}, params), newDesk(fatal{t: t}, params)
		tier := newTier(fatal{t: t}, real)
		defer tier.Close()
		p := policy.Policy{Name: "p", Kind: policy.TwoTier, Strategy: params.Name, Rate: params, Tier: policy.Tier{Mode: policy.CachedDeny}}
		type denial struct {
			strategy.Decision
			until int64
		}
		denied := map[string]denial{}
		for range rapid.IntRange(1, 60).Draw(t, "checks") {
			key := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "key")
			cost := rapid.SampledFrom([]int64{1, 1, 2, 10}).Draw(t, "cost")
			now := int64(twin.now)
			var want strategy.Decision
			if c, ok := denied[key]; ok && now < c.until {
				want = strategy.Decision{Limit: c.Limit, ResetAt: c.ResetAt, RetryAfter: c.until - now}
			} else {
				want, _, _ = twin.check(context.Background(), "", key, cost)
				if !want.Allowed {
					denied[key] = denial{want, now + want.RetryAfter}
				}
			}
			got, err := tier.Check(context.Background(), &p, key, cost)
			if err != nil || got != want {
				t.Fatalf("at %d: Check(%q, %d) =\n %+v, %v, want\n %+v", now-int64(epoch), key, cost, got, err, want)
			}
			if a, b := real.questions(), twin.questions(); a != b {
				t.Fatalf("%d questions to the log, want %d", a, b)
			}
			ms := clock.Millis(rapid.SampledFrom([]int{0, 0, 1, 3, 50, 1000}).Draw(t, "pass"))
			if got.RetryAfter < 100_000 && rapid.IntRange(0, 9).Draw(t, "until the retry") == 0 {
				ms = clock.Millis(got.RetryAfter)
			}
			real.pass(ms)
			twin.pass(ms)
		}
	})
}
