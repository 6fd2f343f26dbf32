package strategy

import "math"

// ring approximates a window that slides: it counts in S buckets of w = period/S
// ms, and takes of the bucket that is leaving the part that is still inside. Only
// buckets that are not empty are kept; the others would add nothing to the sum.
// While all costs are whole numbers the sum is kept too, since it is the same in
// every order; with fractions a call takes time for each bucket.
//
// A clock that runs back finds the window where the last admission left it, at
// that instant. (The reference looks at the earlier window and misses what came
// after.) A state that was left with other buckets is read as one bucket, the
// newest one.
type ring struct {
	name             Name
	limit, period, w float64
	s                float64 // S, a whole number
	ttl              int64
}

func newRing(p Params) *ring {
	w := p.Period / float64(p.Buckets)
	return &ring{name: p.Name, limit: p.Limit, period: p.Period, w: w, s: float64(p.Buckets), ttl: ceil(p.Period + w)}
}

func (r *ring) Name() Name      { return r.name }
func (r *ring) Limit() float64  { return r.limit }
func (r *ring) Window() float64 { return r.period }

// A gauge is what a ring shows at one instant.
type gauge struct {
	at        float64 // now, or the last admission if the clock ran back
	c         float64 // tick of the newest bucket
	full, old float64 // units in the buckets c-S+1 to c, and in c-S
	weight    float64 // part of the old bucket that is still in the window
	est       float64
}

func (r *ring) read(s *State, now int64) gauge {
	v := gauge{at: float64(now)}
	live := s.live(kindRing, now)
	if live {
		v.at = max(v.at, s.a)
	}
	v.c = math.Floor(v.at / r.w)
	elapsed := max(0, v.at-float64(v.c*r.w))
	v.weight = min(max((r.w-elapsed)/r.w, 0), 1)
	oldest := v.c - r.s
	switch {
	case live && s.b == r.w:
		v.full, v.old = split(s.past, oldest)
	case live:
		if tick, n := math.Floor(s.a/r.w), total(s.past); tick > oldest {
			v.full = n
		} else if tick == oldest {
			v.old = n
		}
	}
	v.est = v.full + float64(v.old*v.weight)
	return v
}

// split returns the units after the oldest bucket, summed in the order of their
// ticks or in one that gives the same sum, and those in it.
func split(p *past, oldest float64) (full, old float64) {
	all, gone, out := p.entries(), 0, 0.0
	for gone < len(all) && float64(all[gone].at) <= oldest {
		n := math.Float64frombits(all[gone].n)
		if float64(all[gone].at) == oldest {
			old = n
		}
		gone++
		out += n
	}
	if !p.tally.broken {
		return p.tally.sum - out, old
	}
	for _, e := range all[gone:] {
		full += math.Float64frombits(e.n)
	}
	return full, old
}

// maxUnits bounds what a bucket counts. Admissions of one set of parameters stay
// below MaxNumber, but the buckets that they leave may count two limits together,
// and become one bucket of other parameters; and so on with each change within a
// window.
const maxUnits = 1 << 55

// total sums all buckets.
func total(p *past) float64 {
	full, _ := split(p, -1)
	return min(full, maxUnits)
}

func (r *ring) Check(s *State, now int64, cost float64) Decision {
	return r.decide(s, now, cost, true)
}

func (r *ring) Test(s *State, now int64, cost float64) Decision {
	return r.decide(s, now, cost, false)
}

func (r *ring) decide(s *State, now int64, cost float64, take bool) Decision {
	if !costs(cost) {
		return Decision{Limit: whole(r.limit)}
	}
	now = instant(now)
	v := r.read(s, now)
	d := r.answer(&v, now, cost)
	if d.Allowed {
		d.Remaining = units(r.limit - (v.est + cost))
		if take {
			r.take(s, &v, s.live(kindRing, now), cost)
		}
	}
	return d
}

// answer says whether a cost would pass; Remaining is what is left before it.
func (r *ring) answer(v *gauge, now int64, cost float64) Decision {
	p, end := v.est+cost, float64((v.c+1)*r.w)
	d := Decision{Allowed: p <= r.limit, Limit: whole(r.limit), Remaining: units(r.limit - v.est), ResetAt: ceil(end + r.period)}
	if d.Allowed {
		return d
	}
	if over := p - r.limit; v.old > 0 && over <= float64(v.old*v.weight) {
		d.RetryAfter = max(1, ceil(float64(over*r.w)/v.old))
	} else {
		d.RetryAfter = max(1, ceil(end-float64(now)))
	}
	return d
}

// take counts a cost in the newest bucket and forgets those that have left.
func (r *ring) take(s *State, v *gauge, live bool, cost float64) {
	p := s.history(live)
	if live && s.b != r.w {
		tick, n := math.Floor(s.a/r.w), total(p)
		p.clear()
		p.put(tick, n)
	}
	gone := 0
	for _, e := range p.entries() {
		if float64(e.at) >= v.c-r.s {
			break
		}
		p.tally.add(-math.Float64frombits(e.n))
		gone++
	}
	if p.forget(gone); len(p.entries()) == 0 {
		p.tally = tally{}
	}
	p.put(v.c, cost)
	*s = State{kind: kindRing, a: v.at, b: r.w, past: p, exp: int64(v.at) + r.ttl}
}

// put counts units in the bucket of a tick, which is the newest one.
func (p *past) put(tick, n float64) {
	p.tally.add(n)
	if all := p.entries(); len(all) > 0 && float64(all[len(all)-1].at) == tick {
		last := &all[len(all)-1]
		last.n = math.Float64bits(math.Float64frombits(last.n) + n)
		return
	}
	p.add(entry{int64(tick), math.Float64bits(n)})
}

func (r *ring) Peek(s *State, now int64) Decision {
	now = instant(now)
	v := r.read(s, now)
	return r.answer(&v, now, 1)
}

func (r *ring) Forecast(s *State, now int64, cost float64) Forecast {
	v := r.read(s, instant(now))
	end := float64((v.c + 1) * r.w)
	f := Forecast{NextReplenishAt: ceil(end), FullAt: ceil(end + r.period)}
	if costs(cost) {
		f.SpendableNow = units(max(0, math.Floor(r.limit-v.est)) / cost)
	}
	return f
}
