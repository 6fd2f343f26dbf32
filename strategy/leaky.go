package strategy

import (
	"errors"
	"fmt"
	"math"
)

// A LeakyBucket shapes traffic instead of refusing it: every unit leaves 1000/rate
// ms after the one before, and a request is told how long to wait for its turn. It
// is no Strategy: no policy file has it and no door serves it.
//
// A clock that runs back finds the queue longer, so it admits less.
type LeakyBucket struct {
	t, maxQueue float64
}

// A Shape answers one request to a LeakyBucket.
type Shape struct {
	Admitted   bool
	Delay      int64 // ms to wait before going ahead, if admitted
	RetryAfter int64 // ms after which the queue is short enough, if not
}

// NewLeakyBucket returns a bucket that lets ratePerSec units through in a second,
// above 0, and admits a request that waits for no more than maxQueueMs, at least
// 0. Both are at most MaxNumber.
func NewLeakyBucket(ratePerSec, maxQueueMs float64) (*LeakyBucket, error) {
	var errs []error
	l := &LeakyBucket{t: 1000 / ratePerSec, maxQueue: maxQueueMs}
	if !(ratePerSec > 0 && ratePerSec <= MaxNumber && l.t <= MaxNumber) {
		errs = append(errs, fmt.Errorf("ratePerSec %v: must be above 0 and at most %d, and 1000/ratePerSec at most that", ratePerSec, int64(MaxNumber)))
	}
	if !(maxQueueMs >= 0 && maxQueueMs <= MaxNumber) {
		errs = append(errs, fmt.Errorf("maxQueueMs %v: must be in [0, %d]", maxQueueMs, int64(MaxNumber)))
	}
	if errs != nil {
		return nil, errors.Join(errs...)
	}
	return l, nil
}

// Check puts a request of a cost into the queue, or says that it is too long. That
// changes no bit of the state. A cost outside of (0, MaxCost] is not admitted, with
// a RetryAfter of 0.
func (l *LeakyBucket) Check(s *State, now int64, cost float64) Shape {
	if !costs(cost) {
		return Shape{}
	}
	now = instant(now)
	t, empty := float64(now), float64(now)
	if s.live(kindLeaky, now) {
		empty = max(s.a, t)
	}
	delay := empty - t
	if delay > l.maxQueue {
		return Shape{RetryAfter: ceil(delay - l.maxQueue)}
	}
	next := empty + float64(l.t*cost)
	if next == empty { // as gcra: nothing is free
		next = math.Nextafter(empty, math.Inf(1))
	}
	*s = State{kind: kindLeaky, a: next, exp: max(now+1, ceil(next))}
	return Shape{Admitted: true, Delay: ceil(delay)}
}
