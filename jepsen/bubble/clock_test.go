package bubble

import (
	"sync"
	"time"

	"github.com/tkcoord/tkcoord/fsm/clock"
)

// An oscillator is the monotonic clock of one process: its rate is off by ppm,
// within the drift that the cluster is told.
type oscillator struct {
	mu   sync.Mutex // guards the rest
	from time.Time
	base clock.Nanos
	ppm  int64
}

func (o *oscillator) now() clock.Nanos {
	o.mu.Lock()
	defer o.mu.Unlock()
	const million = 1_000_000
	d := int64(time.Since(o.from))
	return o.base + clock.Nanos(d+d/million*o.ppm+d%million*o.ppm/million)
}

// drift gives the clock another rate from now on.
func (o *oscillator) drift(ppm int64) {
	now := o.now()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.from, o.base, o.ppm = time.Now(), now, ppm
}

// newOscillator draws a clock that starts anywhere.
func (c *cluster) newOscillator() *oscillator {
	return &oscillator{from: time.Now(), base: clock.Nanos(1 + c.draw(1e15)), ppm: c.rate()}
}

// rate draws how far off a clock runs, mostly at the ends of what is allowed:
// there proofs fail.
func (c *cluster) rate() int64 {
	rho := int64(c.swarm.settings.Rates.Drift)
	switch c.draw(3) {
	case 0:
		return -rho
	case 1:
		return rho
	}
	return c.draw(2*rho+1) - rho
}
