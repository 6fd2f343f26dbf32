package strategy

import "math"

// gcra is the generic cell rate algorithm: units are due T apart, and may come
// up to τ = T·burst early. Its state is the theoretical arrival time of the next
// unit (tat).
//
// A clock that runs back finds tat where it was, so it admits less.
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

// read returns tat and now as doubles.
func (g *gcra) read(s *State, now int64) (tat, t float64) {
	t = float64(now)
	if s.live(kindGCRA, now) {
		return max(s.a, t), t
	}
	return t, t
}

// left is how much of the burst is there when tat is ahead by some ms.
func (g *gcra) left(ahead float64) float64 { return (g.tau - ahead) / g.t }

func (g *gcra) Check(s *State, now int64, cost float64) Decision {
	d, tat := g.decide(s, now, cost)
	if d.Allowed {
		now = instant(now)
		*s = State{kind: kindGCRA, a: tat, exp: now + max(1, ceil(tat-float64(now)))}
	}
	return d
}

func (g *gcra) Test(s *State, now int64, cost float64) Decision {
	d, _ := g.decide(s, now, cost)
	return d
}

// decide returns the decision, and the tat after it if it admits.
func (g *gcra) decide(s *State, now int64, cost float64) (Decision, float64) {
	d := Decision{Limit: whole(g.burst)}
	if !costs(cost) {
		return d, 0
	}
	tat, t := g.read(s, instant(now))
	next := tat + float64(g.t*cost)
	at := next - g.tau
	if t < at {
		d.Remaining, d.ResetAt, d.RetryAfter = units(g.left(tat-t)), ceil(tat), ceil(at-t)
		return d, 0
	}
	d.Allowed, d.Remaining, d.ResetAt = true, units(g.left(next-t)), ceil(next)
	return d, next
}

func (g *gcra) Peek(s *State, now int64) Decision {
	tat, t := g.read(s, instant(now))
	d := Decision{Limit: whole(g.burst), Remaining: units(g.left(tat - t)), ResetAt: ceil(tat)}
	if d.Allowed = d.Remaining >= 1; !d.Allowed {
		d.RetryAfter = ceil(tat + g.t - g.tau - t)
	}
	return d
}

func (g *gcra) Forecast(s *State, now int64, cost float64) Forecast {
	tat, t := g.read(s, instant(now))
	k := max(0, math.Floor(g.left(tat-t)))
	f := Forecast{NextReplenishAt: whole(t), FullAt: whole(t)}
	if tat > t {
		f.NextReplenishAt, f.FullAt = ceil(tat-g.tau+float64((k+1)*g.t)), ceil(tat)
	}
	if costs(cost) {
		f.SpendableNow = units(k / cost)
	}
	return f
}
