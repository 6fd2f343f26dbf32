package fsm

import (
	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/policy"
	"github.com/tkcoord/tkcoord/strategy"
)

// A meter is what one key of a Meter policy was served.
type meter struct {
	escrow.Meter
	policy uint32 // id of the policy's states
}

// reserve gives credits of a key away for the rest of the window.
func (m *Machine) reserve(c amountView) Result {
	p, err := m.operand(c.policy, "reserve", policy.Federated)
	if err != nil {
		return Result{Err: err}
	}
	w := wish{key: c.key, at: m.spotOf(p, c.key)}
	b, win, left, err := m.draw(p, &w, 1)
	res := &Reserved{Left: left, Limit: p.Limit, Window: win}
	switch {
	case err != nil:
		return Result{Err: err}
	case b == nil:
		p.Counters.refused++
		return Result{Reserved: res}
	}
	res.Granted = b.Give(escrow.Credits(c.n))
	res.Left -= res.Granted
	p.Counters.out.add(res.Granted)
	p.Counters.spent(0, res.Granted)
	return Result{Reserved: res}
}

// debit counts tokens of a key. The window that was begun ends when it was to,
// whatever became of the policy's cadence.
func (m *Machine) debit(c amountView) Result {
	p, err := m.operand(c.policy, "debit", policy.Meter)
	if err != nil {
		return Result{Err: err}
	}
	key := m.budgetKey(p.states, c.key)
	at := m.meters.spotOf(key)
	x := m.meters.editAt(at, key)
	switch {
	case x == nil:
		if err := m.roomForKey(p); err != nil {
			return Result{Err: err}
		}
		x = m.meters.putAt(at, key, &meter{policy: p.states})
		p.Counters.states++
		fallthrough
	case m.now >= x.End:
		x.Meter = escrow.Meter{End: p.Cadence.At(m.now).End}
	}
	tokens := escrow.Credits(c.n)
	d := strategy.Decision{Limit: int64(p.Limit), ResetAt: int64(x.End)}
	if d.Allowed = x.Debit(p.Limit, tokens); d.Allowed {
		p.Counters.spent(tokens, 0)
	} else {
		p.Counters.refused++
		d.RetryAfter = int64(x.End - m.now)
	}
	d.Remaining = max(0, int64(p.Limit-x.Served))
	list := m.room(1)
	list[0] = d
	return Result{Decisions: list}
}
