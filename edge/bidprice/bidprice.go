// Package bidprice finds prices for the resources that requests compete for, so
// that a request is worth admitting exactly if its value covers what it takes.
//
// Given are the types of requests that are expected, each with a cost c, a value v
// and a weight w, and budgets R for the number of requests and C for their cost.
// What an omniscient planner would admit is the linear program
//
//	max Σ w·v·x   subject to   Σ w·x <= R,  Σ w·c·x <= C,  0 <= x <= 1
//
// and the prices are those of its dual, the minimum over pR, pC >= 0 of
//
//	D(pR, pC) = R·pR + C·pC + Σ w·max(0, v − pR − pC·c)
//
// (Talluri and van Ryzin 1998). A third budget K bounds the time that slots are
// held, with a hold h per type. D is piecewise linear, so its minimum is where as
// many of the planes v = pR + pC·c (+ pK·h) and p = 0 meet as there are prices:
// Solve looks at all of these points.
//
// The numbers are doubles and must not be computed inside the replicated state.
// Solve where the types are known, and give the prices out.
package bidprice

import (
	"errors"
	"fmt"
	"math"
)

// A Type of requests.
type Type struct {
	Cost   float64 // units of the cost budget that one takes, at least 0
	Value  float64 // of admitting one, at least 0
	Weight float64 // how many are expected, or how probable one is; at least 0
	Hold   float64 // slot time that one takes, at least 0; for SolveSlots
}

// Budgets are what may be admitted altogether, above 0. With weights that are
// probabilities they are those per arrival: with those of a window every price
// would be 0.
type Budgets struct {
	Rate float64 // requests
	Cost float64
	Slot float64 // slot time; for SolveSlots
}

// Prices of one request, of one unit of its cost, and of one unit of slot time.
type Prices struct {
	Rate, Cost, Slot float64
}

// Admit reports whether a request's value covers what it takes. The slot price
// counts for requests with a hold that is a number above 0.
func (p Prices) Admit(value, cost, hold float64) bool {
	price := p.Rate + float64(p.Cost*cost)
	if p.Slot > 0 && hold > 0 && !math.IsInf(hold, 1) {
		price += float64(p.Slot * hold)
	}
	return value >= price
}

// Bounds on the number of types: Solve looks at about n² points and SolveSlots at
// n³/6, each with a sum over n types.
const (
	MaxTypes     = 256
	MaxSlotTypes = 48
)

const (
	tie      = 1e-7 // objectives and reduced values closer than this are equal
	samePos  = 1e-9 // and so are prices and costs closer than this
	singular = 1e-12
	largest  = 1e15 // of every number given, so that nothing overflows
)

// Solve returns the prices of requests and of cost, and the dual objective, which is
// what the planner could gain. Where several prices are optimal it prefers those
// that refuse the most types, then the larger price of cost, then of requests: so
// that ties cost value now instead of budget later.
func Solve(types []Type, b Budgets) (Prices, float64, error) {
	b.Slot = 0
	if err := check(types, b, MaxTypes, false); err != nil {
		return Prices{}, 0, err
	}
	s := search{types: types, budgets: b}
	s.try(0, 0, 0)
	for i, a := range types {
		s.try(a.Value, 0, 0)
		if a.Cost > samePos {
			s.try(0, a.Value/a.Cost, 0)
		}
		for _, z := range types[i+1:] {
			if math.Abs(z.Cost-a.Cost) > samePos {
				pc := (z.Value - a.Value) / (z.Cost - a.Cost)
				s.try(a.Value-float64(pc*a.Cost), pc, 0)
			}
		}
	}
	p, d := s.best()
	return p, d, nil
}

// SolveSlots is Solve with the third budget and its price. Where several prices are
// optimal it prefers those that refuse the most types, then the larger price of
// slots, of cost, and of requests.
func SolveSlots(types []Type, b Budgets) (Prices, float64, error) {
	if err := check(types, b, MaxSlotTypes, true); err != nil {
		return Prices{}, 0, err
	}
	// A plane a·pR + b·pC + c·pK = d: those of the axes, then those of the types.
	planes := [][4]float64{{1, 0, 0, 0}, {0, 1, 0, 0}, {0, 0, 1, 0}}
	for _, t := range types {
		planes = append(planes, [4]float64{1, t.Cost, t.Hold, t.Value})
	}
	s := search{types: types, budgets: b}
	for i := range planes {
		for j := i + 1; j < len(planes); j++ {
			for k := j + 1; k < len(planes); k++ {
				s.meet(&planes[i], &planes[j], &planes[k])
			}
		}
	}
	p, d := s.best()
	return p, d, nil
}

// check reports everything that is out of range.
func check(types []Type, b Budgets, most int, slots bool) error {
	var errs []error
	if len(types) == 0 || len(types) > most {
		errs = append(errs, fmt.Errorf("types: got %d, want 1 to %d", len(types), most))
	}
	number := func(name string, v float64, positive bool) {
		if !(v >= 0 && v <= largest) || positive && v == 0 {
			errs = append(errs, fmt.Errorf("%s: got %v, want a number from 0 to %v", name, v, largest))
		}
	}
	for i, t := range types {
		number(fmt.Sprintf("types[%d].Cost", i), t.Cost, false)
		number(fmt.Sprintf("types[%d].Value", i), t.Value, false)
		number(fmt.Sprintf("types[%d].Weight", i), t.Weight, false)
		number(fmt.Sprintf("types[%d].Hold", i), t.Hold, false)
	}
	number("Budgets.Rate (not 0)", b.Rate, true)
	number("Budgets.Cost (not 0)", b.Cost, true)
	if slots {
		number("Budgets.Slot (not 0)", b.Slot, true)
	}
	if len(errs) > 0 {
		return fmt.Errorf("bid prices: %w", errors.Join(errs...))
	}
	return nil
}

// A search holds the points that may be the minimum.
type search struct {
	types   []Type
	budgets Budgets
	points  []point
	least   float64
}

type point struct {
	Prices
	d float64
}

// dual is the objective at prices.
func (s *search) dual(p Prices) float64 {
	d := float64(s.budgets.Rate*p.Rate) + float64(s.budgets.Cost*p.Cost) + float64(s.budgets.Slot*p.Slot)
	for i := range s.types {
		t := &s.types[i]
		d += float64(t.Weight * max(0, reduced(t, p)))
	}
	return d
}

// reduced is what a type's value leaves over at prices.
func reduced(t *Type, p Prices) float64 {
	return t.Value - p.Rate - float64(p.Cost*t.Cost) - float64(p.Slot*t.Hold)
}

// try takes a point into account, unless it has a negative price.
func (s *search) try(rate, cost, slot float64) {
	if !(rate >= -samePos && cost >= -samePos && slot >= -samePos) {
		return
	}
	p := Prices{max(0, rate), max(0, cost), max(0, slot)}
	d := s.dual(p)
	if len(s.points) > 0 && d > s.least+tie {
		return
	}
	if len(s.points) == 0 || d < s.least {
		s.least = d
	}
	s.points = append(s.points, point{p, d})
}

// meet tries the point where three planes meet, by Cramer's rule.
func (s *search) meet(p, q, r *[4]float64) {
	det := func(a, b, c int) float64 {
		return p[a]*(q[b]*r[c]-q[c]*r[b]) - p[b]*(q[a]*r[c]-q[c]*r[a]) + p[c]*(q[a]*r[b]-q[b]*r[a])
	}
	d := det(0, 1, 2)
	if math.Abs(d) < singular {
		return
	}
	s.try(det(3, 1, 2)/d, det(0, 3, 2)/d, det(0, 1, 3)/d)
}

// best returns the preferred one of the optimal points. The origin is always among
// the points, so there is one.
func (s *search) best() (Prices, float64) {
	var best point
	refused := -1
	for _, p := range s.points {
		if p.d > s.least+tie {
			continue
		}
		if n := s.refused(p.Prices); n > refused || n == refused && dearer(p.Prices, best.Prices) {
			best, refused = p, n
		}
	}
	return best.Prices, s.least
}

// refused counts the types whose value does not cover the prices.
func (s *search) refused(p Prices) (n int) {
	for i := range s.types {
		if reduced(&s.types[i], p) < -tie {
			n++
		}
	}
	return n
}

// dearer compares slot, cost and rate, in this order.
func dearer(p, q Prices) bool {
	for _, c := range [][2]float64{{p.Slot, q.Slot}, {p.Cost, q.Cost}} {
		if math.Abs(c[0]-c[1]) > samePos {
			return c[0] > c[1]
		}
	}
	return p.Rate > q.Rate
}
