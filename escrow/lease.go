package escrow

import (
	"sync/atomic"

	"github.com/tkcoord/tkcoord/fsm/clock"
)

// Nanos is a reading of the holder's own monotonic clock, see clock.Nanos.
type Nanos = clock.Nanos

// A Lease is what a holder may spend of one budget in one window. The rule it
// keeps is the holder's half of the proof: no more than granted − returned is
// ever spent, nothing at or after the deadline, and credits are taken out of
// what may be spent before they are reported as returned.
//
// Spend, Left and Expired may be called by any number of goroutines at once
// with everything else. The other methods belong to the one goroutine that
// talks to the owner.
//
// Invariant: left = granted − returned − used >= 0.
type Lease struct {
	window   Window       // never changes: a new window is a new lease
	deadline atomic.Int64 // Nanos on the holder's monotonic clock
	left     atomic.Int64 // what may be spent now
	granted  Credits
	returned Credits
}

// NewLease returns a lease without credits for a window.
func NewLease(w Window) *Lease { return &Lease{window: w} }

// Window returns the window the lease belongs to. Its End is the owner's and
// may since have been stretched.
func (l *Lease) Window() Window { return l.window }

// Spend takes n > 0 credits if the monotonic clock, read at this admission,
// shows a time before the deadline and so many are left. It takes all or
// nothing. The admission happens at the instant of the reading.
func (l *Lease) Spend(at Nanos, n Credits) bool {
	_, ok := l.Take(at, n)
	return ok
}

// Take is Spend that also tells what it left, which no other Take is told too
// unless credits were added in between. Without ok, left is 0.
func (l *Lease) Take(at Nanos, n Credits) (left Credits, ok bool) {
	if int64(at) >= l.deadline.Load() {
		return 0, false
	}
	for {
		left := l.left.Load()
		if left < int64(n) {
			return 0, false
		}
		if l.left.CompareAndSwap(left, left-int64(n)) {
			return Credits(left - int64(n)), true
		}
	}
}

// Left returns the credits that are left, live or expired.
func (l *Lease) Left() Credits { return Credits(l.left.Load()) }

// Expired reports whether nothing may be spent at that reading.
func (l *Lease) Expired(at Nanos) bool { return int64(at) >= l.deadline.Load() }

// Deadline returns the reading from which nothing may be spent.
func (l *Lease) Deadline() Nanos { return Nanos(l.deadline.Load()) }

// Totals returns the holder's totals for the window. Used only grows from one
// call to the next, and used + returned <= granted in each.
func (l *Lease) Totals() Allotment {
	return Allotment{Granted: l.granted, Returned: l.returned, Used: l.granted - l.returned - l.Left()}
}

// Raise takes over an answer about this lease's window: the total granted, and
// a ttl counted from sent, the monotonic clock read before the question was
// sent. Older answers change nothing, since both only grow. An answer that names
// no more credits than were returned by now brings no deadline: nothing of it is
// left to spend, whatever else was granted.
func (l *Lease) Raise(granted Credits, sent Nanos, ttl Millis, rates clock.Rates) {
	if more := granted - l.granted; more > 0 {
		l.granted = granted
		l.left.Add(int64(more))
	}
	if granted <= l.returned {
		// NB: the owner does not stretch a window without credits out when its
		// clock steps, so the deadline of such an answer may outlive the window.
		// With more granted than returned since, the owner had credits out all the
		// time from the answer on.
		return
	}
	until := int64(sent + rates.Guarded(ttl))
	if until > l.deadline.Load() {
		l.deadline.Store(until)
	}
}

// Return takes up to n unspent credits away so that they can be reported as
// returned, and says how many it took. They cannot be spent any more when it
// returns, whatever answers are still under way.
func (l *Lease) Return(n Credits) Credits {
	for {
		left := l.left.Load()
		take := min(left, int64(n))
		if take <= 0 {
			return 0
		}
		if l.left.CompareAndSwap(left, left-take) {
			l.returned += Credits(take)
			if l.returned == l.granted {
				l.deadline.Store(0) // see Raise
			}
			return Credits(take)
		}
	}
}
