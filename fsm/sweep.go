package fsm

import "github.com/tkcoord/tkcoord/fsm/clock"

// An entry sweeps shards until it has visited sweepRecords records and two more
// for each key that it brought, or sweepShards shards and as many more. So with
// few budgets all are visited within 64 entries, the cost does not grow with
// their number, and records of ended windows are at most about as many as those
// of running ones, however fast new keys come.
const (
	sweepRecords = 512
	sweepShards  = 64
)

// sweep forgets what has ended: budgets and meters whose window is over, cells that
// are as good as cold, those whose policy is gone, sessions that were silent for
// too long, and deleted policies without budgets. It visits a few
// shards after each entry, so its cost is spread and the same on every replica.
// Nothing that it forgets can matter: credits of an ended window can no longer
// be spent, windows to come begin after those that were forgotten, and a session
// that ended is told so.
func (m *Machine) sweep() {
	visited := 0
	for n := 0; n < min(sweepShards+2*m.newKeys, budgetShards) && visited < sweepRecords+2*m.newKeys; n++ {
		i := int(m.cursor)
		visited += m.budgets.dropEnded(i, m.now, func(b *budget) clock.Millis { return b.Window().End }, m.forgetBudget)
		if m.cells.len > 0 {
			visited += m.cells.dropEnded(i, m.now, m.cellEnd, func(c *cell) { m.forgetState(c.policy) })
		}
		if m.meters.len > 0 {
			visited += m.meters.dropEnded(i, m.now, m.meterEnd, func(c *meter) { m.forgetState(c.policy) })
		}
		if i < edgeShards {
			visited += m.edges.dropEnded(i, m.now, m.sessionEnd, func(*session) {})
		}
		if i < policyShards {
			m.policies.dropFrom(i, func(p *policyState) bool { return p.deleted && p.Counters.keys == 0 && p.guard == nil }, m.forgetPolicy)
		}
		m.cursor = (m.cursor + 1) % budgetShards
	}
}

// forgetBudget keeps of an ended budget that its policy's windows reached so far.
// Windows that ended where the cadence has a boundary change nothing by it;
// stretched ones, and those of an earlier cadence, do.
func (m *Machine) forgetBudget(b *budget) {
	p := m.policies.edit([]byte(m.names[b.policy]))
	p.Counters.remove(&b.Ledger)
	p.since = max(p.since, b.Window().End)
}

// cellEnd and meterEnd return the instant from which a record is of no use.
func (m *Machine) cellEnd(c *cell) clock.Millis {
	if len(m.orphans) > 0 && m.orphans[c.policy] > 0 {
		return 0
	}
	return clock.Millis(c.Expires())
}

func (m *Machine) meterEnd(c *meter) clock.Millis {
	if len(m.orphans) > 0 && m.orphans[c.policy] > 0 {
		return 0
	}
	return c.End
}

// forgetState counts a record less, of a policy or of none.
func (m *Machine) forgetState(id uint32) {
	if name, owned := m.names[id]; owned {
		m.policies.edit([]byte(name)).Counters.states--
		return
	}
	if m.orphans[id]--; m.orphans[id] <= 0 {
		delete(m.orphans, id)
	}
}

func (m *Machine) forgetPolicy(p *policyState) {
	delete(m.names, p.id)
	m.forgotten = m.now
}
