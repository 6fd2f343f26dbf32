package sim

import (
	"bytes"
	"time"

	"github.com/tkcoord/tkcoord/fsm"
)

// learn takes over how far the log is committed and applies it a little later.
func (n *node) learn(commit uint64) {
	if commit <= n.commit {
		return
	}
	n.commit = commit
	if n.applying {
		return
	}
	n.applying = true
	lag := time.Duration(n.w.rnd.Int64N(int64(500 * time.Microsecond)))
	if n.role != leader && n.w.rnd.IntN(50) == 0 {
		lag += n.w.gap(200 * time.Millisecond)
	}
	n.in(lag, func() {
		n.applying = false
		for n.applied < n.commit && n.w.res.Violation == nil {
			n.applied++
			n.apply(n.applied, n.log[n.applied-n.first])
		}
		n.saveSnapshot()
		n.pump()
	})
}

// apply executes one committed entry, as transport.Replica does.
func (n *node) apply(index uint64, e *entry) {
	w := n.w
	first := w.books.committed(index, e)
	if e.barrier {
		if n.role == leader && e.term == n.term {
			n.lead()
		}
		return
	}
	before := n.machine.Now()
	own := fsm.Proposer(e.data) == n.proposer.id
	out, err := n.machine.Apply(index, e.data, own || first)
	if err != nil {
		w.fail("node %d: %v", n.id, err)
		return
	}
	n.source.Note(out.Now, w.reading(&n.mono)) // NB: read after the entry was applied
	if out.Now < before {
		w.fail("node %d: the clock ran back from %d to %d", n.id, before, out.Now)
	}
	w.note("apply", n.id, int64(index), int64(out.Now), int64(len(e.calls)))
	if first {
		w.books.executed(n, e, out)
	}
	if out.DigestDue {
		w.books.digest(n, index)
	}
	if own {
		n.settle(e, out)
	}
}

// saveSnapshot freezes the state once enough was applied. It is written while
// later entries are applied, and only then replaces the log.
func (n *node) saveSnapshot() {
	if n.saving || n.applied < n.snap.index+n.w.cfg.snapEvery {
		return
	}
	term, known := n.termAt(n.applied)
	if !known {
		return
	}
	n.saving = true
	view, index := n.machine.Freeze(), n.applied
	n.in(n.w.gap(50*time.Millisecond), func() {
		var b bytes.Buffer
		if _, err := view.WriteTo(&b); err != nil {
			n.w.fail("node %d: %v", n.id, err)
		}
		n.fsync(func() {
			n.saving = false
			if index > n.snap.index {
				n.compact(snapshot{index, term, b.Bytes()}, n.w.cfg.snapTrail)
				n.w.note("snapshot", n.id, int64(index), int64(b.Len()), int64(n.last()))
			}
		})
	})
}
