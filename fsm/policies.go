package fsm

import (
	"fmt"
	"slices"

	"github.com/tkcoord/tkcoord/concurrency"
	"github.com/tkcoord/tkcoord/policy"
	"github.com/tkcoord/tkcoord/strategy"
)

// applyPolicies executes a change of the policies and names those that changed.
//
// A policy whose limit changes acts on live windows at their next use. One whose
// cadence changes lets live windows run to their end: the windows of the new
// cadence start after it. A deleted policy refuses every ask at once; its name
// and its live windows stay behind until they have ended, so that a policy of
// the same name cannot grant again what is still out.
//
// Nobody holds credits of cells and meters. They are carried over to other
// parameters, and forgotten with the policy or when its strategy changes; see
// enact.
func (m *Machine) applyPolicies(c Policies) (Result, []string) {
	if c.Expect != 0 && c.Expect != m.version {
		return Result{Err: fmt.Errorf("expect_version: %d, it is %d now: %w", c.Expect, m.version, ErrVersion)}, nil
	}
	if err := m.checkPolicies(c); err != nil {
		return Result{Err: err}, nil
	}
	var changed []string
	for i := range c.Put {
		if m.putPolicy(c.Put[i]) {
			changed = append(changed, c.Put[i].Name)
		}
	}
	for _, name := range c.Delete {
		p := m.policies.edit([]byte(name))
		p.deleted = true
		m.dropStates(p)
		m.retireGuard(p)
		changed = append(changed, name)
	}
	if len(changed) > 0 {
		m.version++
	}
	return Result{Version: m.version}, changed
}

// checkPolicies reports why the change cannot be made as a whole.
func (m *Machine) checkPolicies(c Policies) error {
	added := 0
	names := make([]string, 0, len(c.Put)+len(c.Delete))
	for i := range c.Put {
		if err := c.Put[i].Validate(); err != nil {
			return fmt.Errorf("put: policy %q: %w", c.Put[i].Name, err)
		}
		if err := (&policyState{Policy: c.Put[i]}).prepare(); err != nil {
			return fmt.Errorf("put: policy %q: %w", c.Put[i].Name, err)
		}
		names = append(names, c.Put[i].Name)
		if m.policies.get([]byte(c.Put[i].Name)) == nil {
			added++
		}
	}
	for _, name := range c.Delete {
		if p := m.policies.get([]byte(name)); p == nil || p.deleted {
			return fmt.Errorf("delete: %q: %w", name, ErrUnknownPolicy)
		}
		names = append(names, name)
	}
	slices.Sort(names)
	for i := 1; i < len(names); i++ {
		if names[i] == names[i-1] {
			return fieldError("put", names[i], "each policy once in put and delete")
		}
	}
	if m.policies.len+added > policy.MaxPolicies {
		return fmt.Errorf("put: %d policies in all, at most %d are allowed: %w", m.policies.len+added, policy.MaxPolicies, ErrExhausted)
	}
	return nil
}

// putPolicy adds or replaces one policy and reports whether that changed
// anything.
func (m *Machine) putPolicy(p policy.Policy) bool {
	old := m.policies.edit([]byte(p.Name))
	switch {
	case old == nil:
		old = m.policies.put([]byte(p.Name), &policyState{Policy: policy.Policy{Name: p.Name}, id: m.newID(p.Name), since: m.forgotten})
	case old.Policy == p && !old.deleted:
		return false
	case old.Cadence != p.Cadence || old.deleted:
		old.since = m.now
	}
	m.enact(old, p)
	return true
}

// enact puts q in the place of the policy that p has.
//
// The states of its keys stay if it counts in the same way: with a strategy of
// the same name, whatever its parameters, or as a meter before and after.
// Otherwise they are forgotten, and new ones begin cold. A guard stays as long as
// the policy has one: slots are held on, and the estimate is kept within the new
// bounds. Without one its slots run to their end, and count if it has one again
// before.
func (m *Machine) enact(p *policyState, q policy.Policy) {
	if p.Rate.Name != q.Rate.Name || (p.Kind == policy.Meter) != (q.Kind == policy.Meter) {
		m.dropStates(p)
	}
	p.Policy, p.deleted = q, false
	if err := p.prepare(); err != nil {
		panic(fmt.Sprintf("fsm: policy %q was checked: %v", q.Name, err))
	}
	if p.states == 0 && (p.Kind == policy.Meter || p.hasCells()) {
		p.states = m.newID(p.Name)
	}
	switch {
	case p.Kind != policy.Guarded:
		m.retireGuard(p)
	case p.guard == nil:
		p.guard = &guard{id: m.newID(p.Name), limiter: concurrency.New(p.Guard)}
	case p.guard.retired:
		p.guard.retired, p.guard.limiter = false, concurrency.New(p.Guard)
	default:
		p.guard.limiter.Reconfigure(p.Guard)
	}
}

// prepare makes what is made from the policy. It reports what the machine could
// not work with; a valid policy has nothing of that.
func (p *policyState) prepare() (err error) {
	p.ledger, p.rate = p.Ledger(), nil
	if p.hasCells() {
		if p.rate, err = strategy.New(p.Rate); err != nil {
			return err
		}
	}
	counts := p.ledger || p.hasCells()
	switch p.Kind {
	case policy.Plain, policy.TwoTier:
		if !counts {
			return fmt.Errorf("a policy of kind %v needs a strategy", p.Kind)
		}
	case policy.Federated:
		if !p.ledger {
			return fmt.Errorf("a policy of kind %v counts in windows, not by %q", p.Kind, p.Strategy)
		}
	case policy.Meter:
		if counts {
			return fmt.Errorf("a meter has no strategy, this one has %q", p.Strategy)
		}
	case policy.Guarded:
		if counts != (p.Strategy != "") {
			return fmt.Errorf("strategy %q has no parameters", p.Strategy)
		}
		if err := p.Guard.Validate(); err != nil {
			return err
		}
	default:
		return fmt.Errorf("kind %d is unknown", p.Kind)
	}
	if !p.ledger && p.Kind != policy.Meter {
		return nil
	}
	if p.Limit < 1 {
		return fmt.Errorf("limit %d is below 1", p.Limit)
	}
	return p.Cadence.Validate()
}

// hasCells reports whether the policy's keys have strategy states.
func (p *policyState) hasCells() bool { return p.Rate.Name != "" }

// part gives a copied policy a guard of its own.
func (p *policyState) part() {
	if p.guard != nil {
		p.guard = p.guard.clone()
	}
}

// newID hands out an id of something that a policy has.
func (m *Machine) newID(name string) uint32 {
	id := m.nextPolicy
	m.nextPolicy++
	m.names[id] = name
	return id
}

// dropStates forgets the cells or meters of a policy. Their records are swept.
func (m *Machine) dropStates(p *policyState) {
	if p.states == 0 {
		return
	}
	delete(m.names, p.states)
	if p.Counters.states > 0 {
		m.orphans[p.states] = int(p.Counters.states)
		m.cells.look()
		m.meters.look()
	}
	p.states, p.Counters.states = 0, 0
}

// retireGuard ends the concurrency limit of a policy. Slots that are held end as
// they would have; nothing keeps them any more.
func (m *Machine) retireGuard(p *policyState) {
	switch {
	case p.guard == nil:
	case p.guard.inflight == 0:
		m.dropGuard(p)
	default:
		p.guard.retired, p.guard.limiter = true, concurrency.Limiter{}
	}
}

func (m *Machine) dropGuard(p *policyState) {
	delete(m.names, p.guard.id)
	p.guard = nil
}

func unknownPolicy(name []byte) error {
	return fmt.Errorf("policy: %q: %w", name, ErrUnknownPolicy)
}

// unsupported says that an operation is not for the policy's kind.
func (p *policyState) unsupported(op string) error {
	return fmt.Errorf("policy: %q is of kind %v: %s is %w", p.Name, p.Kind, op, ErrUnsupported)
}
