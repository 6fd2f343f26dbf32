package strategy

import (
	"errors"
	"fmt"
)

// Need says how many dimensions of a Multi must admit a request.
type Need uint8

const (
	All Need = iota + 1 // every one; otherwise none is charged
	Any                 // at least one; those that do are charged
)

// A Dimension is one of several limits on the same request.
type Dimension struct {
	Name     string // part of the key of its state
	Strategy Strategy
	// Weight is what one unit of cost costs here, above 0 and at most MaxCost.
	Weight float64
}

// MaxDimensions bounds the dimensions of a Multi.
const MaxDimensions = 64

// A Multi decides on several dimensions at once. It holds no state and may be used
// by many goroutines. No policy file has it; the library does.
type Multi struct {
	need Need
	dims []Dimension
}

// NewMulti returns a Multi over 1 to MaxDimensions dimensions with different names.
func NewMulti(need Need, dims ...Dimension) (*Multi, error) {
	var errs []error
	if need != All && need != Any {
		errs = append(errs, fmt.Errorf("need %d: must be All or Any", need))
	}
	if len(dims) < 1 || len(dims) > MaxDimensions {
		errs = append(errs, fmt.Errorf("%d dimensions: must be 1 to %d", len(dims), MaxDimensions))
	}
	names := map[string]bool{}
	for _, d := range dims {
		if names[d.Name] {
			errs = append(errs, fmt.Errorf("dimension %q: declared twice", d.Name))
		}
		names[d.Name] = true
		if d.Strategy == nil {
			errs = append(errs, fmt.Errorf("dimension %q: has no strategy", d.Name))
		}
		if !costs(d.Weight) {
			errs = append(errs, fmt.Errorf("dimension %q: weight %v: must be above 0 and at most %d", d.Name, d.Weight, int64(MaxCost)))
		}
	}
	if errs != nil {
		return nil, errors.Join(errs...)
	}
	return &Multi{need: need, dims: append([]Dimension(nil), dims...)}, nil
}

// Key returns the key under which the state of a dimension is kept.
func (m *Multi) Key(dim int, prefix, key string) string {
	name := m.dims[dim].Name + ":" + key
	if prefix == "" {
		return name
	}
	return prefix + ":" + name
}

// Check decides for all dimensions at one instant. The states are those of the
// dimensions, in their order and each its own; it panics if there are fewer. First
// every dimension is asked, then the charges are made, so a denial of All changes
// nothing.
//
// It returns the decision of one dimension: of those that admit the one with least
// left under All and most left under Any; of those that deny, if the whole is
// denied, the one to wait for longest under All and shortest under Any; the first
// of equal ones.
func (m *Multi) Check(states []*State, now int64, cost float64) Decision {
	var admitted, denied choice
	for i, d := range m.dims {
		answer := d.Strategy.Test(states[i], now, float64(d.Weight*cost))
		if answer.Allowed {
			admitted.take(answer, better(m.need, admitted.Remaining, answer.Remaining))
		} else {
			denied.take(answer, better(m.need, answer.RetryAfter, denied.RetryAfter))
		}
	}
	if admitted.n == 0 || m.need == All && denied.n > 0 {
		return denied.Decision
	}
	for i, d := range m.dims {
		d.Strategy.Check(states[i], now, float64(d.Weight*cost)) // those that deny charge nothing
	}
	return admitted.Decision
}

// A choice is the best decision so far.
type choice struct {
	Decision
	n int
}

func (c *choice) take(d Decision, better bool) {
	if c.n == 0 || better {
		c.Decision = d
	}
	c.n++
}

// better compares what is left or to wait for: All looks at the worst dimension,
// Any at the best.
func better(need Need, x, y int64) bool {
	if need == All {
		return x > y
	}
	return x < y
}
