package fsm

import (
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/internal/bug"
)

// step moves the clock forward to to and keeps every window with credits out
// alive for what it had left. The time that is skipped does not count as an
// edge's silence: otherwise every session would end and take its edge's credits
// along. It visits all budgets and edges; steps are rare.
func (m *Machine) step(to clock.Millis) bool {
	if to <= m.now {
		return false
	}
	before := m.now
	m.now = to
	m.budgets.editAll(func(b *budget) {
		if b.Out() > 0 && !bug.Planted(bug.NoStretch) {
			b.Stretch(clock.Stretch(b.Window().End, before, to, m.settings.LongestLease))
		}
	})
	m.edges.editAll(func(s *session) { s.seen += to - before })
	return true
}
