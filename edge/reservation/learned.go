// Package reservation chooses how much of a budget to set aside for a request
// whose cost is known only at its end, such as the output of a language model.
//
// A reservation r for a request that then costs c is charged
//
//	ℓ(r, c) = h·max(0, r−c) + p·max(0, c−r)
//
// with h for each unit that was held for nothing and p for each that was missing.
// The best fixed reservation is the p/(h+p) quantile of the costs; what is here
// learns it.
//
// The intended use: admit a request only if Reserve is at most what the meter has
// left, debit the meter while the request runs, stop at its first denial, and
// Observe what the request came to. The meter keeps the budget whatever is
// reserved: a bad reservation admits requests that are then cut short, or refuses
// ones that would have fitted.
package reservation

import (
	"errors"
	"fmt"
	"math"
)

// MaxCost bounds costs and reservations: 2^53−1, which a double holds exactly.
const MaxCost = 1<<53 - 1

// maxParameter bounds the other parameters, so that nothing overflows.
const maxParameter = 1e12

// Prices are what a wrong reservation costs per unit, above 0 and at most 1e12.
// Only their ratio matters to the best reservation.
type Prices struct {
	Hold    float64 // h, of a unit that was reserved and not used
	Overrun float64 // p, of a unit that was used and not reserved
}

// Loss returns ℓ(r, c).
func (p Prices) Loss(r, c float64) float64 {
	return float64(p.Hold*max(0, r-c)) + float64(p.Overrun*max(0, c-r))
}

// Config is what a Learner needs. Start from DefaultConfig.
type Config struct {
	Prices
	// Min and Max bound the reservation, 0 <= Min <= Max <= MaxCost and Max > 0.
	Min, Max float64
	// Initial is the first reservation; beyond Min and Max it is taken as these.
	Initial float64
	// Step is η0, above 0 and at most 1e16. The n-th step is η0/√n times h or p.
	Step float64
}

// DefaultConfig returns the contract's defaults for reservations from lo to hi: it
// starts in the middle, and the first step may reach any of them.
func DefaultConfig(p Prices, lo, hi float64) Config {
	return Config{Prices: p, Min: lo, Max: hi, Initial: (lo + hi) / 2, Step: max((hi-lo)/max(p.Hold, p.Overrun), 1e-6)}
}

// Validate reports everything that is out of range.
func (c Config) Validate() error {
	var errs []error
	within := func(name string, v, most float64) {
		if !(v > 0 && v <= most) {
			errs = append(errs, fmt.Errorf("%s: got %v, want a number above 0 and at most %v", name, v, most))
		}
	}
	within("hold cost", c.Hold, maxParameter)
	within("overrun cost", c.Overrun, maxParameter)
	within("step", c.Step, 1e16)
	within("largest reservation", c.Max, MaxCost)
	if !(c.Min >= 0 && c.Min <= c.Max) {
		errs = append(errs, fmt.Errorf("least reservation: got %v, want 0 to %v", c.Min, c.Max))
	}
	if math.IsNaN(c.Initial) {
		errs = append(errs, errors.New("initial reservation: got NaN, want a number"))
	}
	return errors.Join(errs...)
}

// A Learner follows the best reservation by projected online gradient descent:
//
//	t += 1;  g = +h if r > c, else −p;  r = clamp(r − (η0/√t)·g, Min, Max)
//
// Its regret after T requests is at most 1.5·D·G·√T with D = Max−Min and G =
// max(h, p) (Zinkevich 2003). A reservation that was exactly right counts as too
// small. Not safe for concurrent use.
type Learner struct {
	cfg Config
	r   float64
	t   float64 // requests seen
}

// New returns a learner that has seen nothing.
func New(c Config) (*Learner, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("reservation: %w", err)
	}
	return &Learner{cfg: c, r: c.clamp(c.Initial)}, nil
}

// Reserve returns how much to set aside for the next request, in [Min, Max], rounded
// half up.
func (l *Learner) Reserve() int64 { return whole(l.r) }

// Continuous returns the reservation before it is rounded.
func (l *Learner) Continuous() float64 { return l.r }

// Observe takes over what a request came to, in [0, MaxCost]. Others change
// nothing.
func (l *Learner) Observe(cost float64) {
	if !possible(cost) {
		return
	}
	l.t++
	g := -l.cfg.Overrun
	if l.r > cost {
		g = l.cfg.Hold
	}
	l.r = l.cfg.clamp(l.r - float64(l.cfg.Step/math.Sqrt(l.t)*g))
}

func possible(cost float64) bool { return cost >= 0 && cost <= MaxCost }

func (c *Config) clamp(x float64) float64 { return max(c.Min, min(c.Max, x)) }

// whole rounds half up.
func whole(x float64) int64 { return int64(math.Floor(x + 0.5)) }
