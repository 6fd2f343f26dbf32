package seam

import (
	"sync"
	"time"

	"github.com/tkcoord/tkcoord/fsm/clock"
)

// clocks bends the machine's clocks. Both are straight lines between changes of
// the faults.
//
// Invariant: the monotonic reading is continuous over a change, and never falls
// while rates stay above -1,000,000 ppm.
type clocks struct {
	// now is the machine's clock, with both readings.
	now func() time.Time

	mu     sync.Mutex // guards the rest. NB: held while now is read: a reading made before a change must not be put on the line after it
	faults Faults
	began  time.Time   // when faults took effect, by the machine
	mono   clock.Nanos // reading of the bent monotonic clock at that time
	gained clock.Nanos // by WallRatePPM before that time
}

func newClocks(now func() time.Time) *clocks { return &clocks{now: now, began: now()} }

// follow puts faults into effect now.
func (c *clocks) follow(f Faults) {
	c.mu.Lock()
	defer c.mu.Unlock()
	since := c.sinceChange()
	c.mono = c.monotonicAt(since)
	c.gained += scale(since, c.faults.WallRatePPM)
	if f.WallRatePPM == 0 {
		c.gained = 0
	}
	c.began = c.began.Add(since)
	c.faults = f
}

// Monotonic is for transport.Clocks and edge.Config.
func (c *clocks) Monotonic() clock.Nanos {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.monotonicAt(c.sinceChange())
}

// Wall is for transport.Clocks. It is never negative.
func (c *clocks) Wall() clock.Millis {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	since := now.Sub(c.began)
	real := clock.Millis(now.UnixMilli())
	drift := (c.gained + scale(since, c.faults.WallRatePPM)) / clock.NanosPerMilli
	return max(0, real+clock.Millis(drift)+clock.Millis(c.faults.WallOffsetMS)+c.strobe(real))
}

// strobe follows the machine's wall clock, so that processes with the same
// period disagree for all of it or not at all.
func (c *clocks) strobe(real clock.Millis) clock.Millis {
	period := clock.Millis(c.faults.WallStrobePeriodMS)
	if period == 0 || real/period%2 == 0 {
		return 0
	}
	return clock.Millis(c.faults.WallStrobeMS)
}

func (c *clocks) sinceChange() time.Duration { return c.now().Sub(c.began) }

func (c *clocks) monotonicAt(since time.Duration) clock.Nanos {
	return c.mono + clock.Nanos(since) + scale(since, c.faults.MonotonicRatePPM)
}

// scale returns ppm millionths of a span, rounded towards zero.
func scale(span time.Duration, ppm int64) clock.Nanos {
	whole, rest := int64(span)/1_000_000, int64(span)%1_000_000 // whole*ppm fits for 29 years at the largest rate
	return clock.Nanos(whole*ppm + rest*ppm/1_000_000)
}
