package fsm

import (
	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/internal/bug"
	"github.com/tkcoord/tkcoord/policy"
	"github.com/tkcoord/tkcoord/strategy"
)

// A cell is what one key has used under a strategy without windows.
type cell struct {
	strategy.State
	policy uint32 // id of the policy's states
}

// A wish is a key that is to be charged, and where its record belongs.
type wish struct {
	key []byte // in the entry
	at  spot
}

// check charges the keys of a Check. All are read, also when the policy refuses,
// since the next command follows them.
func (m *Machine) check(r *reader, results bool) (Result, error) {
	c := r.checkHead()
	if r.err != nil {
		return Result{}, r.err
	}
	p, err := m.operand(c.policy, "check", policy.Plain, policy.TwoTier, policy.Federated)
	res := Result{Err: err}
	if results && err == nil {
		res.Decisions = m.room(c.keys)
	}
	for done := 0; done < c.keys; {
		wishes := m.wishes[:min(c.keys-done, len(m.wishes))]
		for i := range wishes {
			wishes[i].key = r.key()
		}
		if r.err != nil {
			return Result{}, r.err
		}
		if err == nil {
			m.find(p, wishes)
			for i := range wishes {
				d, err := m.charge(p, &wishes[i], c.cost)
				if results {
					res.record(done+i, d, err)
				}
			}
		}
		done += len(wishes)
	}
	return res, nil
}

// record stores what became of the i-th key.
func (r *Result) record(i int, d strategy.Decision, err error) {
	r.Decisions[i] = d
	if err == nil {
		return
	}
	if r.KeyErrs == nil {
		r.KeyErrs = make([]error, len(r.Decisions))
	}
	r.KeyErrs[i] = err
}

// operand returns the policy of an operation that is for policies of some kinds,
// for writing.
func (m *Machine) operand(name []byte, op string, kinds ...policy.Kind) (*policyState, error) {
	p := m.policies.edit(name)
	if p == nil || p.deleted {
		return nil, unknownPolicy(name)
	}
	for _, k := range kinds {
		if p.Kind == k {
			return p, nil
		}
	}
	return nil, p.unsupported(op)
}

// find looks up where the keys of a policy belong and touches their records, see
// gather.
func (m *Machine) find(p *policyState, wishes []wish) {
	for i := range wishes {
		wishes[i].at = m.spotOf(p, wishes[i].key)
	}
	if len(wishes) == 1 {
		return
	}
	if p.ledger {
		m.touched += touch(m.budgets, wishes)
	} else {
		m.touched += touch(m.cells, wishes)
	}
}

// spotOf returns where the record of a key belongs that can be charged.
func (m *Machine) spotOf(p *policyState, key []byte) spot {
	if p.ledger {
		return m.budgets.spotOf(m.budgetKey(p.id, key))
	}
	return m.cells.spotOf(m.budgetKey(p.states, key))
}

func touch[V any](t *table[V], wishes []wish) (sum uint32) {
	for i := range wishes {
		sum += t.touchIndex(wishes[i].at)
	}
	for i := range wishes {
		sum += t.touchSlot(wishes[i].at)
	}
	return sum
}

// charge consumes a cost for a key of a policy that has a strategy, or denies it.
// An error means that there is no room for the key: nothing was consumed.
func (m *Machine) charge(p *policyState, w *wish, cost int64) (d strategy.Decision, err error) {
	if p.ledger {
		d, err = m.take(p, w, escrow.Credits(cost))
	} else {
		d, err = m.spend(p, w, cost)
	}
	if err == nil && !d.Allowed {
		p.Counters.refused++
	}
	return d, err
}

// take charges a key on the ledger that leases are granted from too. While there
// are none, the answers are those of the strategies fixedWindow and quota.
func (m *Machine) take(p *policyState, w *wish, cost escrow.Credits) (strategy.Decision, error) {
	b, win, left, err := m.draw(p, w, cost)
	d := strategy.Decision{Limit: int64(p.Limit), Remaining: int64(left), ResetAt: int64(win.End)}
	switch {
	case err != nil:
		return strategy.Decision{}, err
	case b == nil:
		d.RetryAfter = int64(win.End - m.now)
		return d, nil
	}
	b.Take(cost)
	p.Counters.out.add(cost)
	p.Counters.used.add(cost)
	p.Counters.spent(cost, 0)
	p.Counters.overshoot = max(p.Counters.overshoot, b.Used()-b.Peak())
	d.Allowed, d.Remaining = true, int64(left-cost)
	return d, nil
}

// draw returns the budget of a key in the window of now, with so many credits
// left in it. If fewer than need are left it returns no budget, and there may be
// none.
func (m *Machine) draw(p *policyState, w *wish, need escrow.Credits) (*budget, escrow.Window, escrow.Credits, error) {
	key := m.budgetKey(p.id, w.key)
	b := m.budgets.editAt(w.at, key)
	win, live := p.windowAt(m.now, b)
	left := p.left(b, live)
	if need > left {
		return nil, win, left, nil
	}
	if b == nil {
		if err := m.roomForKey(p); err != nil {
			return nil, win, left, err
		}
	}
	if !live {
		b = m.open(p, w.at, key, b, win)
	} else if b.Capacity() != p.Limit {
		p.Counters.remove(&b.Ledger)
		b.SetCapacity(p.Limit)
		p.Counters.add(&b.Ledger)
	}
	return b, win, left, nil
}

// left returns what is left in a window of a budget, which need not have begun.
func (p *policyState) left(b *budget, live bool) escrow.Credits {
	if !live {
		return p.Limit
	}
	if bug.Planted(bug.StrictApart) {
		taken, _ := b.Unheld()
		return max(0, p.Limit-taken)
	}
	return max(0, p.Limit-b.Out())
}

// spend charges a key by its cell.
func (m *Machine) spend(p *policyState, w *wish, cost int64) (strategy.Decision, error) {
	key := m.budgetKey(p.states, w.key)
	c := m.cells.editAt(w.at, key)
	if c == nil {
		return m.spendCold(p, w, key, cost)
	}
	d := p.rate.Check(&c.State, int64(m.now), strategy.Cost(cost))
	if d.Allowed {
		m.cells.endsAt(w.at, clock.Millis(c.Expires()))
		p.Counters.spent(escrow.Credits(cost), 0)
	}
	return d, nil
}

// spendCold charges a key without a cell. One that is denied gets none.
func (m *Machine) spendCold(p *policyState, w *wish, key []byte, cost int64) (strategy.Decision, error) {
	m.cold = strategy.State{}
	d := p.rate.Check(&m.cold, int64(m.now), strategy.Cost(cost))
	if !d.Allowed {
		return d, nil
	}
	if err := m.roomForKey(p); err != nil {
		return strategy.Decision{}, err
	}
	m.cells.putAt(w.at, key, &cell{m.cold, p.states})
	p.Counters.states++
	p.Counters.spent(escrow.Credits(cost), 0)
	return d, nil
}

// room returns n decisions. They are handed out of larger pieces, which are never
// used again.
func (m *Machine) room(n int) []strategy.Decision {
	if n > len(m.slab) {
		m.slab = make([]strategy.Decision, max(n, 64))
	}
	d := m.slab[:n:n]
	m.slab = m.slab[n:]
	return d
}
