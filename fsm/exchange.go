package fsm

// exchange settles the asks of one edge. All asks are read, also when the
// session is refused, since the next command follows them.
func (m *Machine) exchange(r *reader, results bool) (Result, error) {
	x := r.exchangeHead()
	if r.err != nil {
		return Result{}, r.err
	}
	c, err := m.session(x.edgeID, x.incarnation, x.session, x.seq)
	res := Result{Err: err, Session: c.holder}
	if results && err == nil {
		res.Answers = make([]Answer, 0, x.asks)
	}
	for left := x.asks; left > 0; {
		asks := m.errands[:min(left, len(m.errands))]
		left -= len(asks)
		for i := range asks {
			asks[i].askView = r.ask()
		}
		if r.err != nil {
			return Result{}, r.err
		}
		if err != nil {
			continue
		}
		m.gather(asks)
		for i := range asks {
			ans := m.settle(&c, &asks[i])
			if results {
				res.Answers = append(res.Answers, ans)
			}
		}
	}
	return res, nil
}

// An errand is an ask with what is needed to settle it.
type errand struct {
	askView
	under *policyState // for writing, nil if unknown; policies stay while an exchange is settled
	at    spot         // of the budget
}

// gather finds the policies of some asks and touches their budgets. With many
// budgets an ask mostly waits for memory: those that are touched one after the
// other, with nothing in between, are waited for together.
func (m *Machine) gather(asks []errand) {
	for i := range asks {
		a := &asks[i]
		if before := max(0, i-1); i > 0 && string(a.policy) == string(asks[before].policy) {
			a.under = asks[before].under // mostly
		} else {
			a.under = m.policies.edit(a.policy)
		}
		if a.under != nil {
			a.at = m.budgets.spotOf(m.budgetKey(a.under.id, a.key))
		}
	}
	for i := range asks {
		m.touched += m.budgets.touchIndex(asks[i].at)
	}
	for i := range asks {
		m.touched += m.budgets.touchSlot(asks[i].at)
	}
}
