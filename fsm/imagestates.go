package fsm

import (
	"encoding/binary"
	"fmt"

	"github.com/tkcoord/tkcoord/strategy"
)

// loadStates loads what the policies count apart from budgets.
func (m *Machine) loadStates(img *Image) error {
	for i := range img.Cells {
		if err := m.loadCell(&img.Cells[i]); err != nil {
			return err
		}
	}
	for i := range img.Meters {
		x := &img.Meters[i]
		key := m.budgetKey(x.States, []byte(x.Key))
		if m.meters.drop(key); x.Exists {
			m.meters.put(key, &meter{x.Meter, x.States})
			m.countState(x.States)
		}
	}
	for i := range img.Slots {
		s := &img.Slots[i]
		if m.slots.drop(m.slotKey(s.Fence)); s.Exists {
			held := slotLease{s.Nonce, s.Guard, s.AtAcquire, s.Start, s.End}
			if p := m.owner(s.Guard); p == nil || p.guard == nil || p.guard.id != s.Guard {
				return fmt.Errorf("slot %x: id %d is not that of a guard", s.Fence, s.Guard)
			}
			m.slots.put(m.slotKey(s.Fence), &held)
			m.guardOf(&held).inflight++
		}
	}
	if m.slots.len > 0 || len(m.endings.list) > 0 {
		m.endings.rebuild(m.slots)
	}
	return nil
}

func (m *Machine) loadCell(img *CellImage) error {
	key := m.budgetKey(img.States, []byte(img.Key))
	m.cells.drop(key)
	if !img.Exists {
		return nil
	}
	s, _, err := strategy.Decode(img.State)
	if err != nil {
		return fmt.Errorf("cell %q: %w", img.Key, err)
	}
	m.cells.put(key, &cell{s, img.States})
	m.countState(img.States)
	return nil
}

// countState counts a loaded cell or meter.
func (m *Machine) countState(id uint32) {
	if name, owned := m.names[id]; owned {
		m.policies.edit([]byte(name)).Counters.states++
	} else {
		m.orphans[id]++
	}
}

// saveStates fills what loadStates loads.
func (m *Machine) saveStates(img *Image) error {
	cells, meters, slots := 0, 0, 0
	for i := range img.Cells {
		c := &img.Cells[i]
		s := m.cells.get(m.budgetKey(c.States, []byte(c.Key)))
		if c.Exists, c.State = s != nil, c.State[:0]; s != nil {
			c.State = s.Append(c.State)
			cells++
		}
	}
	for i := range img.Meters {
		x := &img.Meters[i]
		s := m.meters.get(m.budgetKey(x.States, []byte(x.Key)))
		*x = MeterImage{States: x.States, Key: x.Key, Exists: s != nil}
		if s != nil {
			x.Meter = s.Meter
			meters++
		}
	}
	for i := range img.Slots {
		x := &img.Slots[i]
		s := m.slots.get(m.slotKey(x.Fence))
		*x = SlotImage{Fence: x.Fence}
		if s != nil {
			*x = SlotImage{x.Fence, true, s.nonce, s.guard, s.atAcquire, s.start, s.end}
			slots++
		}
	}
	if cells != m.cells.len || meters != m.meters.len || slots != m.slots.len {
		return fmt.Errorf("the image names %d cells, %d meters and %d slots that exist, the machine has %d, %d and %d",
			cells, meters, slots, m.cells.len, m.meters.len, m.slots.len)
	}
	return nil
}

// Fences returns the fences of all slots, in order, for those who make images.
func (m *Machine) Fences() []uint64 {
	var all []uint64
	for key := range m.slots.sorted() {
		all = append(all, binary.BigEndian.Uint64([]byte(key)))
	}
	return all
}
