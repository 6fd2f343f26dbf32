package concurrency

import (
	"math"

	"github.com/tkcoord/tkcoord/fsm/clock"
)

// Millis is a span in milliseconds, see clock.Millis.
type Millis = clock.Millis

// A Limiter is the adaptive estimate of one limit (the ThrottleKit contract,
// adaptive guard, without recalibration). It counts no requests: whoever admits
// them does, and tells it how each ended.
//
// Equal samples in equal order make equal states, bit for bit. A Limiter belongs
// to one goroutine; the copy that Clone returns may belong to another.
//
// Invariant: MinLimit <= estimate <= MaxLimit.
type Limiter struct {
	cfg      Config
	estimate float64
	lastRTT  Millis // of the newest sample, 0 before the first
	low      lowest // of the newest RTTWindow samples
}

// New returns a limiter that has seen no sample. cfg must be valid.
func New(cfg Config) Limiter { return Limiter{cfg: cfg, estimate: float64(cfg.InitialLimit)} }

// Ceiling returns how many requests may run at once: the estimate rounded down.
func (l *Limiter) Ceiling() int64 { return int64(l.estimate) }

// LastRTT returns the newest sample, 0 before the first.
func (l *Limiter) LastRTT() Millis { return l.lastRTT }

// LowestRTT returns the lowest of the newest RTTWindow samples, and false before the
// first.
func (l *Limiter) LowestRTT() (rtt Millis, ok bool) {
	if l.low.n == 0 {
		return 0, false
	}
	return l.low.at(0).rtt, true
}

// Reconfigure goes on with other parameters, which must be valid. The estimate is
// kept within their bounds, and so are the samples; a shorter window drops the
// oldest ones with the next.
func (l *Limiter) Reconfigure(cfg Config) {
	l.cfg = cfg
	l.estimate = l.within(l.estimate)
}

// Observe feeds the end of a request: how long it took, how many ran when it was
// admitted, itself included, and whether it was dropped. A dropped one counts as
// a round trip too. A negative rtt counts as 0.
func (l *Limiter) Observe(rtt Millis, atAcquire int64, dropped bool) {
	rtt = max(0, rtt)
	l.lastRTT = rtt
	noload := l.low.push(rtt, l.cfg.RTTWindow)
	busy := float64(2*atAcquire) >= l.estimate
	if l.cfg.Algorithm == AIMD {
		l.aimd(rtt, noload, busy, dropped)
	} else {
		l.gradient2(rtt, noload, busy, dropped)
	}
}

func (l *Limiter) gradient2(rtt, noload Millis, busy, dropped bool) {
	gradient := 1.0
	switch {
	case dropped:
		gradient = 0.5
	case !busy:
		return // under-used: nothing can be learnt
	case rtt > 0:
		gradient = min(max(float64(l.cfg.Tolerance*float64(noload))/float64(rtt), 0.5), 1)
	}
	next := float64(l.estimate*gradient) + math.Sqrt(l.estimate)
	l.estimate = l.within(float64(l.estimate*(1-l.cfg.Smoothing)) + float64(next*l.cfg.Smoothing))
}

func (l *Limiter) aimd(rtt, noload Millis, busy, dropped bool) {
	switch {
	case dropped || float64(rtt) > float64(float64(noload)*l.cfg.Tolerance):
		l.estimate = max(float64(l.cfg.MinLimit), math.Floor(l.estimate*l.cfg.BackoffRatio))
	case busy:
		l.estimate = min(float64(l.cfg.MaxLimit), l.estimate+1)
	}
}

func (l *Limiter) within(x float64) float64 {
	return min(max(x, float64(l.cfg.MinLimit)), float64(l.cfg.MaxLimit))
}

// Clone returns a limiter that shares nothing with l. It costs as much as the
// samples that may still become the lowest, mostly a few.
func (l *Limiter) Clone() Limiter {
	c := *l
	c.low.ring = append([]sample(nil), l.low.ring...)
	return c
}
