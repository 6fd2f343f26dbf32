package history

import (
	"time"

	"github.com/tkcoord/tkcoord/escrow"
)

// Slot is how long one sum of admissions lasts. A shorter one makes larger
// files; a longer one loses more when a client is killed.
const Slot = 5 * time.Millisecond

// slotKey tells sums apart: why is empty for admissions.
type slotKey struct {
	key    int
	window int64
	why    string
}

// A sum is one open slot.
type sum struct {
	slot        Time // when it began, a multiple of Slot
	units       int64
	times       int64
	first, last Time
	unplaced    bool // the instant of some admission in it is not known
}

// sums are the open slots of a writer, at most one for each budget and window.
type sums struct{ open map[slotKey]*sum }

func newSums() sums { return sums{make(map[slotKey]*sum)} }

// add puts units into the slot of at, after writing the one before. An instant
// that comes late, because its goroutine was held up, goes into the slot that is
// open: first and last keep it.
func (s sums) add(w *Writer, k slotKey, units int64, at Time) {
	known := at != 0
	if !known {
		at = Now()
	}
	slot := at - at%Time(Slot)
	o := s.open[k]
	if o != nil && slot > o.slot {
		s.write(w, k, o)
		o = nil
	}
	if o == nil {
		o = &sum{slot: slot, first: at, last: at}
		s.open[k] = o
	}
	o.units += units
	o.times++
	o.unplaced = o.unplaced || !known
	o.first, o.last = min(o.first, at), max(o.last, at)
}

// settle writes the slots that are over at now.
func (s sums) settle(w *Writer, now Time) {
	for k, o := range s.open {
		if now-o.slot >= Time(Slot) {
			s.write(w, k, o)
			delete(s.open, k)
		}
	}
}

func (s sums) write(w *Writer, k slotKey, o *sum) {
	if k.why != "" {
		w.put(line{Denied: &Denied{Key: k.key, Why: k.why, Units: escrow.Credits(o.units), Times: o.times, First: o.first, Last: o.last}})
		return
	}
	last := o.last
	if o.unplaced {
		last = 0
	}
	w.put(line{Admitted: &Admitted{
		Key: k.key, Window: escrow.Millis(k.window), Units: escrow.Credits(o.units), Times: o.times, First: o.first, Last: last,
	}})
}
