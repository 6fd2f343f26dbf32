package fsm

import (
	"errors"
	"fmt"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/policy"
)

// Check reports every broken invariant of the machine, for tests, simulations
// and audits. It visits every holder of every budget.
func (m *Machine) Check() error {
	errs := []error{m.checkHead()}
	sums := make(map[uint32]*counters) // of all that has an id
	ids := 0
	for name, p := range m.policies.sorted() {
		errs = append(errs, m.checkPolicy(name, p))
		if p.Counters.overshoot > 0 {
			errs = append(errs, fmt.Errorf("policy %q was overshot by %d", name, p.Counters.overshoot))
		}
		for _, id := range p.ids() {
			sums[id] = &counters{}
			ids++
		}
	}
	if len(m.names) != ids || len(sums) != ids {
		errs = append(errs, fmt.Errorf("%d policies have %d ids of %d things, and %d names", m.policies.len, len(sums), ids, len(m.names)))
	}
	budgets := 0
	for key, b := range m.budgets.sorted() {
		budgets++
		errs = append(errs, m.checkBudget(key, b), b.Check())
		if s := sums[b.policy]; s != nil {
			s.add(&b.Ledger)
		}
	}
	errs = append(errs, m.checkStates(sums), m.checkSlots(sums))
	for name, p := range m.policies.sorted() {
		c, s := p.Counters, sums[p.id]
		if c.keys != s.keys || c.capacity != s.capacity || c.out != s.out || c.used != s.used {
			errs = append(errs, fmt.Errorf("policy %q counts %+v, the sums over its ledgers are %+v", name, c, *s))
		}
		if p.states != 0 && c.states != sums[p.states].states || p.states == 0 && c.states != 0 {
			errs = append(errs, fmt.Errorf("policy %q counts %d states and has %+v", name, c.states, sums[p.states]))
		}
		if p.guard != nil && p.guard.inflight != sums[p.guard.id].states {
			errs = append(errs, fmt.Errorf("policy %q counts %d slots and has %d", name, p.guard.inflight, sums[p.guard.id].states))
		}
	}
	edges, sessions := 0, make(map[escrow.HolderID]bool)
	for id, s := range m.edges.sorted() {
		edges++
		errs = append(errs, m.checkSession(id, s))
		sessions[s.holder] = true
	}
	if budgets != m.budgets.len || edges != m.edges.len || len(sessions) != edges {
		errs = append(errs, fmt.Errorf("%d budgets and %d edges with %d sessions are counted as %d and %d", budgets, edges, len(sessions), m.budgets.len, m.edges.len))
	}
	return errors.Join(errs...)
}

func (m *Machine) checkHead() error {
	switch {
	case m.index > maxIndex:
		return fmt.Errorf("index %d is above %d", m.index, uint64(maxIndex))
	case m.nextHolder == 0 || m.nextHolder > 1<<62 || m.nextPolicy == 0:
		return fmt.Errorf("holder %d or policy %d comes next", m.nextHolder, m.nextPolicy)
	case m.forgotten > m.now:
		return fmt.Errorf("a policy was forgotten at %d, and now is %d", m.forgotten, m.now)
	}
	for _, a := range m.alarms {
		if a.At > m.now {
			return fmt.Errorf("alarm %s at %s is since %d, and now is %d", a.Kind, a.Node, a.At, m.now)
		}
	}
	return nil
}

func (m *Machine) checkPolicy(name string, p *policyState) error {
	for _, id := range p.ids() {
		if id == 0 || id >= m.nextPolicy {
			return fmt.Errorf("policy %q: id %d was never handed out", name, id)
		}
		if m.names[id] != name || p.Name != name {
			return fmt.Errorf("policy %q has id %d, which means %q", name, id, m.names[id])
		}
	}
	hasStates, guarded := p.Kind == policy.Meter || p.hasCells(), p.Kind == policy.Guarded
	switch {
	case p.since > m.now:
		return fmt.Errorf("policy %q: windows may not begin before %d, and now is %d", name, p.since, m.now)
	case (p.states != 0) != (hasStates && !p.deleted) || (p.guard != nil && !p.guard.retired) != (guarded && !p.deleted):
		return fmt.Errorf("policy %q of kind %v, deleted %v, has states %d and guard %+v", name, p.Kind, p.deleted, p.states, p.guard)
	}
	if g := p.guard; g != nil && g.retired && g.inflight == 0 {
		return fmt.Errorf("policy %q keeps a guard without slots", name)
	}
	if g := p.guard; g != nil && !g.retired && (g.limiter.Ceiling() < int64(p.Guard.MinLimit) || g.limiter.Ceiling() > int64(p.Guard.MaxLimit)) {
		return fmt.Errorf("policy %q: limit %d is outside [%d, %d]", name, g.limiter.Ceiling(), p.Guard.MinLimit, p.Guard.MaxLimit)
	}
	if err := (&policyState{Policy: p.Policy}).prepare(); err != nil {
		return fmt.Errorf("policy %q: %w", name, err)
	}
	return nil
}

// ids returns every id of the policy.
func (p *policyState) ids() []uint32 {
	ids := []uint32{p.id}
	if p.states != 0 {
		ids = append(ids, p.states)
	}
	if p.guard != nil {
		ids = append(ids, p.guard.id)
	}
	return ids
}

func (m *Machine) checkSession(id string, s *session) error {
	switch {
	case s.holder == 0 || s.holder >= m.nextHolder:
		return fmt.Errorf("edge %q: session %d was never handed out", id, s.holder)
	case s.seen > m.now:
		return fmt.Errorf("edge %q was seen at %d, and now is %d", id, s.seen, m.now)
	}
	return nil
}

// checkBudget leaves the ledger's own invariant to it.
func (m *Machine) checkBudget(key string, b *budget) error {
	w := b.Window()
	switch {
	case m.names[b.policy] == "":
		return fmt.Errorf("budget %q belongs to policy %d, which is unknown", key[4:], b.policy)
	case string(m.budgetKey(b.policy, []byte(key[4:]))) != key:
		return fmt.Errorf("budget %q of policy %d lies under another key", key[4:], b.policy)
	case w.Start >= w.End || w.Start > m.now:
		return fmt.Errorf("budget %q: window %v at %d is empty or has not begun", key[4:], w, m.now)
	}
	var err error
	b.Each(func(h escrow.HolderID, _ escrow.Allotment) {
		if h == 0 || h >= m.nextHolder {
			err = fmt.Errorf("budget %q: holder %d was never handed out", key[4:], h)
		}
	})
	return err
}
