package fsm

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// checkStates checks cells and meters and adds them to the sums of their ids.
func (m *Machine) checkStates(sums map[uint32]*counters) error {
	var errs []error
	orphans := make(map[uint32]int)
	cells, meters := 0, 0
	count := func(id uint32) {
		if s := sums[id]; s != nil {
			s.states++
		} else {
			orphans[id]++
		}
	}
	for key, c := range m.cells.sorted() {
		cells++
		errs = append(errs, m.checkCell(key, c))
		count(c.policy)
	}
	for key, x := range m.meters.sorted() {
		meters++
		errs = append(errs, m.checkMeter(key, x))
		count(x.policy)
	}
	if cells != m.cells.len || meters != m.meters.len {
		errs = append(errs, fmt.Errorf("%d cells and %d meters are counted as %d and %d", cells, meters, m.cells.len, m.meters.len))
	}
	for id, n := range orphans { // any order: it is an error for each
		if m.orphans[id] != n {
			errs = append(errs, fmt.Errorf("%d states of id %d without a policy are counted as %d", n, id, m.orphans[id]))
		}
	}
	if len(orphans) != len(m.orphans) {
		errs = append(errs, fmt.Errorf("states without a policy have %d ids, %d are counted", len(orphans), len(m.orphans)))
	}
	return errors.Join(errs...)
}

func (m *Machine) checkCell(key string, c *cell) error {
	if err := m.checkState(key, c.policy); err != nil {
		return fmt.Errorf("cell %w", err)
	}
	if p := m.owner(c.policy); p != nil && !p.hasCells() {
		return fmt.Errorf("cell %q of policy %q, whose strategy is %q", key[4:], p.Name, p.Strategy)
	}
	if c.Expires() == 0 {
		return fmt.Errorf("cell %q is cold", key[4:])
	}
	return nil
}

func (m *Machine) checkMeter(key string, x *meter) error {
	if err := m.checkState(key, x.policy); err != nil {
		return fmt.Errorf("meter %w", err)
	}
	if p := m.owner(x.policy); p != nil && p.hasCells() {
		return fmt.Errorf("meter %q of policy %q, whose strategy is %q", key[4:], p.Name, p.Strategy)
	}
	if x.Served < 1 {
		return fmt.Errorf("meter %q has served %d", key[4:], x.Served)
	}
	return nil
}

// checkState checks an id, and that it is the one in the key. States whose policy
// is gone are good until they are swept.
func (m *Machine) checkState(key string, id uint32) error {
	switch {
	case len(key) < 4 || string(m.budgetKey(id, []byte(key[4:]))) != key:
		return fmt.Errorf("%q of id %d lies under another key", key, id)
	case id == 0 || id >= m.nextPolicy:
		return fmt.Errorf("%q: id %d was never handed out", key[4:], id)
	}
	if p := m.owner(id); p != nil && p.states != id {
		return fmt.Errorf("%q: id %d is not that of the states of policy %q", key[4:], id, p.Name)
	}
	return nil
}

// owner returns the policy that has an id, for reading, or nil.
func (m *Machine) owner(id uint32) *policyState {
	name, owned := m.names[id]
	if !owned {
		return nil
	}
	return m.policies.get([]byte(name))
}

// checkSlots checks slots and their queue, and adds them to the sums of their ids.
func (m *Machine) checkSlots(sums map[uint32]*counters) error {
	var errs []error
	slots := 0
	queued := make(map[ending]bool)
	for i, e := range m.endings.list {
		if i > m.endings.next && e.at < m.endings.list[i-1].at {
			errs = append(errs, fmt.Errorf("the slot that ends at %d comes after one that ends at %d", e.at, m.endings.list[i-1].at))
		}
		queued[e] = i >= m.endings.next
	}
	for key, s := range m.slots.sorted() {
		fence := binary.BigEndian.Uint64([]byte(key))
		slots++
		errs = append(errs, m.checkSlot(fence, s))
		if sum := sums[s.guard]; sum != nil {
			sum.states++
		}
		if !queued[ending{s.end, fence}] {
			errs = append(errs, fmt.Errorf("slot %x ends at %d, which is not queued", fence, s.end))
		}
	}
	if slots != m.slots.len {
		errs = append(errs, fmt.Errorf("%d slots are counted as %d", slots, m.slots.len))
	}
	return errors.Join(errs...)
}

func (m *Machine) checkSlot(fence uint64, s *slotLease) error {
	switch {
	case fence>>positionBits == 0 || fence>>positionBits > m.index:
		return fmt.Errorf("slot %x was taken by an entry to come, after %d", fence, m.index)
	case s.start > m.now || s.end <= m.now || s.end > m.now+SlotTTL:
		return fmt.Errorf("slot %x from %d to %d has not begun, is over or lasts too long at %d", fence, s.start, s.end, m.now)
	case s.atAcquire < 1:
		return fmt.Errorf("slot %x was one of %d", fence, s.atAcquire)
	case s.guard == 0 || s.guard >= m.nextPolicy:
		return fmt.Errorf("slot %x: id %d was never handed out", fence, s.guard)
	}
	if p := m.owner(s.guard); p == nil || p.guard == nil || p.guard.id != s.guard {
		return fmt.Errorf("slot %x: id %d is not that of a guard", fence, s.guard)
	}
	return nil
}
