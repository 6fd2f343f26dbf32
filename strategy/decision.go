package strategy

import (
	"fmt"
	"math"

	"github.com/tkcoord/tkcoord/fsm/clock"
)

// MaxCost bounds the cost of one request: 2^53-1, up to which doubles hold all
// integers.
const MaxCost = 1<<53 - 1

// A Decision answers one request. The numbers are doubles of the contract,
// truncated towards zero; what does not fit in an int64 becomes the nearest one
// that does.
type Decision struct {
	Allowed    bool
	Limit      int64 // the ceiling: Strategy.Limit
	Remaining  int64 // whole units that are left, at least 0
	ResetAt    int64 // Unix ms: when nothing will be used any more, or the window ends
	RetryAfter int64 // ms; 0 when allowed. A hint: it promises nothing
}

// A Forecast says what a key could spend.
type Forecast struct {
	SpendableNow    int64 // how many requests of the cost asked for would pass back to back
	NextReplenishAt int64 // Unix ms: when at least one more unit appears
	FullAt          int64 // Unix ms: when everything is there again
}

// A Strategy decides by one set of parameters for any number of keys. It holds
// no state and may be used by many goroutines at once; a State by one. A batch is a
// loop over keys at one instant: a key that comes twice is charged twice.
//
// Instants are Unix ms in [0, clock.MaxInstant]; one outside counts as the nearest
// bound. A cost is in (0, MaxCost]; outside of it Check, Test and Forecast answer
// that nothing may pass, with a ResetAt of 0 that no other decision has (see
// CheckCost).
//
// A state that has expired, that is cold, or that belongs to another kind of
// strategy is read as cold. One that was left by other parameters of the same kind
// is carried over: no unit in it is forgotten before it would have expired.
//
// The clock of a cluster never runs back. If now is earlier than the last admission
// of a state, no strategy admits more than it would have at that admission; each
// says what it does.
type Strategy interface {
	Name() Name
	// Limit is the ceiling that decisions report: Burst of GCRA, Capacity of
	// TokenBucket, Limit of the others.
	Limit() float64
	// Window is the length in ms of what Limit counts in: Period, the time in which
	// a TokenBucket fills, 0 for a quota by the calendar.
	Window() float64
	// Check admits a request of a cost, or denies it. Equality admits. A denial
	// changes no bit of the state; a cost above the limit is always denied.
	Check(s *State, now int64, cost float64) Decision
	// Test returns what Check would return, and changes nothing.
	Test(s *State, now int64, cost float64) Decision
	// Peek says whether a cost of 1 would pass. Remaining is what is left now.
	Peek(s *State, now int64) Decision
	// Forecast says what could be spent now on requests of a cost.
	Forecast(s *State, now int64, cost float64) Forecast
}

// New returns the strategy of valid parameters; see Params.Validate.
func New(p Params) (Strategy, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	switch p.Name {
	case GCRA:
		return newGCRA(p), nil
	case TokenBucket:
		return newTokenBucket(p), nil
	case SlidingWindow:
		return newRing(p), nil
	case SlidingWindowLog:
		return newStamps(p), nil
	case Quota:
		if p.Rolling {
			return newRing(p), nil
		}
	}
	return newWindow(p), nil
}

// CheckCost says why a cost is outside of (0, MaxCost], nil if it is not.
func CheckCost(cost float64) error {
	switch {
	case !(cost > 0) || math.IsInf(cost, 1):
		return fmt.Errorf("cost must be a positive finite number, got %v", cost)
	case cost > MaxCost:
		return fmt.Errorf("cost must be <= %d, got %v", int64(MaxCost), cost)
	}
	return nil
}

// costs reports whether a cost is one. NaN is none.
func costs(cost float64) bool { return cost > 0 && cost <= MaxCost }

// instant brings an instant into the range in which the arithmetic is that of
// the contract.
func instant(now int64) int64 { return min(max(now, 0), int64(clock.MaxInstant)) }

// whole converts a double to an integer: towards zero, and to the nearest one
// that fits. Go leaves the others to the machine.
func whole(x float64) int64 {
	switch {
	case x >= 1<<63:
		return math.MaxInt64
	case x >= -1<<63:
		return int64(x)
	case x < 0:
		return math.MinInt64
	}
	return 0 // NaN
}

// units is max(0, ⌊x⌋).
func units(x float64) int64 { return whole(max(0, x)) }

// ceil is ⌈x⌉.
func ceil(x float64) int64 { return whole(math.Ceil(x)) }
