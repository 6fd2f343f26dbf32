// Package strategy holds the rate strategies of the ThrottleKit contract: given a
// key's state, the time and a cost, whether a request is admitted.
//
// The package is pure: no clock, no goroutine, no I/O. The arithmetic is that of
// IEEE doubles in the order of the contract, so replicas agree bit for bit.
package strategy

import (
	"errors"
	"fmt"
	"math"

	"github.com/tkcoord/tkcoord/escrow"
)

// Name names a strategy as policy files do.
type Name string

const (
	GCRA             Name = "gcra"
	TokenBucket      Name = "tokenBucket"
	FixedWindow      Name = "fixedWindow"
	SlidingWindow    Name = "slidingWindow"
	SlidingWindowLog Name = "slidingWindowLog"
	Quota            Name = "quota"
)

// Limits on parameters.
const (
	// MaxNumber bounds limits, bursts, capacities, periods and what is derived from
	// them: 2^53-1. Above it a double cannot count by ones.
	MaxNumber = 1<<53 - 1
	// MinSpan is the shortest window, bucket of a window, and window of a log, in ms:
	// two instants up to clock.MaxInstant that are so far apart are different
	// doubles.
	MinSpan = 1.0 / 32
	// MaxBuckets bounds Buckets.
	MaxBuckets = 100_000
	// MaxStamps bounds how many instants the log of one key may hold, at 16 bytes
	// each: one for each unit of the limit, or for each ms of the period.
	MaxStamps = 1 << 20
)

// Params are the parameters of one strategy. They are comparable: equal values
// mean the same strategy. Fields that the strategy does not use are zero.
type Params struct {
	Name Name
	// Limit per Period, above 0, of all but TokenBucket.
	Limit float64
	// Period is the length of a window in ms, above 0: of GCRA, of the windows,
	// and of a rolling Quota. That of other quotas is in Cadence.
	Period float64
	// Burst of GCRA is how many units may pass at once, at least 1.
	Burst float64
	// Capacity and RefillPerSec of TokenBucket, in tokens, above 0.
	Capacity, RefillPerSec float64
	// Buckets of SlidingWindow and a rolling Quota, in [1, 100000].
	Buckets int
	// Cadence of a Quota that is not rolling.
	Cadence escrow.Cadence
	// Rolling makes a Quota a SlidingWindow by another name.
	Rolling bool
}

// Validate reports every parameter that is out of range, by the name that it has
// in a policy file, with its value and what is allowed. A strategy of valid
// parameters answers with finite numbers only.
func (p Params) Validate() error {
	used, errs := p.uses()
	if used == nil {
		return fmt.Errorf("strategy %q: must be gcra, tokenBucket, fixedWindow, slidingWindow, slidingWindowLog or quota", string(p.Name))
	}
	positive := func(name string, v, lowest float64) {
		ok := v >= lowest && v <= MaxNumber
		switch {
		case !used[name] && v != 0:
			errs = append(errs, fmt.Errorf("%s %v: %s has none", name, v, p.label()))
		case used[name] && lowest > 0 && !ok:
			errs = append(errs, fmt.Errorf("%s %v: must be in [%v, %d]", name, v, lowest, int64(MaxNumber)))
		case used[name] && !(ok && v > 0):
			errs = append(errs, fmt.Errorf("%s %v: must be above 0 and at most %d", name, v, int64(MaxNumber)))
		}
	}
	span := MinSpan
	if p.Name == GCRA {
		span = 0
	}
	positive("limit", p.Limit, 0)
	positive("period", p.Period, span)
	positive("burst", p.Burst, 1)
	positive("capacity", p.Capacity, 0)
	positive("refillPerSec", p.RefillPerSec, 0)
	switch {
	case !used["buckets"] && p.Buckets != 0:
		errs = append(errs, fmt.Errorf("buckets %d: %s has none", p.Buckets, p.label()))
	case used["buckets"] && (p.Buckets < 1 || p.Buckets > MaxBuckets):
		errs = append(errs, fmt.Errorf("buckets %d: must be in [1, %d]", p.Buckets, MaxBuckets))
	}
	if len(errs) == 0 {
		errs = append(errs, p.derived())
	}
	return errors.Join(errs...)
}

// label names the strategy in an error.
func (p Params) label() string {
	if p.Name == Quota && p.Rolling {
		return "a rolling quota"
	}
	return string(p.Name)
}

// uses returns the numbers that the strategy needs, nil if there is no such
// strategy, and what is wrong with the parameters that are no numbers.
func (p Params) uses() (used map[string]bool, errs []error) {
	if p.Rolling && p.Name != Quota {
		errs = append(errs, fmt.Errorf("resetCadence rolling: only a quota has one, not %s", p.Name))
	}
	if p.Cadence != (escrow.Cadence{}) && (p.Name != Quota || p.Rolling) {
		errs = append(errs, fmt.Errorf("resetCadence %v: %s has none", p.Cadence.Kind, p.label()))
	}
	switch p.Name {
	case GCRA:
		used = map[string]bool{"limit": true, "period": true, "burst": true}
	case TokenBucket:
		used = map[string]bool{"capacity": true, "refillPerSec": true}
	case FixedWindow, SlidingWindowLog:
		used = map[string]bool{"limit": true, "period": true}
	case SlidingWindow:
		used = map[string]bool{"limit": true, "period": true, "buckets": true}
	case Quota:
		used = map[string]bool{"limit": true, "period": p.Rolling, "buckets": p.Rolling}
		if !p.Rolling {
			errs = append(errs, checkCadence(p.Cadence)...)
		}
	}
	return used, errs
}

// checkCadence is escrow.Cadence.Validate in the words of a policy file.
func checkCadence(c escrow.Cadence) (errs []error) {
	within := func(name string, v, lowest, highest int64) {
		if v < lowest || v > highest {
			errs = append(errs, fmt.Errorf("%s %d: must be in [%d, %d]", name, v, lowest, highest))
		}
	}
	switch c.Kind {
	case escrow.Fixed:
		within("period", int64(c.Period), 1, int64(escrow.MaxPeriod))
		within("anchor", int64(c.Anchor), -int64(escrow.MaxPeriod), int64(escrow.MaxPeriod))
	case escrow.CalendarDay, escrow.CalendarWeek, escrow.CalendarMonth:
		within("offsetMinutes", int64(c.OffsetMinutes), -840, 840)
		within("weekStartsOn", int64(c.WeekStart), 0, 6)
	case 0:
		return []error{errors.New("resetCadence: a quota needs calendar-month, calendar-week, calendar-day, fixed or rolling")}
	}
	if err := c.Validate(); err != nil && errs == nil {
		errs = append(errs, fmt.Errorf("resetCadence: %w", err))
	}
	return errs
}

// derived reports constants that cannot be computed with, of parameters that are
// in range by themselves.
func (p Params) derived() error {
	switch {
	case p.Name == GCRA:
		if t := p.Period / p.Limit; t == 0 || t > MaxNumber {
			return fmt.Errorf("limit %v: period/limit is %v ms, must be above 0 and at most %d", p.Limit, t, int64(MaxNumber))
		} else if tau := float64(t * p.Burst); tau > MaxNumber {
			return fmt.Errorf("burst %v: burst*period/limit is %v ms, must be at most %d", p.Burst, tau, int64(MaxNumber))
		}
	case p.Name == TokenBucket:
		if r := p.RefillPerSec / 1000; r == 0 || math.Ceil(p.Capacity/r) > MaxNumber {
			return fmt.Errorf("refillPerSec %v: a capacity of %v fills in %v ms, must be at most %d", p.RefillPerSec, p.Capacity, p.Capacity/r, int64(MaxNumber))
		}
	case p.Buckets > 0:
		if w := p.Period / float64(p.Buckets); w < MinSpan {
			return fmt.Errorf("buckets %d: period/buckets is %v ms, must be at least %v", p.Buckets, w, MinSpan)
		}
	case p.Name == SlidingWindowLog && min(p.Limit, p.Period) > MaxStamps:
		return fmt.Errorf("limit %v: the smaller one of limit and period in ms is what a log may hold, must be at most %d", p.Limit, MaxStamps)
	}
	return nil
}
