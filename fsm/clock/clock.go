// Package clock holds the arithmetic of the cluster clock: how far two clocks
// may drift apart, how long a holder may trust a deadline, and how far a window
// is stretched when the clock steps. It reads no clock itself.
//
// Two clocks matter. The cluster clock C is the sequence of stamps in the log;
// windows are aligned on it. A holder's monotonic clock measures durations
// only. Wall clocks steer C towards civil time but carry no safety.
//
// docs/guarantees.md proves the two lemmas that the functions here implement.
package clock

import (
	"fmt"

	"github.com/tkcoord/tkcoord/internal/bug"
)

// Millis is an instant in Unix milliseconds on the cluster clock, or a span of
// milliseconds; the name of the variable says which. Instants are never
// negative.
type Millis int64

// Nanos is a span, or a reading of one process's monotonic clock, in
// nanoseconds. Readings of different processes cannot be compared.
type Nanos int64

// NanosPerMilli converts Millis to Nanos.
const NanosPerMilli = 1_000_000

// MaxInstant bounds every instant that the state machine accepts: the start of
// the year 10000. Sums of an instant and a span therefore cannot overflow.
const MaxInstant Millis = 253_402_300_800_000

// PPM is a rate error in parts per million.
type PPM int64

const million = 1_000_000

// Rates are the assumptions about clocks under which the guarantees hold. They
// are fixed at the birth of a cluster and replicated, since every owner and
// holder must use the same numbers.
type Rates struct {
	// Drift (ρ) bounds how far the rate of any process's monotonic clock may be
	// from real time. 500 ppm is the slewing limit of NTP. Too small a value
	// breaks G1; each 500 ppm costs holders 0.1 % of every ttl.
	Drift PPM
	// Slew (σ) bounds how much faster or slower than its monotonic clock a
	// leader may run the cluster clock to follow the voters' wall clocks.
	Slew PPM
}

// DefaultRates are ρ = σ = 500 ppm.
func DefaultRates() Rates { return Rates{Drift: 500, Slew: 500} }

// MaxRate bounds Drift and Slew: 30 %, far beyond any working clock.
const MaxRate PPM = 300_000

// Validate reports a rate outside [0, MaxRate].
func (r Rates) Validate() error {
	if r.Drift < 0 || r.Drift > MaxRate {
		return fmt.Errorf("drift %d ppm is outside [0, %d]", r.Drift, MaxRate)
	}
	if r.Slew < 0 || r.Slew > MaxRate {
		return fmt.Errorf("slew %d ppm is outside [0, %d]", r.Slew, MaxRate)
	}
	return nil
}

// Widest returns rates that allow for what either of the two allows for.
func (r Rates) Widest(o Rates) Rates {
	return Rates{Drift: max(r.Drift, o.Drift), Slew: max(r.Slew, o.Slew)}
}

// Guarded returns how long a holder may spend credits granted for ttl, counted
// on its own monotonic clock from before it sent the question:
//
//	g·ttl, g = (1−ρ) / ((1+σ)(1+ρ))
//
// rounded down. While less than that has elapsed the window still runs at the
// owner (Lemma 2). A ttl of zero or less allows nothing.
func (r Rates) Guarded(ttl Millis) Nanos {
	if ttl <= 0 {
		return 0
	}
	ttl = min(ttl, maxGuarded)
	if bug.Planted(bug.NoGuard) {
		return Nanos(ttl) * NanosPerMilli
	}
	// At most 1e9 ms · 1e6 ns · (1e6)² before the division: do the two
	// divisions one after the other, each rounded down, so that it fits.
	n := int64(ttl) * NanosPerMilli // ≤ 1e15
	n = mulDiv(n, million-int64(r.Drift), million+int64(r.Drift))
	n = mulDiv(n, million, million+int64(r.Slew))
	return Nanos(n)
}

// maxGuarded caps the ttl that Guarded considers: about 11 days, far above any
// max_lease_ttl. A longer ttl is spent for this long only, which is safe.
const maxGuarded Millis = 1_000_000_000

// mulDiv returns ⌊n·num/den⌋ for 0 ≤ n ≤ 1e15, 0 < num, den ≤ 2e6 without
// overflow: n is split so that no product exceeds 1e9·2e6.
func mulDiv(n, num, den int64) int64 {
	q, r := n/den, n%den
	return q*num + r*num/den // q·num ≤ 1e15·2, r·num < 4e12
}

// Resolution is the grain of stamps. A stamp is the cluster clock rounded down,
// so the span between two stamps may exceed the true span by almost this much;
// owners therefore grant ttl = end − stamp − Resolution.
const Resolution Millis = 1

// Stretch returns the end that a window with credits out gets when the cluster
// clock steps from before to after: the window lives on for what it had left,
// but no longer than the longest lease in it can last.
//
//	end' = max(end, after + min(end − before, longest))
//
// Both parts are needed: without the stretch a step ends windows that holders
// still spend from; without the cap a month-long quota would be prolonged by
// the length of every step.
func Stretch(end, before, after, longest Millis) Millis {
	left := min(end-before, longest)
	if left <= 0 {
		return end
	}
	return max(end, after+left)
}
