package api

import (
	"fmt"

	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"github.com/tkcoord/tkcoord/concurrency"
	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/policy"
	"github.com/tkcoord/tkcoord/strategy"
)

// PolicyToWire translates a policy for the Admin door.
func PolicyToWire(p policy.Policy) *tkcoordv1.Policy {
	w := &tkcoordv1.Policy{
		Name: p.Name, Kind: p.Kind.String(), Strategy: string(p.Strategy), Limit: int64(p.Limit), MaxKeys: int64(p.MaxKeys),
		Batch: int64(p.Batch), Meter: string(p.Meter),
	}
	if c := p.Cadence; c != (escrow.Cadence{}) {
		w.Cadence = &tkcoordv1.Cadence{
			Kind: c.Kind.String(), PeriodMs: int64(c.Period), AnchorMs: int64(c.Anchor), OffsetMinutes: c.OffsetMinutes, WeekStart: c.WeekStart,
		}
	}
	if r := p.Rate; r != (strategy.Params{}) {
		w.Rate = &tkcoordv1.Rate{
			Limit: r.Limit, PeriodMs: r.Period, Burst: r.Burst, Capacity: r.Capacity, RefillPerSec: r.RefillPerSec, Buckets: int64(r.Buckets),
		}
	}
	if t := p.Tier; t != (policy.Tier{}) {
		w.Tier = &tkcoordv1.Tier{
			Mode: string(t.Mode), Batch: int64(t.Batch), LowWater: t.LowWater, WindowCoupled: t.WindowCoupled, ReturnIdleAfterMs: int64(t.ReturnIdleAfter),
		}
	}
	if g := p.Guard; g != (concurrency.Config{}) {
		w.Guard = &tkcoordv1.Guard{
			MinLimit: int64(g.MinLimit), MaxLimit: int64(g.MaxLimit), InitialLimit: int64(g.InitialLimit), Algorithm: string(g.Algorithm),
			RttWindow: int64(g.RTTWindow), Smoothing: g.Smoothing, Tolerance: g.Tolerance, BackoffRatio: g.BackoffRatio,
		}
	}
	return w
}

// PolicyFromWire translates a policy of the Admin door. It checks what cannot be
// expressed otherwise; policy.Policy.Validate checks the rest.
func PolicyFromWire(p *tkcoordv1.Policy) (policy.Policy, error) {
	q := policy.Policy{
		Name: p.GetName(), Strategy: policy.Strategy(p.GetStrategy()), Limit: escrow.Credits(p.GetLimit()), MaxKeys: int(p.GetMaxKeys()),
		Batch: int(p.GetBatch()), Meter: policy.MeterName(p.GetMeter()),
	}
	var err error
	if q.Kind, err = kindOf(p.GetKind()); err != nil {
		return q, err
	}
	if q.Cadence, err = cadenceOf(p.GetCadence()); err != nil {
		return q, err
	}
	if r := p.GetRate(); r != nil {
		q.Rate = strategy.Params{
			Name: q.Strategy, Limit: r.GetLimit(), Period: r.GetPeriodMs(), Burst: r.GetBurst(), Capacity: r.GetCapacity(),
			RefillPerSec: r.GetRefillPerSec(), Buckets: int(r.GetBuckets()), Rolling: q.Strategy == strategy.Quota,
		}
	}
	if t := p.GetTier(); t != nil {
		q.Tier = policy.Tier{
			Mode: policy.Mode(t.GetMode()), Batch: int(t.GetBatch()), LowWater: t.GetLowWater(), WindowCoupled: t.GetWindowCoupled(),
			ReturnIdleAfter: escrow.Millis(t.GetReturnIdleAfterMs()),
		}
	}
	if g := p.GetGuard(); g != nil {
		q.Guard = concurrency.Config{
			MinLimit: int(g.GetMinLimit()), MaxLimit: int(g.GetMaxLimit()), InitialLimit: int(g.GetInitialLimit()),
			Algorithm: concurrency.Algorithm(g.GetAlgorithm()), RTTWindow: int(g.GetRttWindow()),
			Smoothing: g.GetSmoothing(), Tolerance: g.GetTolerance(), BackoffRatio: g.GetBackoffRatio(),
		}
	}
	return q, nil
}

// kindOf returns the kind of a name. No name is Plain: who knows no kinds has no
// other.
func kindOf(name string) (policy.Kind, error) {
	for k := policy.Plain; k <= policy.Guarded; k++ {
		if name == k.String() {
			return k, nil
		}
	}
	if name == "" {
		return policy.Plain, nil
	}
	return 0, fmt.Errorf("kind: got %.40q, want one of plain, twoTier, federated, meter, guarded", name)
}

// cadenceOf returns no cadence for none.
func cadenceOf(c *tkcoordv1.Cadence) (escrow.Cadence, error) {
	if c == nil {
		return escrow.Cadence{}, nil
	}
	for k := escrow.Fixed; k <= escrow.CalendarMonth; k++ {
		if k.String() == c.GetKind() {
			return escrow.Cadence{
				Kind: k, Period: escrow.Millis(c.GetPeriodMs()), Anchor: escrow.Millis(c.GetAnchorMs()),
				OffsetMinutes: c.GetOffsetMinutes(), WeekStart: c.GetWeekStart(),
			}, nil
		}
	}
	return escrow.Cadence{}, fmt.Errorf("cadence.kind: got %.40q, want one of fixed, calendar-day, calendar-week, calendar-month", c.GetKind())
}

func wirePolicyStatus(p *fsm.PolicyStatus) *tkcoordv1.PolicyStatus {
	c := p.Counters
	return &tkcoordv1.PolicyStatus{
		Policy: PolicyToWire(p.Policy),
		Counters: &tkcoordv1.PolicyCounters{
			LiveKeys: c.LiveKeys, LiveCapacity: int64(c.LiveCapacity), LiveOut: int64(c.LiveOut), LiveUsed: int64(c.LiveUsed),
			GrantedTotal: int64(c.GrantedTotal), ReturnedTotal: int64(c.ReturnedTotal), UsedTotal: int64(c.Used),
			RefusedTotal: c.Refused, WorstOvershoot: int64(c.WorstOvershoot),
		},
	}
}
