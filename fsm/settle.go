package fsm

import (
	"fmt"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/internal/bug"
	"github.com/tkcoord/tkcoord/policy"
)

// settle records what a holder reports about one budget and raises its grant. An
// answer with an error changed nothing.
func (m *Machine) settle(c *caller, a *errand, ans *Answer) {
	p := a.under
	switch {
	case p == nil || p.deleted:
		ans.Err = unknownPolicy(a.policy)
		return
	case !p.ledger || p.Kind == policy.Guarded:
		ans.Err = fmt.Errorf("policy: %q (%v %s) has no credits to lease: %w", p.Name, p.Kind, p.Strategy, ErrUnsupported)
		return
	}
	key := m.budgetKey(p.id, a.key)
	b := m.budgets.editAt(a.at, key)
	w, live := p.windowAt(m.now, b)
	var have escrow.Allotment
	known, newest := false, c.newest
	if live {
		have, known = b.Of(c.holder)
	}
	switch {
	case a.window > w.Start:
		ans.Err = fmt.Errorf("window_start_ms: %d, the current window is %v: %w", a.window, w, ErrFutureWindow)
		return
	case a.window < w.Start:
		// News of a window that is over, or of none: only the wish for more counts,
		// and no total for this window can run backwards.
		gone := a.used + a.returned
		a.used, a.returned, a.need, a.want = 0, 0, max(0, a.need-gone), max(0, a.want-gone)
		newest = false
	}
	if bug.Planted(bug.GrantTwice) && c.again {
		a.need, a.want = 2*a.need, 2*a.want
	}
	if ans.Err = a.acceptable(have, w, newest); ans.Err != nil {
		return
	}
	if !known && a.want > 0 {
		if ans.Err = m.roomFor(p, b, live); ans.Err != nil {
			return
		}
	}
	if b == nil && a.want == 0 { // nothing to record: a question makes no budget
		m.answer(ans, p, w, 0, p.Limit)
		return
	}
	if !live {
		b = m.open(p, a.at, key, b, w)
	}
	granted := m.raise(c.holder, have, a, b)
	m.answer(ans, p, w, granted, b.Left())
	if granted < a.need {
		p.Counters.refused++
		ans.Retry = max(1, w.End-m.now)
	}
}

// open begins a window of a budget, which has no record yet if b is nil.
func (m *Machine) open(p *policyState, at spot, key []byte, b *budget, w escrow.Window) *budget {
	if b == nil {
		b = m.budgets.putAt(at, key, &budget{escrow.Open(w, p.Limit), p.id})
	} else {
		p.Counters.remove(&b.Ledger)
		b.Ledger = escrow.Open(w, p.Limit)
	}
	p.Counters.add(&b.Ledger)
	return b
}

// windowAt returns the window that a budget counts in now, and whether its
// ledger, if it has one, is already in it.
func (p *policyState) windowAt(now escrow.Millis, b *budget) (w escrow.Window, live bool) {
	switch {
	case b == nil:
		return p.Cadence.Following(p.since, now), false
	case now >= b.Window().End:
		return p.Cadence.Following(max(p.since, b.Window().End), now), false
	}
	return b.Window(), true
}

// acceptable reports why totals of a holder that has have in w must be refused.
func (a *askView) acceptable(have escrow.Allotment, w escrow.Window, newest bool) error {
	if max(a.used, have.Used)+max(a.returned, have.Returned) > have.Granted {
		return fmt.Errorf("used: %d + returned: %d > granted: %d in window %v: %w", a.used, a.returned, have.Granted, w, escrow.ErrOverspent)
	}
	if newest && (a.used < have.Used || a.returned < have.Returned) {
		return fmt.Errorf("used: %d after %d, returned: %d after %d in window %v: %w", a.used, have.Used, a.returned, have.Returned, w, escrow.ErrBackwards)
	}
	return nil
}

// roomFor reports which bound keeps one more holder from having credits of the
// budget, which may have no record yet.
func (m *Machine) roomFor(p *policyState, b *budget, live bool) error {
	switch {
	case b == nil:
		return m.roomForKey(p)
	case live && b.Holders() >= m.settings.MaxHolders:
		return fmt.Errorf("key: %d edges have asked for it in window %v, the most that may: %w: %w", b.Holders(), b.Window(), escrow.ErrHolders, ErrExhausted)
	}
	return nil
}

// roomForKey reports which bound keeps the policy from having one key more.
func (m *Machine) roomForKey(p *policyState) error {
	m.newKeys++
	keys, records := p.Counters.keys+p.Counters.states, m.records()
	switch {
	case keys >= int64(p.MaxKeys):
		return fmt.Errorf("key: policy %q has %d live keys, the most it may have (maxKeys): %w", p.Name, keys, ErrExhausted)
	case records >= m.settings.MaxBudgets:
		return fmt.Errorf("key: the cluster holds %d budgets, the most it may: %w", records, ErrExhausted)
	}
	return nil
}

// raise takes over totals that were found acceptable, grants, and returns what h,
// which had have, is granted now.
func (m *Machine) raise(h escrow.HolderID, have escrow.Allotment, a *errand, b *budget) escrow.Credits {
	p := a.under
	c := &p.Counters
	c.remove(&b.Ledger)
	b.SetCapacity(p.Limit)
	now := escrow.Allotment{Granted: have.Granted, Returned: max(have.Returned, a.returned), Used: max(have.Used, a.used)}
	if now != have {
		if err := b.Report(h, a.returned, a.used); err != nil {
			panic(fmt.Sprintf("fsm: acceptable totals of holder %d were refused: %v", h, err))
		}
	}
	if a.want > have.Granted {
		now.Granted = b.Grant(h, b.Target(h, a.need, a.want))
	}
	c.add(&b.Ledger)
	c.moved(have, now)
	c.overshoot = max(c.overshoot, b.Used()-b.Peak())
	return now.Granted
}

func (m *Machine) answer(ans *Answer, p *policyState, w escrow.Window, granted, left escrow.Credits) {
	ans.Window, ans.Granted, ans.TTL = w, granted, w.TTL(m.now, m.settings.LongestLease)
	ans.Limit, ans.Left = p.Limit, left
	if p.Cadence.Kind == escrow.Fixed {
		ans.Length = p.Cadence.Period // 0 for calendar windows
	}
}
