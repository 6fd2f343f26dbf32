package fsm

import (
	"fmt"

	"github.com/tkcoord/tkcoord/concurrency"
	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/policy"
)

// An Image is what decides how a small machine goes on, as plain values. The
// explorer changes states through the real Apply millions of times: it loads an
// image into a machine that it keeps, applies an entry, and saves the image
// again, which costs as much as the records named in it and not as much as a
// machine has shards.
//
// An image names its records, also those that do not exist. Left out is what
// only statistics and other machines need: the cluster's id and alarms, the version of the policies, and all counters but the live ones, which
// Load makes from the ledgers.
type Image struct {
	Index      uint64 // of the last entry: fences grow with it
	Now        clock.Millis
	Settings   Settings
	Forgotten  clock.Millis    // when a policy was last forgotten
	NextHolder escrow.HolderID // not handed out yet
	NextPolicy uint32
	Policies   []PolicyImage
	Edges      []EdgeImage
	Budgets    []BudgetImage
	Cells      []CellImage
	Meters     []MeterImage
	Slots      []SlotImage
}

// A PolicyImage is a policy by its Name.
type PolicyImage struct {
	policy.Policy
	Exists  bool
	ID      uint32
	Since   clock.Millis // windows opened from now on begin no earlier
	Deleted bool         // but budgets with a record are left
	States  uint32       // id of its cells or meters, 0 without
	Guard   GuardImage
}

// A GuardImage is the concurrency limit of a Guarded policy. How many slots it
// has out, Load counts.
type GuardImage struct {
	ID      uint32 // 0 without a guard
	Retired bool   // the policy has it no more, but slots are left
	Limiter []byte // concurrency.Limiter.Append, unless retired
}

// An EdgeImage is the session of the edge with an ID.
type EdgeImage struct {
	ID          string
	Exists      bool
	Incarnation uint64
	Replaced    [4]uint64
	Holder      escrow.HolderID
	Seq         uint64
	Seen        clock.Millis
}

// A BudgetImage is the ledger of a Key under the policy with PolicyID, which its
// Policy names.
type BudgetImage struct {
	BudgetState
	Exists   bool
	PolicyID uint32
}

// A CellImage is the state of a Key under the strategy whose policy has the id
// States.
type CellImage struct {
	States uint32
	Key    string
	Exists bool
	State  []byte // strategy.State.Append
}

// A MeterImage is what a Key was served under the policy with the id States.
type MeterImage struct {
	States uint32
	Key    string
	Exists bool
	escrow.Meter
}

// A SlotImage is the slot with a Fence.
type SlotImage struct {
	Fence      uint64
	Exists     bool
	Nonce      [16]byte
	Guard      uint32 // GuardImage.ID
	AtAcquire  int64
	Start, End clock.Millis
}

// LeaseID returns the lease id of the slot.
func (s *SlotImage) LeaseID() string { return leaseID(s.Fence, s.Nonce) }

// Load makes m what img says, and leaves records alone that img does not name.
func (m *Machine) Load(img *Image) error {
	m.clusterID = "image"
	m.index, m.now, m.settings, m.forgotten = img.Index, img.Now, img.Settings, img.Forgotten
	m.nextHolder, m.nextPolicy, m.cursor = img.NextHolder, img.NextPolicy, 0
	clear(m.names)
	clear(m.orphans)
	for i := range img.Policies {
		if err := m.loadPolicy(&img.Policies[i]); err != nil {
			return err
		}
	}
	for i := range img.Edges {
		e := &img.Edges[i]
		m.edges.drop([]byte(e.ID))
		if e.Exists {
			m.edges.put([]byte(e.ID), &session{e.Incarnation, e.Replaced, e.Holder, e.Seq, e.Seen})
		}
	}
	for i := range img.Budgets {
		if err := m.loadBudget(&img.Budgets[i]); err != nil {
			return err
		}
	}
	return m.loadStates(img)
}

func (m *Machine) loadPolicy(img *PolicyImage) error {
	m.policies.drop([]byte(img.Name))
	if !img.Exists {
		return nil
	}
	p := &policyState{Policy: img.Policy, id: img.ID, since: img.Since, deleted: img.Deleted, states: img.States}
	if err := p.prepare(); err != nil {
		return fmt.Errorf("policy %q: %w", p.Name, err)
	}
	if img.Guard.Retired {
		p.guard = &guard{id: img.Guard.ID, retired: true}
	} else if img.Guard.ID != 0 {
		limiter, _, err := concurrency.Decode(p.Guard, img.Guard.Limiter)
		if err != nil {
			return fmt.Errorf("policy %q: %w", p.Name, err)
		}
		p.guard = &guard{id: img.Guard.ID, limiter: limiter}
	}
	m.policies.put([]byte(p.Name), p)
	for _, id := range p.ids() {
		m.names[id] = p.Name
	}
	return nil
}

func (m *Machine) loadBudget(img *BudgetImage) error {
	key := m.budgetKey(img.PolicyID, []byte(img.Key))
	m.budgets.drop(key)
	if !img.Exists {
		return nil
	}
	b := &budget{escrow.Open(img.Window, img.Peak), img.PolicyID}
	b.SetCapacity(img.Capacity)
	for _, h := range img.Holders {
		if err := b.Ledger.Load(h.Holder, h.Allotment); err != nil {
			return fmt.Errorf("budget %q: %w", img.Key, err)
		}
	}
	if err := b.LoadUnheld(img.Taken, img.Given); err != nil {
		return fmt.Errorf("budget %q: %w", img.Key, err)
	}
	p := m.policies.edit([]byte(m.names[img.PolicyID]))
	if p == nil {
		return fmt.Errorf("budget %q: policy %d: %w", img.Key, img.PolicyID, ErrUnknownPolicy)
	}
	m.budgets.put(key, b)
	p.Counters.add(&b.Ledger)
	return nil
}

// Save fills img with the records that it names. It reports a record that img
// does not name, and a ledger that breaks its invariant.
func (m *Machine) Save(img *Image) error {
	img.Index, img.Now, img.Settings, img.Forgotten = m.index, m.now, m.settings, m.forgotten
	img.NextHolder, img.NextPolicy = m.nextHolder, m.nextPolicy
	policies, edges, budgets := 0, 0, 0
	for i := range img.Policies {
		p := &img.Policies[i]
		if s := m.policies.get([]byte(p.Name)); s != nil {
			p.save(s)
			policies++
		} else {
			*p = PolicyImage{Policy: policy.Policy{Name: p.Name}}
		}
	}
	for i := range img.Edges {
		e := &img.Edges[i]
		*e = EdgeImage{ID: e.ID}
		if s := m.edges.get([]byte(e.ID)); s != nil {
			*e = EdgeImage{e.ID, true, s.incarnation, s.replaced, s.holder, s.seq, s.seen}
			edges++
		}
	}
	for i := range img.Budgets {
		b := m.budgets.get(m.budgetKey(img.Budgets[i].PolicyID, []byte(img.Budgets[i].Key)))
		if err := img.Budgets[i].save(b, m.names); err != nil {
			return err
		}
		if b != nil {
			budgets++
		}
	}
	if policies != m.policies.len || edges != m.edges.len || budgets != m.budgets.len {
		return fmt.Errorf("the image names %d policies, %d edges and %d budgets that exist, the machine has %d, %d and %d",
			policies, edges, budgets, m.policies.len, m.edges.len, m.budgets.len)
	}
	return m.saveStates(img)
}

func (img *PolicyImage) save(p *policyState) {
	limiter := img.Guard.Limiter[:0]
	*img = PolicyImage{Policy: p.Policy, Exists: true, ID: p.id, Since: p.since, Deleted: p.deleted, States: p.states}
	switch {
	case p.guard == nil:
	case p.guard.retired:
		img.Guard = GuardImage{ID: p.guard.id, Retired: true, Limiter: limiter}
	default:
		img.Guard = GuardImage{ID: p.guard.id, Limiter: p.guard.limiter.Append(limiter)}
	}
}

func (img *BudgetImage) save(b *budget, names map[uint32]string) error {
	*img = BudgetImage{BudgetState: BudgetState{Key: img.Key, Holders: img.Holders[:0]}, PolicyID: img.PolicyID}
	if b == nil {
		return nil
	}
	img.Exists, img.Policy, img.Window = true, names[b.policy], b.Window()
	img.Capacity, img.Peak, img.Out, img.Used = b.Capacity(), b.Peak(), b.Out(), b.Used()
	img.Taken, img.Given = b.Unheld()
	b.Each(func(h escrow.HolderID, a escrow.Allotment) { img.Holders = append(img.Holders, HolderState{h, a}) })
	if err := b.Check(); err != nil {
		return fmt.Errorf("budget %q: %w", img.Key, err)
	}
	return nil
}
