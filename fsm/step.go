package fsm

import (
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/internal/bug"
)

// step moves the clock forward to to and keeps every window that somebody else
// may still spend credits of alive for what it had left, and every slot too. The
// time that is skipped does not count as an edge's silence: otherwise every
// session would end and take its edge's credits along. Nor did the requests that
// hold slots take that long.
//
// Cells and meters know nothing of it: nobody holds anything of theirs, and to
// them it is time that has passed. It visits all budgets, edges and slots; steps
// are rare.
func (m *Machine) step(to clock.Millis) bool {
	if to <= m.now {
		return false
	}
	before := m.now
	m.now = to
	m.budgets.editAll(func(b *budget) {
		if b.Lent() && !bug.Planted(bug.NoStretch) {
			b.Stretch(clock.Stretch(b.Window().End, before, to, m.settings.LongestLease))
		}
	})
	m.edges.editAll(func(s *session) { s.seen += to - before })
	m.slots.editAll(func(s *slotLease) { s.start, s.end = s.start+to-before, s.end+to-before })
	m.endings.rebuild(m.slots)
	return true
}
