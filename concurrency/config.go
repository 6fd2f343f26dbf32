// Package concurrency holds the adaptive concurrency limit of the ThrottleKit
// contract: an estimate of how many requests a service can take at once, which
// follows the round-trip times of those that it took.
//
// The package is pure: no clock, no goroutine, no I/O. The arithmetic is that of
// IEEE doubles in the order of the contract, so replicas agree bit for bit.
package concurrency

import (
	"errors"
	"fmt"
	"math"
)

// Algorithm names the law that moves the estimate.
type Algorithm string

const (
	// Gradient2 grows by √estimate while round trips are near their minimum, and
	// shrinks in proportion as they get longer than Tolerance times that.
	Gradient2 Algorithm = "gradient2"
	// AIMD grows by one, and shrinks by BackoffRatio after a dropped or slow
	// request.
	AIMD Algorithm = "aimd"
)

// MaxRTTWindow bounds Config.RTTWindow. A limiter may hold one number per sample,
// 24 bytes each.
const MaxRTTWindow = 10_000

// MaxMaxLimit bounds Config.MaxLimit.
const MaxMaxLimit = 1_000_000

// Config are the parameters of one adaptive limit. They are comparable: equal
// values mean the same limit.
type Config struct {
	// MinLimit and MaxLimit bound the estimate, 1 <= MinLimit <= MaxLimit <=
	// MaxMaxLimit. Equal ones make a fixed limit.
	MinLimit, MaxLimit int
	// InitialLimit is the estimate before the first sample, in [MinLimit,
	// MaxLimit].
	InitialLimit int
	Algorithm    Algorithm
	// RTTWindow is how many samples the minimum round trip is taken over, in [1,
	// MaxRTTWindow]. A short one forgets the unloaded time during a long load and
	// takes the loaded one for it.
	RTTWindow int
	// Smoothing is the weight of the newest estimate in gradient2, in (0, 1].
	Smoothing float64
	// Tolerance is how many times the minimum a round trip may be before it
	// counts as slow, at least 1. With 2, a service whose round trips double is
	// still taken for idle.
	Tolerance float64
	// BackoffRatio is what aimd multiplies the estimate with, in [0.5, 1).
	BackoffRatio float64
}

// DefaultConfig returns the parameters that the contract has unless a file says
// otherwise.
func DefaultConfig() Config {
	return Config{
		MinLimit: 4, MaxLimit: 512, InitialLimit: 4, Algorithm: Gradient2,
		RTTWindow: 100, Smoothing: 0.2, Tolerance: 2, BackoffRatio: 0.9,
	}
}

// Validate reports every field that is out of range, by its name in a policy
// file.
func (c Config) Validate() error {
	var errs []error
	refuse := func(ok bool, field string, value any, want string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("%s: got %v, want %s", field, value, fmt.Sprintf(want, args...)))
		}
	}
	refuse(c.MinLimit >= 1 && c.MinLimit <= MaxMaxLimit, "minLimit", c.MinLimit, "1 to %d", MaxMaxLimit)
	refuse(c.MaxLimit >= c.MinLimit && c.MaxLimit <= MaxMaxLimit, "maxLimit", c.MaxLimit, "minLimit (%d) to %d", c.MinLimit, MaxMaxLimit)
	refuse(c.InitialLimit >= c.MinLimit && c.InitialLimit <= c.MaxLimit, "initialLimit", c.InitialLimit, "minLimit (%d) to maxLimit (%d)", c.MinLimit, c.MaxLimit)
	refuse(c.Algorithm == Gradient2 || c.Algorithm == AIMD, "algorithm", fmt.Sprintf("%.40q", string(c.Algorithm)), "%s or %s", Gradient2, AIMD)
	refuse(c.RTTWindow >= 1 && c.RTTWindow <= MaxRTTWindow, "rttWindow", c.RTTWindow, "1 to %d samples", MaxRTTWindow)
	refuse(c.Smoothing > 0 && c.Smoothing <= 1, "smoothing", c.Smoothing, "above 0, at most 1")
	refuse(c.Tolerance >= 1 && !math.IsInf(c.Tolerance, 1), "tolerance", c.Tolerance, "at least 1 and finite")
	refuse(c.BackoffRatio >= 0.5 && c.BackoffRatio < 1, "backoffRatio", c.BackoffRatio, "0.5 to below 1")
	return errors.Join(errs...)
}
