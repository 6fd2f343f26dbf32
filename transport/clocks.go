package transport

import (
	"context"
	"sync"
	"time"

	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/internal/bug"
)

// Clocks are the two clocks of this process, the only places where the node
// asks for the time of its guarantees. Tests and the fault suite replace them.
type Clocks struct {
	// Monotonic measures durations; it must not be affected by setting the wall
	// clock. Its zero is arbitrary.
	Monotonic func() clock.Nanos
	// Wall is civil time in Unix ms. It steers the cluster clock and carries no
	// safety: it may jump.
	Wall func() clock.Millis
}

// SystemClocks returns the clocks of the operating system.
func SystemClocks() Clocks {
	base := time.Now()
	return Clocks{
		Monotonic: func() clock.Nanos { return clock.Nanos(time.Since(base)) },
		Wall:      func() clock.Millis { return clock.Millis(time.Now().UnixMilli()) },
	}
}

// A ClusterClock is this process's view of the cluster clock. Safe for
// concurrent use.
type ClusterClock struct {
	clocks Clocks
	rates  clock.Rates

	mu     sync.Mutex // guards the rest
	source clock.Source
	stamps clock.Millis // newest stamp handed out under this leadership
}

// NewClusterClock returns a clock that has seen no entry.
func NewClusterClock(c Clocks, r clock.Rates) *ClusterClock {
	return &ClusterClock{clocks: c, rates: r}
}

// Note records the state machine's clock after an entry was applied.
func (c *ClusterClock) Note(now clock.Millis) {
	at := c.clocks.Monotonic() // NB: after the entry was applied, so after it was stamped
	c.mu.Lock()
	defer c.mu.Unlock()
	c.source.Note(now, at)
}

// Lead continues the clock from the newest applied entry. The barrier of the new
// term must have been applied.
func (c *ClusterClock) Lead() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if bug.Planted(bug.WallClock) {
		c.source.Note(c.clocks.Wall(), c.clocks.Monotonic())
	}
	c.source.Lead()
	// NB: stamps of an earlier leadership may not have been committed. Going on
	// from them would lead the clock of those who led in between, and outrun real
	// time.
	c.stamps = 0
}

// Follow ends leadership.
func (c *ClusterClock) Follow() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.source.Follow()
}

// Stamp reads the clock for a batch that has just been sealed.
func (c *ClusterClock) Stamp() clock.Millis {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stamps = max(c.stamps, min(c.source.At(c.clocks.Monotonic()), clock.MaxInstant))
	return c.stamps
}

// Now returns the cluster clock as far as this process knows it: on a follower
// it lags the leader's.
func (c *ClusterClock) Now() clock.Millis {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.source.At(c.clocks.Monotonic())
}

// WallOffset returns this process's wall clock minus its cluster clock.
func (c *ClusterClock) WallOffset() clock.Millis { return c.clocks.Wall() - c.Now() }

// stepBeyond is how far the cluster clock may lag the voters' median wall clock
// before the leader proposes a step instead of slewing.
const stepBeyond clock.Millis = 1000

// stepIdle is the same for a cluster that holds nothing, as a new one: nobody's
// window can change by it, and a clock that is half a second late would stay so
// for a quarter of an hour. It is above what a step itself takes.
const stepIdle clock.Millis = 50

// steer follows the median wall clock of the voters for as long as ctx lives:
// small distances by slewing, larger lags by a step, which is tried again with
// the next round if it fails. idle reports that the cluster holds nothing. A cluster clock that is ahead is never stepped
// back; onAhead is told.
func (c *ClusterClock) steer(ctx context.Context, every time.Duration, median func() (clock.Millis, bool), idle func() bool, step func(context.Context, clock.Millis), onAhead func(clock.Millis)) error {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		if lag, ok := median(); ok {
			if lag > stepBeyond || lag > stepIdle && idle() {
				step(ctx, c.Now()+lag)
			} else {
				c.slew(lag)
			}
			onAhead(-lag)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

func (c *ClusterClock) slew(lag clock.Millis) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.source.Steer(lag, c.rates.Slew, c.clocks.Monotonic())
}
