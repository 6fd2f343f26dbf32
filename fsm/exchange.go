package fsm

import (
	"fmt"

	"github.com/tkcoord/tkcoord/escrow"
)

// exchange settles the asks of one edge. All asks are read, also when the
// session is refused, since the next command follows them.
func (m *Machine) exchange(r *reader, results bool) (Result, error) {
	x := r.exchangeHead()
	if r.err != nil {
		return Result{}, r.err
	}
	s, newest, err := m.session(x.edgeID, x.incarnation, x.session, x.seq)
	var res Result
	if err != nil {
		res.Err = err
	} else {
		res.Session = s
	}
	if results && err == nil {
		res.Answers = make([]Answer, 0, x.asks)
	}
	for range x.asks {
		a := r.ask()
		if r.err != nil {
			return Result{}, r.err
		}
		if err != nil {
			continue
		}
		ans := m.settle(s, newest, &a)
		if results {
			res.Answers = append(res.Answers, ans)
		}
	}
	return res, nil
}

// session finds or opens the session of an edge and returns its holder, and
// whether this exchange is the newest one seen from it, or that one again: both
// are judged alike, so that a repeated exchange has the same answer. The rules:
//
//   - An unknown edge that claims no session gets one, and with it a new holder.
//   - The same incarnation asking again without a session gets the same one.
//   - A new incarnation replaces the one before. That one never comes back: its
//     process is told ErrReplaced, also if its first message arrives late.
//   - A claimed session that is not current is refused with ErrSession.
func (m *Machine) session(id []byte, incarnation uint64, claimed escrow.HolderID, seq uint64) (escrow.HolderID, bool, error) {
	s := m.edges.edit(id)
	if s == nil {
		if claimed != 0 {
			return 0, false, fmt.Errorf("session: %d of edge_id %q has ended: %w", claimed, id, ErrSession)
		}
		if m.edges.len >= m.settings.MaxEdges {
			return 0, false, fmt.Errorf("edge_id: there are %d edges, the most that this cluster takes: %w", m.edges.len, ErrExhausted)
		}
		s = &session{incarnation: incarnation, holder: m.newHolder()}
		m.edges.put(id, s)
	}
	if s.incarnation != incarnation {
		for _, old := range s.replaced {
			if old == incarnation {
				return 0, false, fmt.Errorf("incarnation: %016x of edge_id %q was replaced by %016x: %w", incarnation, id, s.incarnation, ErrReplaced)
			}
		}
		if claimed != 0 {
			return 0, false, fmt.Errorf("session: %d was not given to incarnation %016x of edge_id %q: %w", claimed, incarnation, id, ErrSession)
		}
		copy(s.replaced[1:], s.replaced[:])
		s.replaced[0] = s.incarnation
		s.incarnation, s.holder, s.seq = incarnation, m.newHolder(), 0
	}
	if claimed != 0 && claimed != s.holder {
		return 0, false, fmt.Errorf("session: %d, edge_id %q has %d now: %w", claimed, id, s.holder, ErrSession)
	}
	newest := seq >= s.seq
	s.seq = max(s.seq, seq)
	s.seen = m.now
	return s.holder, newest, nil
}

func (m *Machine) newHolder() escrow.HolderID {
	h := m.nextHolder
	m.nextHolder++
	return h
}

// settle records what a holder reports about one budget and raises its grant.
// An answer with an error changed nothing.
func (m *Machine) settle(h escrow.HolderID, newest bool, a *askView) Answer {
	p := m.policies.get(a.policy)
	if p == nil || p.deleted {
		return Answer{Err: fmt.Errorf("policy: %q: %w", a.policy, ErrUnknownPolicy)}
	}
	key := m.budgetKey(p.id, a.key)
	b := m.budgets.edit(key)
	var w escrow.Window
	switch {
	case b == nil:
		w = p.Cadence.Following(p.since, m.now)
	case m.now >= b.Window().End:
		w = p.Cadence.Following(max(p.since, b.Window().End), m.now)
	default:
		w = b.Window()
	}
	used, returned, need, want := a.used, a.returned, a.need, a.want
	switch {
	case a.window > w.Start:
		return Answer{Err: fmt.Errorf("window_start_ms: %d, the current window is %v: %w", a.window, w, ErrFutureWindow)}
	case a.window < w.Start:
		// News of a window that is over, or of none: only the wish for more counts,
		// and no total for this window can run backwards.
		gone := used + returned
		need, want = max(0, need-gone), max(0, want-gone)
		used, returned, newest = 0, 0, false
	}
	if err := acceptable(b, w, h, newest, used, returned); err != nil {
		return Answer{Err: err}
	}
	if want > 0 {
		if b == nil {
			m.newKeys++
		}
		if err := m.roomFor(p, b, w, h); err != nil {
			return Answer{Err: err}
		}
	}
	p = m.policies.edit(a.policy)
	if b == nil {
		if want == 0 { // nothing to record: do not make a budget for a question
			return m.answer(p, w, 0, p.Limit, false)
		}
		b = &budget{escrow.Open(w, p.Limit), p.id}
		m.budgets.put(key, b)
		p.Counters.add(&b.Ledger)
	} else if w != b.Window() {
		p.Counters.remove(&b.Ledger)
		b.Ledger = escrow.Open(w, p.Limit)
		p.Counters.add(&b.Ledger)
	}
	return m.raise(p, b, h, used, returned, need, want)
}

// acceptable reports why totals must be refused. b is nil or may still be in an
// earlier window than w.
func acceptable(b *budget, w escrow.Window, h escrow.HolderID, newest bool, used, returned escrow.Credits) error {
	var have escrow.Allotment
	if b != nil && b.Window() == w {
		have, _ = b.Of(h)
	}
	if max(used, have.Used)+max(returned, have.Returned) > have.Granted {
		return fmt.Errorf("used: %d + returned: %d > granted: %d in window %v: %w", used, returned, have.Granted, w, escrow.ErrOverspent)
	}
	if newest && (used < have.Used || returned < have.Returned) {
		return fmt.Errorf("used: %d after %d, returned: %d after %d in window %v: %w", used, have.Used, returned, have.Returned, w, escrow.ErrBackwards)
	}
	return nil
}

// roomFor reports which bound keeps h from having credits of the budget.
func (m *Machine) roomFor(p *policyState, b *budget, w escrow.Window, h escrow.HolderID) error {
	switch {
	case b == nil && p.Counters.keys >= int64(p.MaxKeys):
		return fmt.Errorf("key: policy %q has %d live keys, the most it may have (maxKeys): %w", p.Name, p.Counters.keys, ErrExhausted)
	case b == nil && m.budgets.len >= m.settings.MaxBudgets:
		return fmt.Errorf("key: the cluster holds %d budgets, the most it may: %w", m.budgets.len, ErrExhausted)
	case b == nil || b.Window() != w || b.Holders() < m.settings.MaxHolders:
		return nil
	}
	if _, known := b.Of(h); known {
		return nil
	}
	return fmt.Errorf("key: %d edges have asked for it in window %v, the most that may: %w: %w", b.Holders(), w, escrow.ErrHolders, ErrExhausted)
}

// raise takes over the reported totals, which were found acceptable, and grants.
func (m *Machine) raise(p *policyState, b *budget, h escrow.HolderID, used, returned, need, want escrow.Credits) Answer {
	c := &p.Counters
	c.remove(&b.Ledger)
	if b.Capacity() != p.Limit {
		b.SetCapacity(p.Limit)
	}
	before, _ := b.Of(h)
	if err := b.Report(h, returned, used); err != nil {
		c.add(&b.Ledger)
		return Answer{Err: err}
	}
	granted := before.Granted
	if want > granted {
		granted = b.Grant(h, b.Target(h, need, want))
	}
	after, _ := b.Of(h)
	c.add(&b.Ledger)
	c.moved(before, after)
	refused := granted < need
	if refused {
		c.refused++
	}
	c.overshoot = max(c.overshoot, b.Used()-b.Peak())
	return m.answer(p, b.Window(), granted, b.Left(), refused)
}

func (m *Machine) answer(p *policyState, w escrow.Window, granted, left escrow.Credits, refused bool) Answer {
	a := Answer{
		Window: w, Granted: granted, TTL: w.TTL(m.now, m.settings.LongestLease),
		Limit: p.Limit, Left: left, Length: p.length(),
	}
	if refused {
		a.Retry = max(1, w.End-m.now)
	}
	return a
}

// length returns the length of the policy's windows, 0 for calendar ones.
func (p *policyState) length() escrow.Millis {
	if p.Cadence.Kind == escrow.Fixed {
		return p.Cadence.Period
	}
	return 0
}
