package check

import (
	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/jepsen/history"
)

// A WindowID names one window of one budget. No two windows of a budget begin at
// the same instant, whatever becomes of its policy.
type WindowID struct {
	history.Budget
	Start clock.Millis
}

// A Window is one window as the log tells it.
type Window struct {
	WindowID
	End     clock.Millis   // on the cluster clock, stretched as the log says
	Peak    escrow.Credits // the largest limit in force while it ran
	Holders map[escrow.HolderID]escrow.Allotment
	// What checks took, and what was given away for the rest of the window.
	Taken, Given escrow.Credits
	OpenedAt     uint64 // index
	// EndedAt is the first entry after the end, and Ended when it was appended
	// at the latest; 0 and Never while there is none.
	EndedAt uint64
	Ended   history.Time
	// Loaded: it began in a gap of the log. Partial: it ended in one, so Holders
	// may be too small.
	Loaded, Partial bool
	// guessed: no answer told the start yet.
	guessed bool
}

// Out returns the credits that are gone or in the hands of holders.
func (w *Window) Out() escrow.Credits { return w.Taken + w.lent() }

// lent returns those that may still be spent.
func (w *Window) lent() (out escrow.Credits) {
	out = w.Given
	for _, a := range w.Holders {
		out += a.Granted - a.Returned
	}
	return out
}

// end closes the windows that are over at now.
func (b *books) end(now clock.Millis, index uint64, at history.Time) {
	if now < b.soonest {
		return
	}
	b.soonest = clock.MaxInstant
	for budget, w := range b.open {
		if w.End > now {
			b.soonest = min(b.soonest, w.End)
			continue
		}
		w.EndedAt, w.Ended = index, at
		b.closed = append(b.closed, w)
		delete(b.open, budget)
	}
}

// step checks that a step of the clock to a new time stretched each window with credits out as
// it had to, and takes over the new ends.
func (b *books) step(before, to clock.Millis, v *fsm.View, at Problem) {
	want := make(map[history.Budget]clock.Millis)
	for budget, w := range b.open {
		if left := min(w.End-before, b.longest); left > 0 && w.lent() > 0 {
			want[budget] = max(w.End, to+left)
		}
	}
	v.Budgets(func(s fsm.BudgetState) bool {
		budget := history.Budget{Policy: s.Policy, Key: s.Key}
		w := b.open[budget]
		if w == nil || w.Start != s.Window.Start {
			return true
		}
		if end, ok := want[budget]; ok && s.Window.End < end {
			at.Budget = budget.String()
			b.clock.add(at, "the step from %d to %d leaves window %v, with credits out, to end before %d", before, to, s.Window, end)
		}
		w.End = s.Window.End
		delete(want, budget)
		return true
	})
	for budget, end := range want {
		at.Budget = budget.String()
		b.clock.add(at, "the step from %d to %d drops a window with credits out that must last until %d", before, to, end)
	}
}

// load takes over the policies and windows of a state that was not replayed.
func (b *books) load(m *fsm.Machine) {
	before := b.open
	b.longest, b.open = m.Settings().LongestLease, make(map[history.Budget]*Window)
	clear(b.limits)
	clear(b.policy)
	_, policies := m.Policies()
	for i := range policies {
		b.limits[policies[i].Name] = policies[i].Limit
		b.policy[policies[i].Name] = policies[i].Policy
	}
	b.slots, b.meters = newSlotBook(), newMeterBook()
	b.blind = true
	m.Freeze().Budgets(func(s fsm.BudgetState) bool {
		if s.Window.End <= m.Now() {
			return true
		}
		w := &Window{
			WindowID: WindowID{history.Budget{Policy: s.Policy, Key: s.Key}, s.Window.Start}, End: s.Window.End,
			Peak: s.Peak, OpenedAt: m.Index(), Ended: history.Never, Loaded: true, Taken: s.Taken, Given: s.Given, Holders: make(map[escrow.HolderID]escrow.Allotment),
		}
		for _, h := range s.Holders {
			w.Holders[h.Holder] = h.Allotment
		}
		if old := before[w.Budget]; old != nil && old.Start == w.Start {
			delete(before, w.Budget)
		}
		b.enter(w)
		return true
	})
	for _, w := range before {
		w.Partial = true
		b.closed = append(b.closed, w)
	}
}
