// Package sizing learns how many credits a lease should be for. Nothing about
// safety depends on a size: the ledger grants what there is, whatever is asked
// for. So sizes live outside the state machine, with whoever asks, and are lost
// without harm.
//
// The model is that of the economic order quantity. In a window with demand D a
// size of b costs
//
//	f(b, D) = c·D/b + h·b/2
//
// where c is the cost of a trip to the ledger and h that of a credit which lies
// unused when the window ends. The best size is b* = √(2cD/h).
//
// The package is pure: no clock, no randomness, no I/O. The same demands give the
// same sizes on one machine; the last bit may differ between architectures,
// since exp and log do.
package sizing

import (
	"errors"
	"fmt"
	"math"
)

// MaxSize bounds sizes: 2^53−1, which a double holds exactly.
const MaxSize = 1<<53 - 1

// maxParameter bounds the other parameters, so that nothing overflows.
const maxParameter = 1e12

// Costs are those of the model, above 0 and at most 1e12. Only their ratio
// matters to the best size.
type Costs struct {
	Order  float64 // c of one trip to the ledger
	Strand float64 // h of one credit unused at the end of a window
}

// Of returns what size b costs in a window with demand d: 0 if d <= 0.
func (c Costs) Of(b, d float64) float64 {
	if d <= 0 {
		return 0
	}
	return float64(c.Order*d/b) + float64(c.Strand*b/2)
}

// Best returns b* for demand d, 0 if d <= 0.
func (c Costs) Best(d float64) float64 {
	if d <= 0 {
		return 0
	}
	return math.Sqrt(2 * c.Order * d / c.Strand)
}

// Config is what a Learner needs. Start from DefaultConfig.
type Config struct {
	Costs
	// Min and Max bound the sizes, 1 <= Min <= Max <= MaxSize. A Max above what a
	// window grants costs refusals until the learner has come down.
	Min, Max float64
	// Initial is the first size; beyond Min and Max it is taken as these.
	Initial float64
	// Step is η0, above 0 and at most 1e12: the first step changes a size by the factor e^Step. With
	// ln(Max/Min), as early versions of the contract had it, that step runs from
	// any start to a bound.
	Step float64
	// Epsilon keeps the first step finite, above 0 and at most 1e12.
	Epsilon float64
}

// DefaultConfig returns the contract's defaults for sizes from lo to hi: it starts
// at lo, and a step changes a size by e at most.
func DefaultConfig(c Costs, lo, hi float64) Config {
	return Config{Costs: c, Min: lo, Max: hi, Initial: lo, Step: min(1, max(math.Log(hi)-math.Log(lo), 1e-6)), Epsilon: 1e-8}
}

// Validate reports everything that is out of range.
func (c Config) Validate() error {
	var errs []error
	positive := func(name string, v float64) {
		if !(v > 0 && v <= maxParameter) {
			errs = append(errs, fmt.Errorf("%s: got %v, want a number above 0 and at most %v", name, v, maxParameter))
		}
	}
	positive("order cost", c.Order)
	positive("strand penalty", c.Strand)
	positive("step", c.Step)
	positive("epsilon", c.Epsilon)
	if !(c.Min >= 1 && c.Min <= MaxSize) {
		errs = append(errs, fmt.Errorf("least size: got %v, want 1 to %d", c.Min, MaxSize))
	}
	if !(c.Max >= c.Min && c.Max <= MaxSize) {
		errs = append(errs, fmt.Errorf("largest size: got %v, want %v to %d", c.Max, c.Min, MaxSize))
	}
	if math.IsNaN(c.Initial) {
		errs = append(errs, errors.New("initial size: got NaN, want a number"))
	}
	return errors.Join(errs...)
}

// A Learner follows the best size by AdaGrad on x = ln b:
//
//	g = −c·D/b + (h/2)·b;  s += g²;  x = clamp(x − (η0/√(ε+s))·g, ln Min, ln Max)
//
// Its regret after T windows is O(√T) against the best fixed size, and
// O(√(T(1+P))) against any path of length P. Feed it the demand that was
// offered: with what was admitted it sees too little while the budget is short.
// Not safe for concurrent use.
type Learner struct {
	cfg    Config
	lo, hi float64 // bounds of x
	x      float64 // ln of the size
	s      float64 // sum of squared gradients
}

// New returns a learner that has seen nothing.
func New(c Config) (*Learner, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("lease sizes: %w", err)
	}
	l := &Learner{cfg: c, lo: math.Log(c.Min), hi: math.Log(c.Max)}
	l.x = math.Log(clamp(c.Initial, c.Min, c.Max))
	return l, nil
}

// Size returns how many credits to ask for, in [Min, Max], rounded half up.
func (l *Learner) Size() int64 { return whole(clamp(l.Continuous(), l.cfg.Min, l.cfg.Max)) }

// Continuous returns the size before it is rounded.
func (l *Learner) Continuous() float64 { return math.Exp(l.x) }

// Observe takes over the demand of a window, in [0, MaxSize]. Others change
// nothing.
func (l *Learner) Observe(demand float64) {
	if !possible(demand) {
		return
	}
	b := l.Continuous()
	g := float64(-l.cfg.Order*demand/b) + float64(l.cfg.Strand/2*b)
	l.s += float64(g * g)
	l.x = clamp(l.x-float64(l.cfg.Step/math.Sqrt(l.cfg.Epsilon+l.s)*g), l.lo, l.hi)
}

func possible(demand float64) bool { return demand >= 0 && demand <= MaxSize }

func clamp(x, lo, hi float64) float64 { return max(lo, min(hi, x)) }

// whole rounds half up.
func whole(x float64) int64 { return int64(math.Floor(x + 0.5)) }
