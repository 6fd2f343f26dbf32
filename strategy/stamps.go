package strategy

import "math"

// stamps keeps the instant of every unit that was admitted in the last period,
// and so knows exactly what is left. Equal instants are one entry, and entries sum
// up, so every question is a search. A cost with a fraction takes the next whole
// number of units.
//
// A clock that runs back finds the window where the last admission left it, and
// what it then admits counts as admitted at that instant. (The reference stamps
// the earlier instant, before or behind the later ones, as its stores differ in.)
type stamps struct {
	limit, period float64
}

func newStamps(p Params) *stamps { return &stamps{limit: p.Limit, period: p.Period} }

func (l *stamps) Name() Name      { return SlidingWindowLog }
func (l *stamps) Limit() float64  { return l.limit }
func (l *stamps) Window() float64 { return l.period }

// A span is the part of a log that is inside the window at one instant.
type span struct {
	at     int64 // now, or the last admission if the clock ran back
	gone   int   // entries that have left the window
	before uint64
	kept   []entry
	n      float64 // units in kept
}

func (l *stamps) read(s *State, now int64) span {
	v := span{at: now}
	if !s.live(kindLog, now) {
		return v
	}
	all := s.past.entries()
	v.at = max(now, all[len(all)-1].at)
	dead := float64(v.at) - l.period
	v.gone = search(all, func(e entry) bool { return float64(e.at) > dead })
	v.kept, v.before = all[v.gone:], s.past.before
	if v.gone > 0 {
		v.before = all[v.gone-1].n
	}
	if len(v.kept) > 0 {
		v.n = float64(v.kept[len(v.kept)-1].n - v.before)
	}
	return v
}

// search returns the first entry for which a condition holds that holds from some
// entry on. That is the first one more often than not.
func search(all []entry, holds func(entry) bool) int {
	if len(all) > 0 && holds(all[0]) {
		return 0
	}
	low, high := 0, len(all)
	for low < high {
		if mid := int(uint(low+high) / 2); holds(all[mid]) {
			high = mid
		} else {
			low = mid + 1
		}
	}
	return low
}

// first returns the oldest instant that counts, now if there is none.
func (v *span) first(now int64) float64 {
	if len(v.kept) > 0 {
		return float64(v.kept[0].at)
	}
	return float64(now)
}

// unit returns the instant of the k-th unit that counts, k in [1, n].
func (v *span) unit(k float64) float64 {
	i := search(v.kept, func(e entry) bool { return float64(e.n-v.before) >= k })
	return float64(v.kept[i].at)
}

func (l *stamps) Check(s *State, now int64, cost float64) Decision {
	return l.decide(s, now, cost, true)
}

func (l *stamps) Test(s *State, now int64, cost float64) Decision {
	return l.decide(s, now, cost, false)
}

func (l *stamps) decide(s *State, now int64, cost float64, take bool) Decision {
	if !costs(cost) {
		return Decision{Limit: whole(l.limit)}
	}
	now = instant(now)
	v := l.read(s, now)
	wants := math.Ceil(cost)
	d := l.answer(&v, now, wants)
	if d.Allowed {
		d.Remaining = units(l.limit - (v.n + wants))
		d.ResetAt = ceil(v.first(v.at) + l.period)
		if take {
			l.take(s, &v, s.live(kindLog, now), uint64(wants))
		}
	}
	return d
}

// answer says whether some units would pass; Remaining is what is left before
// them.
func (l *stamps) answer(v *span, now int64, wants float64) Decision {
	d := Decision{
		Allowed: v.n+wants <= l.limit, Limit: whole(l.limit),
		Remaining: units(l.limit - v.n), ResetAt: ceil(v.first(now) + l.period),
	}
	switch {
	case d.Allowed:
	case v.n == 0:
		d.RetryAfter = whole(l.period)
	default:
		k := min(max(math.Ceil(v.n+wants-l.limit), 1), v.n)
		d.RetryAfter = max(1, ceil(v.unit(k)+l.period-float64(now)))
	}
	return d
}

// take adds units to the log and forgets those that have left.
func (l *stamps) take(s *State, v *span, live bool, wants uint64) {
	p := s.history(live)
	p.forget(v.gone)
	sum := p.before + wants
	if kept := p.entries(); len(kept) > 0 {
		last := &kept[len(kept)-1]
		sum = last.n + wants
		if last.at == v.at {
			last.n = sum
			*s = State{kind: kindLog, past: p, exp: s.exp}
			return
		}
	}
	p.add(entry{v.at, sum})
	*s = State{kind: kindLog, past: p, exp: ceil(float64(v.at) + l.period)}
}

func (l *stamps) Peek(s *State, now int64) Decision {
	now = instant(now)
	v := l.read(s, now)
	return l.answer(&v, now, 1)
}

func (l *stamps) Forecast(s *State, now int64, cost float64) Forecast {
	now = instant(now)
	v := l.read(s, now)
	f := Forecast{NextReplenishAt: now, FullAt: now}
	if len(v.kept) > 0 {
		f.NextReplenishAt = ceil(v.first(now) + l.period)
		f.FullAt = ceil(float64(v.kept[len(v.kept)-1].at) + l.period)
	}
	if costs(cost) {
		f.SpendableNow = units(max(0, l.limit-v.n) / cost)
	}
	return f
}
