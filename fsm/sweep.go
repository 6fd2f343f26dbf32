package fsm

// An entry sweeps shards until it has visited sweepRecords budgets or
// sweepShards shards: all of them within 64 entries while there are few budgets,
// and at a cost that does not grow with their number.
const (
	sweepRecords = 512
	sweepShards  = 64
)

// sweep forgets what has ended: budgets whose window is over, sessions that were
// silent for too long, and deleted policies without budgets. It visits a few
// shards after each entry, so its cost is spread and the same on every replica.
// Nothing that it forgets can matter: credits of an ended window can no longer
// be spent, and a session that ended is told so.
func (m *Machine) sweep() {
	visited := 0
	for n := 0; n < sweepShards && visited < sweepRecords; n++ {
		i := int(m.cursor)
		visited += m.sweepBudgets(i)
		if i < edgeShards {
			visited += m.edges.dropFrom(i, func(s *session) bool { return m.now-s.seen > m.settings.SessionIdle }, func(*session) {})
		}
		if i < policyShards {
			m.policies.dropFrom(i,
				func(p *policyState) bool { return p.deleted && p.Counters.LiveKeys == 0 },
				func(p *policyState) { delete(m.names, p.id) })
		}
		m.cursor = (m.cursor + 1) % budgetShards
	}
}

func (m *Machine) sweepBudgets(i int) int {
	return m.budgets.dropFrom(i,
		func(b *budget) bool { return b.Window().End <= m.now },
		func(b *budget) { m.policies.edit([]byte(m.names[b.policy])).Counters.remove(&b.Ledger) })
}
