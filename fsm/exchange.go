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
		res.Answers = make([]Answer, x.asks)
	}
	for done := 0; done < x.asks; {
		asks := m.errands[:min(x.asks-done, len(m.errands))]
		for i := range asks {
			r.ask(&asks[i].askView)
		}
		if r.err != nil {
			return Result{}, r.err
		}
		if err == nil {
			m.gather(asks)
			m.settleAll(&c, asks, res.Answers[min(done, len(res.Answers)):])
		}
		done += len(asks)
	}
	return res, nil
}

// settleAll settles asks in their order and stores the answers, unless there is
// no room for them.
func (m *Machine) settleAll(c *caller, asks []errand, answers []Answer) {
	var unwanted Answer
	for i := range asks {
		ans := &unwanted
		if i < len(answers) {
			ans = &answers[i]
		}
		m.settle(c, &asks[i], ans)
	}
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
