package escrow

import (
	"errors"
	"fmt"

	"github.com/tkcoord/tkcoord/internal/bug"
)

var (
	// ErrOverspent: used + returned would exceed what the holder was granted in
	// this window. Nothing changed.
	ErrOverspent = errors.New("used and returned exceed what was granted")
	// ErrBackwards: a total is lower than one that the same holder reported
	// before, in a message that claims to be newer. Nothing changed.
	ErrBackwards = errors.New("a total for the window runs backwards")
	// ErrHolders: the ledger has as many holders as it may have.
	ErrHolders = errors.New("too many holders of this budget in this window")
)

// An Allotment is what one holder has of one budget in one window. All three
// are totals that only grow.
type Allotment struct {
	Granted, Returned, Used Credits
}

// Unspent returns what the holder may still spend, as far as its owner knows.
func (a Allotment) Unspent() Credits { return a.Granted - a.Returned - a.Used }

// A Ledger counts one budget in one window. Every counter is a total for the
// window and only grows, so a repeated or late message changes nothing.
//
// What has no holder is counted in out and used alone: credits that the owner
// spends itself (taken), and credits that it gives to somebody who will not
// report (given).
//
// Invariant: 0 <= Used <= Granted−Returned for each holder. used is the sum of
// Used and what was taken, out the sum of Granted−Returned and what was taken
// and given, and out <= peak. Nothing lifts out above the capacity in force.
//
// A ledger that only one holder asks for allocates nothing for it. The
// goroutine that applies the log owns it.
type Ledger struct {
	window   Window
	capacity Credits // in force now
	peak     Credits // highest capacity that was in force in this window
	out      Credits
	used     Credits
	first    HolderID
	one      Allotment // of first
	others   *roster   // holders beyond the first, nil while there are none
}

// Open returns an empty ledger. The capacity must lie in [0, MaxCredits].
func Open(w Window, capacity Credits) Ledger {
	return Ledger{window: w, capacity: capacity, peak: capacity}
}

// Window returns the window that the ledger counts.
func (l *Ledger) Window() Window { return l.window }

// Capacity returns the capacity in force.
func (l *Ledger) Capacity() Credits { return l.capacity }

// Peak returns the highest capacity that was in force in this window: what
// admissions are bounded by.
func (l *Ledger) Peak() Credits { return l.peak }

// Out returns the credits that are gone from the capacity, spent or not: those
// that holders have and did not return, and those without a holder.
func (l *Ledger) Out() Credits { return l.out }

// Used returns the credits that are known to be spent.
func (l *Ledger) Used() Credits { return l.used }

// Left returns what may still be granted. It is 0 when a lowered capacity is
// below what is out.
func (l *Ledger) Left() Credits { return max(0, l.capacity-l.out) }

// Holders returns how many holders were granted something or asked for it.
func (l *Ledger) Holders() int {
	n := 0
	if l.first != 0 {
		n = 1
	}
	if l.others != nil {
		n += len(l.others.list)
	}
	return n
}

// Of returns what h has, and whether the ledger knows it.
func (l *Ledger) Of(h HolderID) (Allotment, bool) {
	if a := l.find(h); a != nil {
		return *a, true
	}
	return Allotment{}, false
}

// SetCapacity changes the capacity for the rest of the window. What is out
// stays out: below that, nothing is granted until enough has come back.
func (l *Ledger) SetCapacity(c Credits) {
	l.capacity = c
	l.peak = max(l.peak, c)
}

// Stretch moves the end of the window to end. An earlier end is ignored.
func (l *Ledger) Stretch(end Millis) { l.window.End = max(l.window.End, end) }

// Grant raises the holder's total towards want, as far as capacity allows, and
// returns that total. A partial grant is normal; a total that did not move is a
// refusal. Asking again with the same want returns the same total while nobody
// else asks or returns. want is taken as MaxCredits if larger.
func (l *Ledger) Grant(h HolderID, want Credits) Credits {
	if bug.Planted(bug.ForgetUsed) && l.Left() == 0 {
		*l = Open(l.window, l.capacity)
	}
	a := l.enter(h)
	more := min(min(want, MaxCredits)-a.Granted, l.Left())
	if more > 0 {
		a.Granted += more
		l.out += more
	}
	return a.Granted
}

// Report records the holder's totals of returned and used credits. A total
// lower than the one known is older news and changes nothing. It reports
// ErrOverspent, and changes nothing, if the totals together exceed what the
// holder was granted. Negative totals must not reach it.
func (l *Ledger) Report(h HolderID, returned, used Credits) error {
	a := l.find(h)
	if a == nil {
		if returned > 0 || used > 0 {
			return fmt.Errorf("used %d + returned %d > granted 0: %w", used, returned, ErrOverspent)
		}
		return nil
	}
	r, u := max(a.Returned, returned), max(a.Used, used)
	if r > a.Granted || u > a.Granted-r {
		return fmt.Errorf("used %d + returned %d > granted %d: %w", used, returned, a.Granted, ErrOverspent)
	}
	l.out -= r - a.Returned
	l.used += u - a.Used
	a.Returned, a.Used = r, u
	return nil
}

// Take spends n > 0 credits at once, all or none.
func (l *Ledger) Take(n Credits) bool {
	if n > l.Left() {
		return false
	}
	l.out += n
	l.used += n
	return true
}

// Give gives away up to n > 0 credits for the rest of the window, as many as are
// left, and returns how many. Nobody will tell whether they were spent.
func (l *Ledger) Give(n Credits) Credits {
	n = min(n, l.Left())
	l.out += n
	return n
}

// Unheld returns what was taken and given in all. It visits every holder.
func (l *Ledger) Unheld() (taken, given Credits) {
	taken, given = l.used, l.out-l.used
	l.Each(func(_ HolderID, a Allotment) {
		taken -= a.Used
		given -= a.Unspent()
	})
	return taken, given
}

// Lent reports whether somebody else may still spend credits of the window. It
// may visit every holder.
func (l *Ledger) Lent() bool {
	if l.first == 0 || l.out == 0 {
		return l.out > l.used // given
	}
	taken, _ := l.Unheld()
	return l.out > taken
}

// find returns h's allotment or nil.
func (l *Ledger) find(h HolderID) *Allotment {
	if h == l.first && h != 0 {
		return &l.one
	}
	if l.others != nil {
		return l.others.find(h)
	}
	return nil
}

// enter returns h's allotment, empty if h is new.
func (l *Ledger) enter(h HolderID) *Allotment {
	if a := l.find(h); a != nil {
		return a
	}
	if l.first == 0 {
		l.first = h
		return &l.one
	}
	if l.others == nil {
		l.others = &roster{}
	}
	return l.others.add(h)
}

// Each calls f for every holder, in the order of their first appearance.
func (l *Ledger) Each(f func(HolderID, Allotment)) {
	if l.first == 0 {
		return
	}
	f(l.first, l.one)
	if l.others != nil {
		for i := range l.others.list {
			f(l.others.list[i].holder, l.others.list[i].Allotment)
		}
	}
}

// Clone returns a ledger that shares nothing with l.
func (l *Ledger) Clone() Ledger {
	c := *l
	if l.others != nil {
		c.others = l.others.clone()
	}
	return c
}

// Check reports a broken invariant, for tests and audits. It visits every
// holder.
func (l *Ledger) Check() error {
	var out, used Credits
	var err error
	l.Each(func(h HolderID, a Allotment) {
		if a.Granted < 0 || a.Returned < 0 || a.Used < 0 || a.Used > a.Granted-a.Returned {
			err = errors.Join(err, fmt.Errorf("holder %d: want 0 <= used <= granted-returned, have %+v", h, a))
		}
		out += a.Granted - a.Returned
		used += a.Used
	})
	if taken, given := l.Unheld(); taken < 0 || given < 0 {
		err = errors.Join(err, fmt.Errorf("sums over holders are out %d, used %d; the ledger has %d, %d, so %d were taken and %d given", out, used, l.out, l.used, taken, given))
	}
	if l.out > l.peak || l.capacity > l.peak {
		err = errors.Join(err, fmt.Errorf("out %d and capacity %d must not exceed peak %d", l.out, l.capacity, l.peak))
	}
	return err
}

// Load puts back the allotment of a holder as it was read from a snapshot. It
// fails if the holder is known already or the ledger's invariant would break.
func (l *Ledger) Load(h HolderID, a Allotment) error {
	if h == 0 || l.find(h) != nil {
		return fmt.Errorf("holder %d is there twice or has no number", h)
	}
	if a.Granted < 0 || a.Returned < 0 || a.Used < 0 || a.Unspent() < 0 || a.Granted-a.Returned > l.peak-l.out {
		return fmt.Errorf("holder %d with %+v does not fit into %d of %d", h, a, l.peak-l.out, l.peak)
	}
	*l.enter(h) = a
	l.out += a.Granted - a.Returned
	l.used += a.Used
	return nil
}

// LoadUnheld puts back what has no holder, as Unheld returned it. It fails if the
// ledger's invariant would break.
func (l *Ledger) LoadUnheld(taken, given Credits) error {
	if taken < 0 || given < 0 || taken > l.peak-l.out || given > l.peak-l.out-taken {
		return fmt.Errorf("%d taken and %d given do not fit into %d of %d", taken, given, l.peak-l.out, l.peak)
	}
	l.out += taken + given
	l.used += taken
	return nil
}
