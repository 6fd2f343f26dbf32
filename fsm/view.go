package fsm

import (
	"cmp"
	"encoding/binary"
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
	v.cells = m.cells.freeze()
	v.meters = m.meters.freeze()
	v.slots = m.slots.freeze()
	return v
}

// Index returns the index of the last entry in the view.
func (v *View) Index() uint64 { return v.index }

// A PolicyStatus is a policy and its counters.
type PolicyStatus struct {
	policy.Policy
	Counters Counters
	Guard    GuardStatus // zero unless Guarded
}

// Policies returns the version of the policies and those in force, by name.
func (m *Machine) Policies() (version uint64, all []PolicyStatus) {
	for _, p := range m.policies.sorted() {
		if !p.deleted {
			s := PolicyStatus{Policy: p.Policy, Counters: p.Counters.shown()}
			if p.guard != nil && !p.guard.retired {
				s.Guard = p.guard.status()
			}
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(a, b PolicyStatus) int { return cmp.Compare(a.Name, b.Name) })
	return m.version, all
}

// PolicyVersion grows with every change of the policies.
func (m *Machine) PolicyVersion() uint64 { return m.version }

// Sizes returns how many budgets and edges have a record. Cells and meters are
// budgets here: they count against the same bound.
func (m *Machine) Sizes() (budgets, edges int) { return m.records(), m.edges.len }

// Idle reports whether nothing is held by anybody: there is no budget, cell, meter
// or slot.
func (m *Machine) Idle() bool { return m.records() == 0 && m.slots.len == 0 }

func (m *Machine) records() int { return m.budgets.len + m.cells.len + m.meters.len }

// A BudgetState is one budget as it stands, for audits and tests.
type BudgetState struct {
	Policy, Key string
	Window      escrow.Window
	Capacity    escrow.Credits
	Peak        escrow.Credits
	Out, Used   escrow.Credits
	// Of Out: what checks took, which is in Used too, and what was given away for
	// the rest of the window. The rest is the holders'.
	Taken, Given escrow.Credits
	Holders      []HolderState
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
		s.Taken, s.Given = b.Unheld()
		b.Each(func(h escrow.HolderID, a escrow.Allotment) { s.Holders = append(s.Holders, HolderState{h, a}) })
		if !f(s) {
			return
		}
	}
}

func (s *state) policyNames() map[uint32]string {
	names := make(map[uint32]string, s.policies.len)
	for name, p := range s.policies.sorted() {
		for _, id := range p.ids() {
			names[id] = name
		}
	}
	return names
}

// Now returns the cluster clock of the view.
func (v *View) Now() clock.Millis { return v.now }

// A CellState is one key of a strategy without windows. Expires is the first
// instant at which it is as good as cold.
type CellState struct {
	Policy, Key string // Policy is "" if it is gone
	Expires     clock.Millis
}

// Cells calls f for each cell, in the order of the snapshot, until f returns
// false.
func (v *View) Cells(f func(CellState) bool) {
	names := v.policyNames()
	for k, c := range v.cells.sorted() {
		if !f(CellState{names[c.policy], k[4:], clock.Millis(c.Expires())}) {
			return
		}
	}
}

// A MeterState is one key of a Meter policy.
type MeterState struct {
	Policy, Key string // Policy is "" if it is gone
	escrow.Meter
}

// Meters calls f for each meter, in the order of the snapshot, until f returns
// false.
func (v *View) Meters(f func(MeterState) bool) {
	names := v.policyNames()
	for k, x := range v.meters.sorted() {
		if !f(MeterState{names[x.policy], k[4:], x.Meter}) {
			return
		}
	}
}

// A SlotState is one slot that is held.
type SlotState struct {
	Policy     string // "" if it is gone
	Fence      uint64
	LeaseID    string
	AtAcquire  int64 // slots of the policy when it was taken, itself included
	Start, End clock.Millis
}

// Slots calls f for each slot, in the order of the snapshot, until f returns
// false.
func (v *View) Slots(f func(SlotState) bool) {
	names := v.policyNames()
	for k, s := range v.slots.sorted() {
		fence := binary.BigEndian.Uint64([]byte(k))
		if !f(SlotState{names[s.guard], fence, leaseID(fence, s.nonce), s.atAcquire, s.start, s.end}) {
			return
		}
	}
}
