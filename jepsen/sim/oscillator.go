package sim

import (
	"time"

	"github.com/tkcoord/tkcoord/fsm/clock"
)

const million = 1_000_000

// An oscillator is the monotonic clock of one process. Its rate is off by ppm,
// which changes now and then and stays within the drift that A1 allows.
type oscillator struct {
	from time.Duration // where the present rate began
	base clock.Nanos   // what it showed there
	ppm  int64
}

// at returns what the clock shows at a real instant that is not before the last
// change of its rate.
func (o *oscillator) at(t time.Duration) clock.Nanos {
	d := int64(t - o.from)
	return o.base + clock.Nanos(d+d/million*o.ppm+d%million*o.ppm/million)
}

// when returns a real instant at which the clock shows about a reading, if its
// rate stays as it is.
func (o *oscillator) when(reading clock.Nanos) time.Duration {
	d := float64(reading - o.base)
	return o.from + time.Duration(d*million/float64(million+o.ppm))
}

// drift gives the clock another rate from t on.
func (o *oscillator) drift(t time.Duration, ppm int64) {
	o.base, o.from, o.ppm = o.at(t), t, ppm
}

// newOscillator draws a clock that starts anywhere.
func (w *world) newOscillator() oscillator {
	return oscillator{from: w.now, base: clock.Nanos(1 + w.rnd.Int64N(1e15)), ppm: w.rate()}
}

// rate draws how far off a clock runs. The ends of what is allowed are where
// proofs fail, so they are drawn most often.
func (w *world) rate() int64 {
	rho := int64(w.cfg.Rates.Drift)
	switch w.rnd.IntN(3) {
	case 0:
		return -rho
	case 1:
		return rho
	}
	return w.rnd.Int64N(2*rho+1) - rho
}

// reading returns what a process's clock shows now.
func (w *world) reading(o *oscillator) clock.Nanos { return o.at(w.now) }
