package fsm

import (
	"errors"
	"fmt"

	"github.com/tkcoord/tkcoord/escrow"
)

// Check reports every broken invariant of the machine, for tests, simulations
// and audits. It visits every holder of every budget.
func (m *Machine) Check() error {
	var errs []error
	sums := make(map[uint32]*counters)
	for name, p := range m.policies.sorted() {
		if m.names[p.id] != name || p.Name != name {
			errs = append(errs, fmt.Errorf("policy %q has id %d, which means %q", name, p.id, m.names[p.id]))
		}
		if p.since > m.now {
			errs = append(errs, fmt.Errorf("policy %q: windows may not begin before %d, and now is %d", name, p.since, m.now))
		}
		if p.Counters.overshoot > 0 {
			errs = append(errs, fmt.Errorf("policy %q was overshot by %d", name, p.Counters.overshoot))
		}
		sums[p.id] = &counters{}
	}
	if len(m.names) != m.policies.len || len(sums) != m.policies.len {
		errs = append(errs, fmt.Errorf("%d policies have %d ids and %d names", m.policies.len, len(sums), len(m.names)))
	}
	budgets := 0
	for key, b := range m.budgets.sorted() {
		budgets++
		if err := m.checkBudget(key, b); err != nil {
			errs = append(errs, err)
			continue
		}
		sums[b.policy].add(&b.Ledger)
	}
	for name, p := range m.policies.sorted() {
		c, s := p.Counters, sums[p.id]
		if c.keys != s.keys || c.capacity != s.capacity || c.out != s.out || c.used != s.used {
			errs = append(errs, fmt.Errorf("policy %q counts %+v, the sums over its ledgers are %+v", name, c, *s))
		}
	}
	if budgets != m.budgets.len {
		errs = append(errs, fmt.Errorf("%d budgets are counted as %d", budgets, m.budgets.len))
	}
	return errors.Join(append(errs, m.checkEdges())...)
}

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
	if err := b.Check(); err != nil {
		return fmt.Errorf("budget %q: %w", key[4:], err)
	}
	var err error
	b.Each(func(h escrow.HolderID, _ escrow.Allotment) {
		if h == 0 || h >= m.nextHolder {
			err = fmt.Errorf("budget %q: holder %d was never handed out", key[4:], h)
		}
	})
	return err
}

func (m *Machine) checkEdges() error {
	var errs []error
	edges, holders := 0, make(map[escrow.HolderID]bool)
	for id, s := range m.edges.sorted() {
		edges++
		if holders[s.holder] || s.holder == 0 || s.holder >= m.nextHolder {
			errs = append(errs, fmt.Errorf("edge %q: session %d is not its own", id, s.holder))
		}
		holders[s.holder] = true
		if s.seen > m.now {
			errs = append(errs, fmt.Errorf("edge %q was seen at %d, and now is %d", id, s.seen, m.now))
		}
	}
	if edges != m.edges.len {
		errs = append(errs, fmt.Errorf("%d edges are counted as %d", edges, m.edges.len))
	}
	return errors.Join(errs...)
}
