package fsm

import (
	"fmt"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm/clock"
)

// settle answers one ask. keys counts the budgets that this exchange made.
func (r *reference) settle(m *Machine, h escrow.HolderID, newest bool, a Ask, keys map[string]int64) (Answer, error) {
	p := r.policies[a.Policy]
	if p == nil || p.deleted {
		return Answer{Err: ErrUnknownPolicy}, nil
	}
	name := a.Policy + "/" + a.Key
	l := r.ledgers[name]
	w, live, err := r.window(m, p, l)
	if err != nil {
		return Answer{}, err
	}
	var have escrow.Allotment
	if live && l.holders[h] != nil {
		have = *l.holders[h]
	}
	used, returned, need, want := a.Used, a.Returned, a.Need, a.Want
	switch {
	case a.Window > w.Start:
		return Answer{Err: ErrFutureWindow}, nil
	case a.Window < w.Start:
		need, want = max(0, need-used-returned), max(0, want-used-returned)
		used, returned, newest = 0, 0, false
	}
	switch {
	case max(used, have.Used)+max(returned, have.Returned) > have.Granted:
		return Answer{Err: escrow.ErrOverspent}, nil
	case newest && (used < have.Used || returned < have.Returned):
		return Answer{Err: escrow.ErrBackwards}, nil
	}
	record := m.budgets.get(m.budgetKey(m.policies.get([]byte(a.Policy)).id, []byte(a.Key))) != nil || l != nil && l.window == w
	if !record {
		if want == 0 {
			return r.answer(p, w, 0, p.Limit, 0), nil
		}
		if m.policies.get([]byte(a.Policy)).Counters.keys+keys[a.Policy] >= int64(p.MaxKeys) {
			return Answer{Err: ErrExhausted}, nil
		}
		if int64(m.budgets.len)+keys[""] >= int64(r.settings.MaxBudgets) {
			return Answer{Err: ErrExhausted}, nil
		}
		keys[a.Policy]++
		keys[""]++
	}
	if live && want > 0 && l.holders[h] == nil && len(l.holders) >= r.settings.MaxHolders {
		return Answer{Err: ErrExhausted}, nil
	}
	if !live {
		l = &refLedger{window: w, holders: map[escrow.HolderID]*escrow.Allotment{}}
		r.ledgers[name] = l
	}
	l.capacity = p.Limit
	l.peak = max(l.peak, p.Limit)
	return r.grant(p, l, h, used, returned, need, want), nil
}

// window returns the window of now: the live one, or the one that begins.
func (r *reference) window(m *Machine, p *refPolicy, l *refLedger) (escrow.Window, bool, error) {
	if l != nil && r.now < l.window.End {
		return l.window, true, nil
	}
	w := p.Cadence.At(r.now)
	lo := max(w.Start, p.since)
	if l != nil {
		lo = max(lo, l.window.End)
	}
	w.Start = max(lo, m.policies.get([]byte(p.Name)).since)
	if w.Start > r.now || w.Start > lo && !p.odd && m.forgotten == 0 {
		return w, false, fmt.Errorf("at %d the window begins at %d, want %d", r.now, w.Start, lo)
	}
	return w, false, nil
}

func (r *reference) grant(p *refPolicy, l *refLedger, h escrow.HolderID, used, returned, need, want escrow.Credits) Answer {
	a := l.holders[h]
	if a == nil {
		a = &escrow.Allotment{}
	}
	a.Used, a.Returned = max(a.Used, used), max(a.Returned, returned)
	if want > a.Granted {
		l.holders[h] = a
		pool := l.left() + a.Granted - a.Returned - a.Used
		share := pool / escrow.Credits(len(l.holders)+1)
		if pool%escrow.Credits(len(l.holders)+1) > 0 {
			share++
		}
		target := max(min(need, escrow.MaxCredits), min(want, a.Used+a.Returned+share))
		a.Granted += max(0, min(target-a.Granted, l.left()))
	}
	return r.answer(p, l.window, a.Granted, l.left(), need)
}

func (r *reference) answer(p *refPolicy, w escrow.Window, granted, left, need escrow.Credits) Answer {
	ans := Answer{Window: w, Granted: granted, Left: left, Limit: p.Limit}
	ans.TTL = min(w.End-r.now-clock.Resolution, r.settings.LongestLease)
	if p.Cadence.Kind == escrow.Fixed {
		ans.Length = p.Cadence.Period
	}
	if granted < need {
		ans.Retry = w.End - r.now
	}
	return ans
}
