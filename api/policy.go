package api

import (
	"fmt"

	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/policy"
)

// PolicyToWire translates a policy for the Admin door.
func PolicyToWire(p policy.Policy) *tkcoordv1.Policy {
	return &tkcoordv1.Policy{
		Name: p.Name, Strategy: string(p.Strategy), Limit: int64(p.Limit), MaxKeys: int64(p.MaxKeys),
		Cadence: &tkcoordv1.Cadence{
			Kind: p.Cadence.Kind.String(), PeriodMs: int64(p.Cadence.Period), AnchorMs: int64(p.Cadence.Anchor),
			OffsetMinutes: p.Cadence.OffsetMinutes, WeekStart: p.Cadence.WeekStart,
		},
	}
}

// PolicyFromWire translates a policy of the Admin door. It checks what cannot be
// expressed otherwise; policy.Policy.Validate checks the rest.
func PolicyFromWire(p *tkcoordv1.Policy) (policy.Policy, error) {
	c := p.GetCadence()
	q := policy.Policy{
		Name: p.GetName(), Strategy: policy.Strategy(p.GetStrategy()), Limit: escrow.Credits(p.GetLimit()), MaxKeys: int(p.GetMaxKeys()),
		Cadence: escrow.Cadence{
			Period: escrow.Millis(c.GetPeriodMs()), Anchor: escrow.Millis(c.GetAnchorMs()),
			OffsetMinutes: c.GetOffsetMinutes(), WeekStart: c.GetWeekStart(),
		},
	}
	for k := escrow.Fixed; k <= escrow.CalendarMonth; k++ {
		if k.String() == c.GetKind() {
			q.Cadence.Kind = k
			return q, nil
		}
	}
	return q, fmt.Errorf("cadence.kind: got %q, want one of fixed, calendar-day, calendar-week, calendar-month", c.GetKind())
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
