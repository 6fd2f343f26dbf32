package edge

import (
	"fmt"
	"time"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm/clock"
)

// A Batch fixes how a limiter asks for credits, as the two-tier and federated
// limits of the ThrottleKit contract do. How many credits an edge holds is then
// known beforehand, and Decision.Held counts down from Size as the contract's
// replies do. Without one a limiter follows demand, see size.go.
type Batch struct {
	// Size is how many credits are asked for when those in hand do not suffice,
	// in [1, escrow.MaxCredits]. Requests that need more ask for what they need. Near
	// the end of a budget fewer may come, and those that came are kept.
	Size int64
	// LowWater is how many credits are left when Size more are asked for before
	// anybody needs them, in [0, escrow.MaxCredits]. 0 asks only on demand.
	LowWater int64
	// ReturnIdle is how long a key is unused before its credits go back: at least
	// this, at most twice this, and not before 10 ms. With 0 they stay until their
	// window ends, whether they are used or not.
	ReturnIdle time.Duration
}

// maxReturnIdle is as long as the longest window.
const maxReturnIdle = time.Duration(escrow.MaxPeriod) * time.Millisecond

// shortestIdle bounds how often an idle key is looked at.
const shortestIdle = 10 * time.Millisecond

// Validate reports the first field that is out of range.
func (b Batch) Validate() error {
	switch {
	case b.Size < 1 || b.Size > int64(escrow.MaxCredits):
		return fmt.Errorf("batch size: got %d, want 1 to %d: %w", b.Size, escrow.MaxCredits, ErrInvalid)
	case b.LowWater < 0 || b.LowWater > int64(escrow.MaxCredits):
		return fmt.Errorf("low water: got %d, want 0 to %d: %w", b.LowWater, escrow.MaxCredits, ErrInvalid)
	case b.ReturnIdle < 0 || b.ReturnIdle > maxReturnIdle:
		return fmt.Errorf("return idle: got %v, want 0 to %v: %w", b.ReturnIdle, maxReturnIdle, ErrInvalid)
	}
	return nil
}

// SetBatch makes the limiter ask in batches from now on. It takes effect on keys
// in use with their next question to the coordinator.
func (l *Limiter) SetBatch(b Batch) error {
	if err := b.Validate(); err != nil {
		return fmt.Errorf("policy %q: %w", shown(l.policy), err)
	}
	l.batch.Store(&b)
	if b.keeps() && !l.edge.keeps.Swap(true) {
		l.edge.queue.signal() // so that the loop plans for it
	}
	return nil
}

// wants returns how many credits a key is to hold when the ask under way is
// answered: held, if more are not needed. low says that a spend fell to low water.
func (b *Batch) wants(need, held escrow.Credits, low bool) escrow.Credits {
	size := escrow.Credits(b.Size)
	switch {
	case need > held:
		return held + max(size, need)
	case low:
		return held + size
	}
	return held
}

// lowWater is the mark for a key when nobody has elsewhere credits left over.
func (b *Batch) lowWater(elsewhere escrow.Credits) int64 {
	if b.LowWater == 0 || elsewhere <= 0 {
		return -1
	}
	return b.LowWater
}

// most is what a key holds at most unless a request asked for more.
func (b *Batch) most() escrow.Credits { return escrow.Credits(b.Size + b.LowWater) }

// keeps reports whether credits stay with an idle key.
func (b *Batch) keeps() bool { return b != nil && b.ReturnIdle == 0 }

// keepAlive is how long an edge whose keys keep their credits is silent. Its
// session must not end: the credits would be lost to everybody until their window
// ends. A cluster ends sessions that were silent for ten minutes, by default.
const keepAlive = clock.Nanos(2 * time.Minute)

// silentFor returns how long the edge may say nothing more, never if its session may
// end.
func (e *Edge) silentFor(now clock.Nanos) clock.Nanos {
	if !e.keeps.Load() || e.session == 0 {
		return never
	}
	return max(0, e.answeredAt+keepAlive-now)
}

// idleAfter is how long a key of the limiter is unused before it counts as idle.
func (l *Limiter) idleAfter() clock.Nanos {
	if b := l.batch.Load(); b != nil && b.ReturnIdle > 0 {
		return clock.Nanos(max(b.ReturnIdle, shortestIdle))
	}
	return clock.Nanos(l.edge.cfg.IdleAfter)
}

// carried returns what of a lease's credits will count in the window that runs
// at the owner: nothing if that is a later one, as far as can be told from here.
func (k *Key) carried(l *escrow.Lease, now clock.Nanos) escrow.Credits {
	if l == nil || now >= k.rollAt || l.Expired(now) && !k.capped {
		return 0
	}
	return l.Left()
}
