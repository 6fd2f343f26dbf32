package fsm

import (
	"fmt"
	"slices"

	"github.com/tkcoord/tkcoord/policy"
)

// applyPolicies executes a change of the policies and names those that changed.
//
// A policy whose limit changes acts on live windows at their next use. One whose
// cadence changes lets live windows run to their end: the windows of the new
// cadence start after it. A deleted policy refuses every ask at once; its name
// and its live windows stay behind until they have ended, so that a policy of
// the same name cannot grant again what is still out.
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
	if old == nil {
		m.policies.put([]byte(p.Name), &policyState{Policy: p, id: m.nextPolicy, since: m.forgotten})
		m.names[m.nextPolicy] = p.Name
		m.nextPolicy++
		return true
	}
	if old.Policy == p && !old.deleted {
		return false
	}
	if old.Cadence != p.Cadence || old.deleted {
		old.since = m.now
	}
	old.Policy, old.deleted = p, false
	return true
}
