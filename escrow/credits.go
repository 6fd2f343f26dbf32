// Package escrow counts budgets: the windows they live in, the ledger that
// grants parts of them to holders, the share a holder gets near exhaustion, and
// the lease that a holder spends from.
//
// The same ledger serves every level. At a root the capacity is a policy's
// limit and the holders are regions or edges; in a region it is the escrow that
// the root granted. All counters are totals for one window and only grow, so
// repeating, losing or reordering messages changes nothing.
//
// The package is pure: no clock, no goroutine, no I/O. Instants are fields of
// what it is given.
package escrow

import (
	"fmt"

	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/internal/bug"
)

// Millis is an instant or span in milliseconds, see clock.Millis.
type Millis = clock.Millis

// Credits are units of a budget. One credit admits one unit of cost.
type Credits int64

// MaxCredits bounds every limit, total and request: 2^53−1, which a double
// holds exactly. Sums of two never overflow.
const MaxCredits Credits = 1<<53 - 1

// HolderID names a holder in a ledger: one identity in one incarnation. Zero is
// no holder. The state machine hands them out and never reuses one.
type HolderID uint64

// A Window is the half-open interval [Start, End) of the cluster clock in which
// a budget counts. Start identifies it: of two windows of one budget the one
// with the larger Start is the later one. A step of the clock may move End
// away, never closer.
type Window struct {
	Start, End Millis
}

// Contains reports whether t lies in [Start, End).
func (w Window) Contains(t Millis) bool { return w.Start <= t && t < w.End }

// TTL returns for how long a grant made at now may be spent on the owner's
// clock: to the end of the window less the clock's resolution, and no longer
// than longest. It is 0 when nothing is left.
func (w Window) TTL(now, longest Millis) Millis {
	if bug.Planted(bug.TTLToEnd) {
		return max(0, min(w.End-now, longest))
	}
	return max(0, min(w.End-now-clock.Resolution, longest))
}

func (w Window) String() string { return fmt.Sprintf("[%d, %d)", w.Start, w.End) }
