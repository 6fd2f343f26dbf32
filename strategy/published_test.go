package strategy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tkcoord/tkcoord/escrow"
)

// must returns the strategy of parameters that a test knows to be valid.
func must(t testing.TB, p Params) Strategy {
	t.Helper()
	s, err := New(p)
	if err != nil {
		t.Fatalf("New(%+v): %v", p, err)
	}
	return s
}

// Parameters in the order of the contract.
func gcraOf(limit, period, burst float64) Params {
	return Params{Name: GCRA, Limit: limit, Period: period, Burst: burst}
}
func bucketOf(capacity, refill float64) Params {
	return Params{Name: TokenBucket, Capacity: capacity, RefillPerSec: refill}
}
func fixedOf(limit, period float64) Params {
	return Params{Name: FixedWindow, Limit: limit, Period: period}
}
func slidingOf(limit, period float64, buckets int) Params {
	return Params{Name: SlidingWindow, Limit: limit, Period: period, Buckets: buckets}
}
func logOf(limit, period float64) Params {
	return Params{Name: SlidingWindowLog, Limit: limit, Period: period}
}
func rollingOf(limit, period float64, buckets int) Params {
	return Params{Name: Quota, Rolling: true, Limit: limit, Period: period, Buckets: buckets}
}
func quotaOf(limit float64, c escrow.Cadence) Params {
	return Params{Name: Quota, Limit: limit, Cadence: c}
}

// TestPublished holds the tables that the ThrottleKit contract publishes, as they
// stand there.
func TestPublished(t *testing.T) {
	for _, tt := range []struct {
		params Params
		t0     int64
		table  string // operation | t | cost | reply, relative to t0
	}{
		{gcraOf(7, 60000, 3), 1700000000000, `
			check | 0 | 1 | allow, rem 2, reset 8572
			check | 0 | 2 | allow, rem 0, reset 25715
			check | 0 | 1 | deny, rem 0, reset 25715, retry 8572
			forecast | 0 | 1 | spendable 0, next 8572, full 25715
			check | 8571 | 1 | deny, rem 0, reset 25715, retry 1
			check | 8572 | 1 | allow, rem 0, reset 34286
			check | 100000 | 4 | deny, rem 3, reset 100000, retry 8572
			forecast | 100000 | 2 | spendable 1, next 100000, full 100000`},
		{bucketOf(4, 0.5), 1700000000000, `
			check | 0 | 3 | allow, rem 1, reset 6000
			check | 1000 | 2 | deny, rem 1, reset 6000, retry 1000
			check | 1000 | 1 | allow, rem 0, reset 8000
			check | 500 | 1 | deny, rem 0, reset 7500, retry 1000
			check | 3000 | 1 | allow, rem 0, reset 10000
			forecast | 3000 | 1 | spendable 0, next 4000, full 10000
			check | 3000 | 9 | deny, rem 0, reset 10000, retry 17000`},
		{fixedOf(3, 60000), 1700000040000, `
			check | 100 | 2 | allow, rem 1, reset 60000
			check | 200 | 2 | deny, rem 1, reset 60000, retry 59800
			check | 59999 | 1 | allow, rem 0, reset 60000
			check | 60000 | 3 | allow, rem 0, reset 120000`},
		{slidingOf(8, 60000, 6), 1700000040000, `
			check | 0 | 5 | allow, rem 3, reset 70000
			check | 25000 | 3 | allow, rem 0, reset 90000
			check | 25000 | 1 | deny, rem 0, reset 90000, retry 5000
			check | 60000 | 1 | deny, rem 0, reset 130000, retry 2000
			check | 63000 | 2 | deny, rem 1, reset 130000, retry 1000
			check | 64000 | 2 | allow, rem 0, reset 130000
			forecast | 64000 | 1 | spendable 0, next 70000, full 130000
			check | 95000 | 9 | deny, rem 6, reset 160000, retry 5000`},
		{logOf(4, 10000), 1700000000000, `
			check | 0 | 1 | allow, rem 3, reset 10000
			check | 3000 | 2 | allow, rem 1, reset 10000
			check | 4000 | 2 | deny, rem 1, reset 10000, retry 6000
			check | 4000 | 1 | allow, rem 0, reset 10000
			check | 4000 | 6 | deny, rem 0, reset 10000, retry 10000
			forecast | 5000 | 2 | spendable 0, next 10000, full 14000
			check | 10000 | 1 | allow, rem 0, reset 13000
			check | 30000 | 5 | deny, rem 4, reset 40000, retry 10000`},
	} {
		t.Run(string(tt.params.Name), func(t *testing.T) {
			strategy, state := must(t, tt.params), State{}
			for line := range strings.Lines(strings.TrimSpace(tt.table)) {
				var op, want string
				var at, cost int64
				f := strings.Split(strings.TrimSpace(line), " | ")
				op, want = f[0], f[3]
				if _, err := fmt.Sscan(f[1]+" "+f[2], &at, &cost); err != nil {
					t.Fatal(err)
				}
				var got string
				if op == "check" {
					got = published(strategy.Check(&state, tt.t0+at, float64(cost)), tt.t0)
				} else {
					f := strategy.Forecast(&state, tt.t0+at, float64(cost))
					got = fmt.Sprintf("spendable %d, next %d, full %d", f.SpendableNow, f.NextReplenishAt-tt.t0, f.FullAt-tt.t0)
				}
				if got != want {
					t.Errorf("%s at %d of %d: %s, want %s", op, at, cost, got, want)
				}
			}
		})
	}
}

// published writes a decision as the tables do.
func published(d Decision, t0 int64) string {
	s := fmt.Sprintf("deny, rem %d, reset %d, retry %d", d.Remaining, d.ResetAt-t0, d.RetryAfter)
	if d.Allowed {
		s = fmt.Sprintf("allow, rem %d, reset %d", d.Remaining, d.ResetAt-t0)
	}
	return s
}

// TestPublishedDrift: limit 11 in 1000 ms leaves 18 of a burst of 20 after one
// unit, at any instant of the years 2004 to 2039.
func TestPublishedDrift(t *testing.T) {
	g := must(t, gcraOf(11, 1000, 20))
	for _, now := range []int64{1 << 40, 1_234_567_890_123, 1_700_000_000_000, 1_763_000_000_001, 1<<41 - 1} {
		if d := g.Check(&State{}, now, 1); !d.Allowed || d.Remaining != 18 {
			t.Errorf("Check at %d = %+v, want 18 remaining", now, d)
		}
	}
}

// TestPublishedWindows is the table of the quota's windows.
func TestPublishedWindows(t *testing.T) {
	for _, tt := range []struct {
		cadence           escrow.Cadence
		now, start, reset int64
	}{
		{escrow.Cadence{Kind: escrow.CalendarMonth}, 1709249400000, 1706745600000, 1709251200000},
		{escrow.Cadence{Kind: escrow.CalendarMonth, OffsetMinutes: 60}, 1709249400000, 1709247600000, 1711926000000},
		{escrow.Cadence{Kind: escrow.CalendarWeek, WeekStart: 1}, 1709249400000, 1708905600000, 1709510400000},
		{escrow.Cadence{Kind: escrow.CalendarWeek, WeekStart: 0}, 1709249400000, 1708819200000, 1709424000000},
		{escrow.Cadence{Kind: escrow.CalendarDay, OffsetMinutes: -300}, 1709249400000, 1709182800000, 1709269200000},
		{escrow.Cadence{Kind: escrow.CalendarDay, OffsetMinutes: 330}, 1709249400000, 1709231400000, 1709317800000},
		{escrow.Cadence{Kind: escrow.Fixed, Period: 7000, Anchor: 500}, 1700000000000, 1699999994500, 1700000001500},
	} {
		quota, state := must(t, quotaOf(1, tt.cadence)), State{}
		if d := quota.Check(&state, tt.start, 1); !d.Allowed || d.ResetAt != tt.reset {
			t.Errorf("%v: Check at its start %d = %+v, want a reset at %d", tt.cadence, tt.start, d, tt.reset)
		}
		for _, now := range []int64{tt.now, tt.reset - 1} {
			if d := quota.Peek(&state, now); d.Allowed || d.ResetAt != tt.reset {
				t.Errorf("%v: Peek at %d = %+v, want a denial until %d", tt.cadence, now, d, tt.reset)
			}
		}
		if d := quota.Peek(&State{}, tt.start-1); d.ResetAt != tt.start {
			t.Errorf("%v: Peek before its start = %+v, want a reset at %d", tt.cadence, d, tt.start)
		}
	}
}

// TestClockBack: where the reference admits again what was used, here the newest
// window stays. The clock of a cluster never does that.
func TestClockBack(t *testing.T) {
	const t0 = 1700000040000 // a boundary of every window below
	for _, tt := range []struct {
		name   string
		params Params
		used   int64 // at t0+60000, all of it
		back   int64
		want   string
	}{
		{"gcra", gcraOf(3, 60000, 3), 3, 59000, "deny, rem 0, reset 120000, retry 21000"},
		{"tokenBucket", bucketOf(3, 0.1), 3, 30000, "deny, rem 0, reset 60000, retry 10000"},
		{"fixedWindow", fixedOf(3, 60000), 3, 59000, "deny, rem 0, reset 120000, retry 61000"},
		{"quota fixed", quotaOf(3, escrow.Cadence{Kind: escrow.Fixed, Period: 60000}), 3, 59000, "deny, rem 0, reset 120000, retry 61000"},
		{"quota by the day", quotaOf(3, escrow.Cadence{Kind: escrow.CalendarDay}), 3, -86400000, "deny, rem 0, reset 6360000, retry 92760000"},
		{"slidingWindow", slidingOf(3, 60000, 6), 3, 49000, "deny, rem 0, reset 130000, retry 21000"},
		{"slidingWindowLog", logOf(3, 60000), 3, 59000, "deny, rem 0, reset 120000, retry 61000"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			st, s := must(t, tt.params), State{}
			if d := st.Check(&s, t0+60000, float64(tt.used)); !d.Allowed {
				t.Fatalf("Check of %d = %+v", tt.used, d)
			}
			if got := published(st.Check(&s, t0+tt.back, 1), t0); got != tt.want {
				t.Errorf("Check at %d after one at 60000: %s, want %s", tt.back, got, tt.want)
			}
		})
	}
}

// TestBucketRefillsOnce: an admission after the clock ran back must not make the
// interval count again.
func TestBucketRefillsOnce(t *testing.T) {
	b, s := must(t, bucketOf(4, 1)), State{}
	b.Check(&s, 10_000, 2)
	if d := b.Check(&s, 5_000, 1); !d.Allowed {
		t.Fatalf("Check = %+v, want what was left", d)
	}
	if d := b.Peek(&s, 10_000); d.Remaining != 1 {
		t.Errorf("Peek where the clock was = %+v, want 1 remaining", d)
	}
}
