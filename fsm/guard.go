package fsm

import (
	"github.com/tkcoord/tkcoord/concurrency"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/policy"
	"github.com/tkcoord/tkcoord/strategy"
)

// A guard is the concurrency limit of a policy.
//
// Invariant: there are inflight slots with its id. No slot is given out while
// they are as many as the limiter's ceiling, or more: it may have come down.
type guard struct {
	id       uint32 // of its slots
	inflight int64
	limiter  concurrency.Limiter
	// retired: the policy is deleted, or of another kind by now. Clients rely on the
	// slots that are left until these end, so they count if the policy is made again. There
	// is at least one, and no limiter.
	retired bool
}

func (g *guard) clone() *guard {
	c := *g
	c.limiter = g.limiter.Clone()
	return &c
}

// admit takes a slot and, with a strategy, one unit of the key's rate, or neither.
func (m *Machine) admit(c admitView) Result {
	p, err := m.operand(c.policy, "admit", policy.Guarded)
	if err != nil {
		return Result{Err: err}
	}
	g := p.guard
	ceiling := g.limiter.Ceiling()
	a := &Admission{Decision: strategy.Decision{
		Allowed: true, Limit: ceiling, Remaining: max(0, ceiling-g.inflight-1), ResetAt: int64(m.now),
	}}
	if g.inflight >= ceiling {
		a.Allowed, a.RetryAfter, a.Axis = false, max(1, int64(g.limiter.LastRTT())), AxisConcurrency
		p.Counters.refused++
		return Result{Admission: a}
	}
	if err := m.roomForSlot(); err != nil {
		return Result{Err: err}
	}
	if p.Strategy != "" {
		w := wish{key: c.key, at: m.spotOf(p, c.key)}
		d, err := m.charge(p, &w, 1)
		if err != nil {
			return Result{Err: err}
		}
		if a.Decision = combine(a.Decision, d); !d.Allowed {
			a.Axis = AxisRate
			return Result{Admission: a}
		}
	}
	g.inflight++
	s := slotLease{nonce: c.nonce, guard: g.id, atAcquire: g.inflight, start: m.now, end: m.now + SlotTTL}
	a.Fence, a.ExpiresAt = m.addSlot(&s), s.end
	a.LeaseID = leaseID(a.Fence, c.nonce)
	return Result{Admission: a}
}

// combine is the decision of two axes of one request (the ThrottleKit contract,
// combination algebra).
func combine(a, b strategy.Decision) strategy.Decision {
	return strategy.Decision{
		Allowed:    a.Allowed && b.Allowed,
		Limit:      min(a.Limit, b.Limit),
		Remaining:  min(a.Remaining, b.Remaining),
		ResetAt:    max(a.ResetAt, b.ResetAt),
		RetryAfter: max(a.RetryAfter, b.RetryAfter),
	}
}

// free ends a slot and tells its guard how long it was held.
func (m *Machine) free(fence uint64, s *slotLease, dropped bool) {
	p := m.policies.edit([]byte(m.names[s.guard]))
	g := p.guard
	g.inflight--
	if !g.retired {
		g.limiter.Observe(m.now-s.start, s.atAcquire, dropped)
	} else if g.inflight == 0 {
		m.dropGuard(p)
	}
	m.slots.drop(m.slotKey(fence))
}

// guardOf returns the guard that a slot is of, for writing.
func (m *Machine) guardOf(s *slotLease) *guard {
	return m.policies.edit([]byte(m.names[s.guard])).guard
}

func (g *guard) status() GuardStatus {
	s := GuardStatus{Limit: g.limiter.Ceiling(), InFlight: g.inflight, LastRTT: g.limiter.LastRTT()}
	s.LowestRTT, s.Sampled = g.limiter.LowestRTT()
	return s
}

// A GuardStatus is the concurrency limit of a Guarded policy as it stands.
type GuardStatus struct {
	Limit    int64 // slots that may be held
	InFlight int64 // slots that are
	LastRTT  clock.Millis
	// LowestRTT is the lowest of the samples in the limiter's window, if it has Sampled
	// any.
	LowestRTT clock.Millis
	Sampled   bool
}
