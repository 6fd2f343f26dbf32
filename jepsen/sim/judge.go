package sim

import (
	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm"
)

// admit counts an admission at this instant. G1: no more than the highest limit
// in force, and nothing after the window ended at its owner.
func (b *books) admit(e *edge, a *account, n escrow.Credits) {
	w, o := b.w, a.window
	w.res.Admissions++
	w.res.Credits += uint64(n)
	w.note("admit", e.id, int64(a.id), int64(a.lease.Window().Start), int64(n))
	if o == nil {
		w.fail("budget %d: edge %d admitted in window %v, which had ended when its answer came", a.id, e.id, a.lease.Window())
		return
	}
	o.admitted += n
	o.last = w.now
	if o.admitted > o.peak {
		w.fail("budget %d: %d admitted in window [%d, %d), the limit is %d (G1)", a.id, o.admitted, o.start, o.end, o.peak)
	}
	if o.closed {
		w.fail("budget %d: edge %d admitted %d in window [%d, %d), %v after the stamp that ended it (Lemma 2)", a.id, e.id, n, o.start, o.end, w.now-o.closedAt)
	}
}

// acknowledged compares a grant with what the same holder was told before about
// the same window. G2: a later entry knows of all of it.
func (b *books) acknowledged(e *edge, a *account, granted escrow.Credits, index uint64) {
	if index > a.ackedAt && granted < a.acked {
		b.w.fail("edge %d, budget %d: entry %d grants %d, entry %d granted %d (G2)", e.id, a.id, index, granted, a.ackedAt, a.acked)
	}
	if index >= a.ackedAt {
		a.ackedAt = index
	}
	a.acked = max(a.acked, granted)
}

// digest compares a replica's state with what the others had at the same index,
// and checks the invariants of every ledger.
func (b *books) digest(n *node, index uint64) {
	d := n.machine.Freeze().Digest()
	b.w.note("digest", n.id, int64(index), int64(len(d)), int64(d[0])<<8|int64(d[1]))
	other, known := b.digests[index]
	if known {
		b.w.res.Digests++
		if other != d {
			b.w.fail("replicas differ after entry %d: %s and %s", index, d, other)
		}
		return
	}
	b.digests[index] = d
	if b.digestIdx = append(b.digestIdx, index); len(b.digestIdx) > 256 {
		delete(b.digests, b.digestIdx[0])
		b.digestIdx = b.digestIdx[1:]
	}
	if err := n.machine.Check(); err != nil {
		b.w.fail("node %d after entry %d: %v", n.id, index, err)
	}
}

// checkAll examines every replica at the end of a run, and what the edges hold
// against the one that is furthest.
func (w *world) checkAll() {
	var newest *node
	for _, n := range w.nodes {
		if !n.up {
			continue
		}
		if err := n.machine.Check(); err != nil {
			w.fail("node %d at the end: %v", n.id, err)
		}
		if newest == nil || n.applied > newest.applied {
			newest = n
		}
	}
	if newest != nil {
		w.compareHolders(newest)
	}
}

// compareHolders checks that the ledgers know everything that edges were granted
// in the windows that go on (G2), and have no more used than edges spent.
func (w *world) compareHolders(n *node) {
	known := make(map[string]fsm.BudgetState)
	n.machine.Freeze().Budgets(func(s fsm.BudgetState) bool {
		known[s.Policy+"\x00"+s.Key] = s
		return true
	})
	for _, e := range w.edges {
		for _, a := range e.accounts {
			s := known[a.policy+"\x00"+a.key]
			if a.lease == nil || s.Window.Start != a.lease.Window().Start || a.ackedAt > n.applied {
				continue
			}
			has, is := holderOf(s, e.session), a.lease.Totals()
			if has.Granted < is.Granted || has.Used > is.Used || has.Returned > is.Returned {
				w.fail("edge %d, budget %d: its owner has %+v, it has %+v", e.id, a.id, has, is)
			}
		}
	}
}

func holderOf(s fsm.BudgetState, h escrow.HolderID) escrow.Allotment {
	for _, x := range s.Holders {
		if x.Holder == h {
			return x.Allotment
		}
	}
	return escrow.Allotment{}
}
