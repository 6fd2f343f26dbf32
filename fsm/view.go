package fsm

import (
	"cmp"
	"slices"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/policy"
)

// A View is the state as it was when it was frozen. One goroutine may read it
// while the machine goes on.
type View struct{ state }

// Freeze returns a view of the state. Its cost does not depend on how much the
// state holds; the first writes to each shard after it copy that shard.
func (m *Machine) Freeze() *View {
	v := &View{m.state}
	v.alarms = slices.Clone(m.alarms)
	v.policies = m.policies.freeze()
	v.edges = m.edges.freeze()
	v.budgets = m.budgets.freeze()
	return v
}

// Index returns the index of the last entry in the view.
func (v *View) Index() uint64 { return v.index }

// A PolicyStatus is a policy and its counters.
type PolicyStatus struct {
	policy.Policy
	Counters Counters
}

// Policies returns the version of the policies and those in force, by name.
func (m *Machine) Policies() (version uint64, all []PolicyStatus) {
	for _, p := range m.policies.sorted() {
		if !p.deleted {
			all = append(all, PolicyStatus{p.Policy, p.Counters.shown()})
		}
	}
	slices.SortFunc(all, func(a, b PolicyStatus) int { return cmp.Compare(a.Name, b.Name) })
	return m.version, all
}

// PolicyVersion grows with every change of the policies.
func (m *Machine) PolicyVersion() uint64 { return m.version }

// Sizes returns how many budgets and edges have a record.
func (m *Machine) Sizes() (budgets, edges int) { return m.budgets.len, m.edges.len }

// A BudgetState is one budget as it stands, for audits and tests.
type BudgetState struct {
	Policy, Key string
	Window      escrow.Window
	Capacity    escrow.Credits
	Peak        escrow.Credits
	Out, Used   escrow.Credits
	Holders     []HolderState
}

// A HolderState is what one holder has of a budget.
type HolderState struct {
	Holder escrow.HolderID
	escrow.Allotment
}

// Budgets calls f for each budget with a record, in the order of the snapshot,
// until f returns false.
func (v *View) Budgets(f func(BudgetState) bool) {
	names := v.policyNames()
	for k, b := range v.budgets.sorted() {
		s := BudgetState{
			Policy: names[b.policy], Key: k[4:], Window: b.Window(),
			Capacity: b.Capacity(), Peak: b.Peak(), Out: b.Out(), Used: b.Used(),
		}
		b.Each(func(h escrow.HolderID, a escrow.Allotment) { s.Holders = append(s.Holders, HolderState{h, a}) })
		if !f(s) {
			return
		}
	}
}

func (s *state) policyNames() map[uint32]string {
	names := make(map[uint32]string, s.policies.len)
	for name, p := range s.policies.sorted() {
		names[p.id] = name
	}
	return names
}

// Now returns the cluster clock of the view.
func (v *View) Now() clock.Millis { return v.now }
