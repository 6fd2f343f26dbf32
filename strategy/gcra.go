package strategy

import "math"

// gcra is the generic cell rate algorithm: units are due T apart, and may come
// up to τ = T·burst early. Its state is the theoretical arrival time of the next
// unit (tat).
//
// A clock that runs back finds tat where it was, so it admits less.
//
// At the instants of this century doubles are 2^-12 ms apart. A request whose
// T·cost would be rounded to nothing is charged one such step. (The reference
// admits any number of them.)
type gcra struct {
	burst, period float64
	t, tau        float64 // T and τ in ms
}

func newGCRA(p Params) *gcra {
	t := p.Period / p.Limit
	return &gcra{burst: p.Burst, period: p.Period, t: t, tau: float64(t * p.Burst)}
}

func (g *gcra) Name() Name      { return GCRA }
func (g *gcra) Limit() float64  { return g.burst }
func (g *gcra) Window() float64 { return g.period }

// arrival returns tat.
func (g *gcra) arrival(s *State, now int64) float64 {
	if s.live(kindGCRA, now) {
		return max(s.a, float64(now))
	}
	return float64(now)
}

// left is how much of the burst is there when tat is ahead by some ms.
func (g *gcra) left(ahead float64) float64 { return (g.tau - ahead) / g.t }

func (g *gcra) Check(s *State, now int64, cost float64) Decision {
	return g.decide(s, now, cost, true)
}

func (g *gcra) Test(s *State, now int64, cost float64) Decision {
	return g.decide(s, now, cost, false)
}

func (g *gcra) decide(s *State, now int64, cost float64, take bool) Decision {
	d := Decision{Limit: whole(g.burst)}
	if !costs(cost) {
		return d
	}
	now = instant(now)
	t, tat := float64(now), g.arrival(s, now)
	next := tat + float64(g.t*cost)
	if next == tat {
		next = math.Nextafter(tat, math.Inf(1))
	}
	at := next - g.tau
	if t < at {
		d.Remaining, d.ResetAt, d.RetryAfter = units(g.left(tat-t)), ceil(tat), ceil(at-t)
		return d
	}
	if take {
		*s = State{kind: kindGCRA, a: next, exp: now + max(1, ceil(next-t))}
	}
	d.Allowed, d.Remaining, d.ResetAt = true, units(g.left(next-t)), ceil(next)
	return d
}

func (g *gcra) Peek(s *State, now int64) Decision {
	now = instant(now)
	t, tat := float64(now), g.arrival(s, now)
	d := Decision{Limit: whole(g.burst), Remaining: units(g.left(tat - t)), ResetAt: ceil(tat)}
	if d.Allowed = d.Remaining >= 1; !d.Allowed {
		d.RetryAfter = ceil(tat + g.t - g.tau - t)
	}
	return d
}

func (g *gcra) Forecast(s *State, now int64, cost float64) Forecast {
	now = instant(now)
	t, tat := float64(now), g.arrival(s, now)
	k := max(0, math.Floor(g.left(tat-t)))
	f := Forecast{NextReplenishAt: now, FullAt: now}
	if tat > t {
		f.NextReplenishAt, f.FullAt = ceil(tat-g.tau+float64((k+1)*g.t)), ceil(tat)
	}
	if costs(cost) {
		f.SpendableNow = units(k / cost)
	}
	return f
}
