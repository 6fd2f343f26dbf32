package sim

import (
	"time"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/fsm/clock"
)

// books are kept outside of the system, by somebody who knows the real time: each
// admission by budget and window, when each window ended at its owner, and the
// committed log.
type books struct {
	w         *world
	log       []*entry  // committed, without those that all replicas have left behind
	first     uint64    // index of log[0]
	now       millis    // the cluster clock after the newest committed entry
	open      []*window // of each budget, nil if none
	soonest   millis    // when the first of them ends
	digests   map[uint64]string
	digestIdx []uint64 // the same, oldest first
	newest    time.Duration
}

type millis = clock.Millis

// A window of one budget.
type window struct {
	budget     int
	start, end millis
	peak       escrow.Credits // highest limit in force
	admitted   escrow.Credits
	last       time.Duration // newest admission
	granted    bool          // somebody was granted something: before, it may yet become another window
	closed     bool
	closedAt   time.Duration // when the first stamp that ended it was made
}

const forever = clock.MaxInstant + 1

func newBooks(w *world) books {
	return books{w: w, first: 1, open: make([]*window, len(w.cfg.keys)), soonest: forever, digests: make(map[uint64]string)}
}

// committed compares an entry with the one that others applied at its index. It
// reports whether this is the first time that somebody applies it.
func (b *books) committed(index uint64, e *entry) (first bool) {
	next := b.first + uint64(len(b.log))
	switch {
	case index == next:
		b.log = append(b.log, e)
		b.w.res.Entries++
		return true
	case index > next:
		b.w.fail("entry %d is applied before %d", index, next)
	case index >= b.first && b.log[index-b.first] != e:
		b.w.fail("replicas applied different entries at %d", index)
	}
	return false
}

// executed takes over what the first replica to execute an entry found.
func (b *books) executed(n *node, e *entry, out fsm.Outcome) {
	if out.Now < b.now || e.made < b.newest {
		b.w.fail("entry %d: the cluster clock ran back from %d to %d", out.Index, b.now, out.Now)
	}
	b.now, b.newest = out.Now, e.made
	b.closeUntil(e.stamp, e.made)
	for i, c := range e.calls {
		for j := range out.Results[i].Answers {
			if a := &out.Results[i].Answers[j]; a.Err == nil {
				b.seen(c.asks[j], a, e)
			}
		}
	}
	if out.Stepped {
		b.w.res.Steps++
		b.stretched(n, e)
	}
	const kept = 1 << 14
	if len(b.log) >= 2*kept {
		drop := len(b.log) - kept
		b.log = append([]*entry(nil), b.log[drop:]...)
		b.first += uint64(drop)
	}
}

// seen opens the window that an answer is about, or compares it with what is
// known.
func (b *books) seen(id int, a *fsm.Answer, e *entry) {
	o := b.open[id]
	if o != nil && o.start != a.Window.Start {
		if a.Window.Start < o.end && o.granted {
			b.w.fail("budget %d: a window begins at %d, inside [%d, %d)", id, a.Window.Start, o.start, o.end)
		}
		b.close(o, e.made)
		o = nil
	}
	if o == nil {
		o = &window{budget: id, start: a.Window.Start, end: a.Window.End}
		b.open[id] = o
	}
	if a.Window.End < o.end {
		b.w.fail("budget %d: window %d ended at %d and now at %d", id, o.start, o.end, a.Window.End)
	}
	o.granted = o.granted || a.Granted > 0
	o.end = a.Window.End
	o.peak = max(o.peak, a.Limit)
	b.soonest = min(b.soonest, o.end)
}

// closeUntil closes the windows that a stamp made at a real instant ended.
func (b *books) closeUntil(stamp millis, made time.Duration) {
	if stamp < b.soonest {
		return
	}
	b.soonest = forever
	for _, o := range b.open {
		switch {
		case o == nil || o.closed:
		case o.end <= stamp:
			b.close(o, made)
		default:
			b.soonest = min(b.soonest, o.end)
		}
	}
}

// close ends a window. Lemma 2: nothing was admitted since.
func (b *books) close(o *window, made time.Duration) {
	if o.closed {
		return
	}
	o.closed, o.closedAt = true, made
	b.w.note("close", o.budget, int64(o.start), int64(o.admitted), int64(made))
	if o.admitted > 0 && o.last >= made {
		b.w.fail("budget %d: a credit of window [%d, %d) was admitted %v after the stamp that ended it (Lemma 2)", o.budget, o.start, o.end, o.last-made)
	}
}

// stretched reads the ends of the live windows after a step.
func (b *books) stretched(n *node, e *entry) {
	ends := make(map[string]escrow.Window)
	n.machine.Freeze().Budgets(func(s fsm.BudgetState) bool {
		ends[s.Policy+"\x00"+s.Key] = s.Window
		return true
	})
	for id, o := range b.open {
		if o == nil || o.closed {
			continue
		}
		k := b.w.cfg.keys[id]
		if s, ok := ends[k.policy+"\x00"+k.key]; ok && s.Start == o.start {
			o.end = max(o.end, s.End)
		}
	}
	b.closeUntil(n.machine.Now(), e.made)
}

// windowOf returns the window that begins at start. It is open, or ended while
// its answer travelled.
func (b *books) windowOf(id int, start millis) *window {
	if o := b.open[id]; o != nil && o.start == start {
		return o
	}
	return nil
}
