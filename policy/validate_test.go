package policy

import (
	"math"
	"testing"

	"github.com/tkcoord/tkcoord/concurrency"
	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/strategy"
)

func TestValidate(t *testing.T) {
	valid := Policy{Name: "a", Strategy: Quota, Limit: 5, Cadence: escrow.Cadence{Kind: escrow.Fixed, Period: 1000}, MaxKeys: 10}
	for _, tc := range []struct {
		name string
		edit func(*Policy)
		want string // "" if valid
	}{
		{"valid", func(*Policy) {}, ""},
		{"largest", func(p *Policy) { p.Limit, p.MaxKeys = escrow.MaxCredits, MaxMaxKeys }, ""},
		{"everything", func(p *Policy) { *p = Policy{} }, `a name must have 1 to 256 bytes, this one has 0
strategy "" is none of gcra, tokenBucket, fixedWindow, slidingWindow, slidingWindowLog, quota
maxKeys 0 is outside [1, 100000000]`},
		{"limit", func(p *Policy) { p.Limit = escrow.MaxCredits + 1 }, "limit 9007199254740992 is outside [1, 9007199254740991]"},
		{"control", func(p *Policy) { p.Name = "a\x00" }, `name "a\x00" has a control character`},
		{"encoding", func(p *Policy) { p.Name = "\xff" }, `name "\xff" is not valid UTF-8`},
		{"reserved", func(p *Policy) { p.Name = "__proto__" }, `name "__proto__" is reserved in the ThrottleKit contract`},
		{"anchor", func(p *Policy) { p.Cadence.Anchor = 1000 }, "anchor 1000 ms is outside [0, 1000): add or subtract whole periods"},
		{"offset of fixed", func(p *Policy) { p.Cadence.OffsetMinutes, p.Cadence.WeekStart = 5, 6 },
			"a fixed cadence has no offset (5 minutes)\na fixed cadence has no first day of the week (6)"},
		{"period of a calendar", func(p *Policy) { p.Cadence.Kind = escrow.CalendarDay },
			"a calendar-day cadence has no period (1000 ms) and no anchor (0 ms)"},
		{"week start of a month", func(p *Policy) { p.Cadence = escrow.Cadence{Kind: escrow.CalendarMonth, WeekStart: 1} },
			"a calendar-month cadence has no first day of the week (1)"},
		{"window by the calendar", func(p *Policy) { p.Strategy, p.Cadence = FixedWindow, escrow.Cadence{Kind: escrow.CalendarDay} },
			"strategy fixedWindow has windows of one length without an anchor, not calendar-day with anchor 0"},
		{"kind", func(p *Policy) { p.Kind = Guarded + 1 }, "unknown kind 5"},
		{"strategy", func(p *Policy) { p.Strategy = "leakyBucket" }, `strategy "leakyBucket" is none of gcra, tokenBucket, fixedWindow, slidingWindow, slidingWindowLog, quota`},
		{"rate without parameters", func(p *Policy) { *p = Policy{Name: "a", Strategy: GCRA, MaxKeys: 1} }, `rate has parameters of "", want those of strategy "gcra" alone`},
		{"parameters of another strategy", func(p *Policy) {
			*p = Policy{Name: "a", Strategy: SlidingWindowLog, MaxKeys: 1, Rate: strategy.Params{Name: TokenBucket, Capacity: 1, RefillPerSec: 1}}
		}, `rate has parameters of "tokenBucket", want those of strategy "slidingWindowLog" alone`},
		{"parameters out of range", func(p *Policy) {
			*p = Policy{Name: "a", Strategy: TokenBucket, MaxKeys: 1, Rate: strategy.Params{Name: TokenBucket, Capacity: math.NaN(), RefillPerSec: 1}}
		}, "capacity NaN: must be above 0 and at most 9007199254740991"},
		{"parameters beside a ledger", func(p *Policy) {
			p.Strategy, p.Rate = FixedWindow, strategy.Params{Name: FixedWindow, Limit: 5, Period: 1000}
		}, `rate has parameters of "fixedWindow", which this policy does not use`},
		{"a quota that does not roll", func(p *Policy) {
			*p = Policy{Name: "a", Strategy: Quota, MaxKeys: 1, Rate: strategy.Params{Name: Quota, Limit: 5, Cadence: escrow.Cadence{Kind: escrow.CalendarDay}}}
		}, `rate has parameters of "quota", want those of strategy "quota" alone`},
		{"blocks of other kinds", func(p *Policy) {
			p.Tier.Mode, p.Batch, p.Meter, p.Guard.MinLimit = Strict, 1, TokenBudget, 1
		}, `a plain policy has no tier
a plain policy has no batch outside of its tier (1)
a plain policy is no meter ("tokenBudget")
a plain policy does not limit concurrency`},
		{"tier", func(p *Policy) {
			p.Kind, p.Tier = TwoTier, Tier{Mode: "fast", LowWater: math.NaN(), ReturnIdleAfter: -1}
		},
			`mode "fast" is none of strict, cached-deny, leased
batch 0 is outside [1, 9007199254740991]
lowWater NaN is outside [0, 9007199254740991]
returnIdleAfterMs -1 is outside [0, 316224000000]`},
		{"batch of a strict tier", func(p *Policy) { p.Kind, p.Tier = TwoTier, Tier{Mode: Strict, Batch: 1} }, "a tier in mode strict has nothing but its mode"},
		{"federated", func(p *Policy) { p.Kind, p.Strategy, p.Cadence.Anchor = Federated, GCRA, 5 },
			`strategy "gcra" cannot be federated: it is none of fixedWindow, slidingWindow, quota
a federated policy has windows of one length without an anchor, not fixed with anchor 5
batch 0 is outside [1, 9007199254740991]`},
		{"meter", func(p *Policy) { p.Kind, p.Cadence = Meter, escrow.Cadence{Kind: escrow.CalendarDay} },
			`a meter has no strategy, this one has "quota"
a meter policy has windows of one length without an anchor, not calendar-day with anchor 0
meter "" is neither tokenBudget nor fleetBudget`},
		{"guard", func(p *Policy) {
			*p = Policy{Name: "a", Kind: Guarded, MaxKeys: 1, Guard: concurrency.DefaultConfig(), Limit: 1}
			p.Guard.MinLimit = 0
		},
			`limit 1 and cadence Kind(0) are those of a ledger or a meter, which this policy is not
concurrency: minLimit: got 0, want 1 to 1000000`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := valid
			tc.edit(&p)
			got := ""
			if err := p.Validate(); err != nil {
				got = err.Error()
			}
			if got != tc.want {
				t.Errorf("Validate() = %s, want %s", got, tc.want)
			}
		})
	}
}
