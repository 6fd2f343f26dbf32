package policy

import (
	"strings"
	"testing"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/strategy"
)

// TestContractTexts: problems say what the ThrottleKit contract says, in its words,
// and then more.
func TestContractTexts(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{"", "config: missing `limiters` map"},
		{"limiters:\n", "config: missing `limiters` map"},
		{"[]", "config: expected an object at the top level"},
		{"limiters:\n  a: 5\n", "config.limiters[a]: expected an object"},
		{"limiters:\n  a:\n", "config.limiters[a]: expected an object"},
		{"limiters:\n  a: { limit: 5 }\n", "config.limiters[a].strategy: required"},
		{"limiters:\n  a: { strategy: gcra, period: 1m }\n", "config.limiters[a].limit: required"},
		{"limiters:\n  a: { strategy: gcra, limit: 1 }\n", "config.limiters[a].period: required"},
		{"limiters:\n  a: { strategy: tokenBucket, capacity: 1 }\n", "config.limiters[a].refillPerSec: required"},
		{"limiters:\n  a: { strategy: leaky }\n", `config.limiters[a].strategy: unknown strategy "leaky"`},
		{"limiters:\n  a: { strategy: quota, limit: 5 }\n", "config.limiters[a].resetCadence: required for quota"},
		{"limiters:\n  a: { strategy: gcra, limit: 5, period: 1 week }\n", `period: cannot parse "1 week" (use e.g. "30s", "1m", "1h", or a number of ms)`},
		{"limiters:\n  a:\n    twoTier:\n    concurrency:\n", "config.limiters[a]: a policy may declare at most one of tokenBudget / fleetBudget / fairEscrow / " +
			"federatedFairEscrow / concurrency / distributedConcurrency / twoTier / federated"},
		{"limiters:\n  a:\n    tokenBudget: { budget: 5 }\n", "config.limiters[a].tokenBudget: both `budget` and `windowMs` are required"},
		{"limiters:\n  a:\n    strategy: gcra\n    federated:\n", "config.limiters[a].federated: requires a window-coupled strategy"},
		{"limiters:\n  a:\n    strategy: slidingWindowLog\n    federated: {}\n", `"slidingWindowLog" cannot be federated`},
		{"limiters:\n  a:\n    strategy: gcra\n    limit: 5\n    period: 1m\n    twoTier: {}\n", "leased mode requires lease.batch"},
		{"limiters:\n    a: 1\n  b: 2\n", `YAML parse error at line 3: unexpected indentation at "b: 2"`},
		{"limiters:\n  a: { twoTier: { batch: 5 } }\n", "YAML parse error at line 2: nested flow maps are not supported"},
	} {
		if _, err := Parse("f", []byte(tc.text)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%q: got %v, want %s", tc.text, err, tc.want)
		}
	}
}

// TestLedger: what counts on a ledger, and by which parameters.
func TestLedger(t *testing.T) {
	hour := escrow.Cadence{Kind: escrow.Fixed, Period: 3_600_000}
	day := escrow.Cadence{Kind: escrow.CalendarDay}
	windows := strategy.Params{Name: FixedWindow, Limit: 5, Period: 3_600_000}
	for _, tc := range []struct {
		name, spec string
		ledger     bool
		want       strategy.Params
	}{
		{"fixedWindow", "strategy: fixedWindow, limit: 5, period: 1h", true, windows},
		{"quota", "strategy: quota, limit: 5, resetCadence: calendar-day", true, strategy.Params{Name: Quota, Limit: 5, Cadence: day}},
		{"fixed quota", "strategy: quota, limit: 5, resetCadence: fixed, period: 1h", true, strategy.Params{Name: Quota, Limit: 5, Cadence: hour}},
		{"rolling quota", "strategy: quota, limit: 5, resetCadence: rolling, period: 1h", false,
			strategy.Params{Name: Quota, Rolling: true, Limit: 5, Period: 3_600_000, Buckets: 10}},
		{"sliding window", "strategy: slidingWindow, limit: 5, period: 1h", false, strategy.Params{Name: SlidingWindow, Limit: 5, Period: 3_600_000, Buckets: 10}},
		{"federated sliding window", "strategy: slidingWindow, limit: 5, period: 1h, federated: {}", true, windows},
		{"federated quota", "strategy: quota, limit: 5, resetCadence: fixed, period: 1h, federated: {}", true, windows},
		{"guarded window", "strategy: fixedWindow, limit: 5, period: 1h, concurrency: {}", true, windows},
		{"slots alone", "concurrency: {}", false, strategy.Params{}},
		{"meter", "tokenBudget: {budget: 5, windowMs: 3600000}", false, strategy.Params{}},
	} {
		f, err := Parse("f", []byte("version: 2\nlimiters: {a: {"+tc.spec+"}}\n"))
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		p := &f.Policies[0]
		if p.Ledger() != tc.ledger || p.Params() != tc.want {
			t.Errorf("%s: ledger %v, params %+v, want %v, %+v", tc.name, p.Ledger(), p.Params(), tc.ledger, tc.want)
		}
		if tc.want != (strategy.Params{}) && tc.want.Validate() != nil {
			t.Errorf("%s: %v", tc.name, tc.want.Validate())
		}
	}
}
