package strategy

import (
	"math/big"
	"slices"
	"time"

	"github.com/tkcoord/tkcoord/escrow"
)

// This file is the contract once more, and nothing else: its formulas line by line,
// with the state that it describes (one stamp for each unit, a ring of S+1 slots)
// and its rule of expiry, in doubles made of big.Float with 53 bits, which round
// to nearest even after every operation on any machine. It is what golden files
// are made with and what properties compare the package with. It follows the
// reference only while time does not run back.

// A double is an IEEE double without the bounds of its exponent.
type double struct{ f *big.Float }

func dbl(x float64) double            { return double{soft().SetFloat64(x)} }
func soft() *big.Float                { return new(big.Float).SetPrec(53).SetMode(big.ToNearestEven) }
func (x double) add(y double) double  { return double{soft().Add(x.f, y.f)} }
func (x double) sub(y double) double  { return double{soft().Sub(x.f, y.f)} }
func (x double) mul(y double) double  { return double{soft().Mul(x.f, y.f)} }
func (x double) quo(y double) double  { return double{soft().Quo(x.f, y.f)} }
func (x double) le(y double) bool     { return x.f.Cmp(y.f) <= 0 }
func (x double) lt(y double) bool     { return x.f.Cmp(y.f) < 0 }
func (x double) eq(y double) bool     { return x.f.Cmp(y.f) == 0 }
func (x double) neg() double          { return double{soft().Neg(x.f)} }
func (x double) ceil() double         { return x.neg().floor().neg() }
func (x double) max(y double) double  { return pick(x.lt(y), y, x) }
func (x double) min(y double) double  { return pick(y.lt(x), y, x) }
func pick(c bool, x, y double) double { return map[bool]double{true: x, false: y}[c] }

func (x double) floor() double {
	i, acc := x.f.Int(nil) // towards zero
	if acc == big.Above {
		i.Sub(i, big.NewInt(1))
	}
	return double{soft().SetInt(i)}
}

// int is what the wire carries: truncated towards zero, the nearest that fits.
func (x double) int() int64 { i, _ := x.f.Int64(); return i }

var zero, one = dbl(0), dbl(1)

// A model answers like the reference. Its state is that of one key.
type model interface {
	check(now, cost double) Decision
	peek(now double) Decision
	forecast(now, cost double) Forecast
}

func newModel(p Params) model {
	limit, period := dbl(p.Limit), dbl(p.Period)
	switch {
	case p.Name == GCRA:
		t := period.quo(limit)
		return &gcraModel{burst: dbl(p.Burst), t: t, tau: t.mul(dbl(p.Burst))}
	case p.Name == TokenBucket:
		r := dbl(p.RefillPerSec).quo(dbl(1000))
		return &bucketModel{capacity: dbl(p.Capacity), r: r, ttl: one.max(dbl(p.Capacity).quo(r).ceil())}
	case p.Name == SlidingWindow || p.Rolling:
		return &ringModel{limit: limit, windowMs: period, s: p.Buckets, w: period.quo(dbl(float64(p.Buckets)))}
	case p.Name == SlidingWindowLog:
		return &logModel{limit: limit, windowMs: period}
	case p.Name == FixedWindow:
		return &windowModel{limit: limit, bounds: func(now double) (double, double) {
			ws := now.quo(period).floor().mul(period)
			return ws, ws.add(period)
		}}
	}
	return &windowModel{limit: limit, bounds: func(now double) (double, double) { return cadenceBounds(p.Cadence, now) }}
}

// cadenceBounds are those of a quota, with the calendar of package time.
func cadenceBounds(c escrow.Cadence, now double) (double, double) {
	if c.Kind == escrow.Fixed {
		anchor, period := dbl(float64(c.Anchor)), dbl(float64(c.Period))
		start := anchor.add(now.sub(anchor).quo(period).floor().mul(period))
		return start, start.add(period)
	}
	off := time.Duration(c.OffsetMinutes) * time.Minute
	y, m, d := time.UnixMilli(now.int()).UTC().Add(off).Date()
	midnight := time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
	var first, next time.Time
	switch c.Kind {
	case escrow.CalendarDay:
		first, next = midnight, time.Date(y, m, d+1, 0, 0, 0, 0, time.UTC)
	case escrow.CalendarWeek:
		for first = midnight; first.Weekday() != time.Weekday(c.WeekStart); {
			first = first.AddDate(0, 0, -1)
		}
		next = first.AddDate(0, 0, 7)
	case escrow.CalendarMonth:
		first, next = time.Date(y, m, 1, 0, 0, 0, 0, time.UTC), time.Date(y, m+1, 1, 0, 0, 0, 0, time.UTC)
	}
	return dbl(float64(first.Add(-off).UnixMilli())), dbl(float64(next.Add(-off).UnixMilli()))
}

// reply is D(allowed, limit, remaining, resetAt, retry).
func reply(allowed bool, limit, remaining, resetAt, retry double) Decision {
	return Decision{allowed, limit.int(), remaining.int(), resetAt.int(), retry.int()}
}

type gcraModel struct {
	burst, t, tau double
	state         *double
	exp           double
}

func (g *gcraModel) tat(now double) double {
	if g.state == nil || g.exp.le(now) {
		return now
	}
	return g.state.max(now)
}

func (g *gcraModel) remaining(ahead double) double {
	return zero.max(g.tau.sub(ahead).quo(g.t).floor())
}

func (g *gcraModel) check(now, cost double) Decision {
	inc := g.t.mul(cost)
	tat := g.tat(now)
	next := tat.add(inc)
	at := next.sub(g.tau)
	if now.lt(at) {
		return reply(false, g.burst, g.remaining(tat.sub(now)), tat.ceil(), at.sub(now).ceil())
	}
	g.state = &next
	g.exp = now.add(one.max(next.sub(now).ceil()))
	return reply(true, g.burst, g.remaining(next.sub(now)), next.ceil(), zero)
}

func (g *gcraModel) peek(now double) Decision {
	tat := g.tat(now)
	r := g.remaining(tat.sub(now))
	allowed := one.le(r)
	return reply(allowed, g.burst, r, tat.ceil(), pick(allowed, zero, tat.add(g.t).sub(g.tau).sub(now).ceil()))
}

func (g *gcraModel) forecast(now, cost double) Forecast {
	tat := g.tat(now)
	k := g.remaining(tat.sub(now))
	next, full := tat.sub(g.tau).add(k.add(one).mul(g.t)).ceil(), tat.ceil()
	if tat.le(now) {
		next, full = now, now
	}
	return Forecast{k.quo(cost).floor().int(), next.int(), full.int()}
}

type bucketModel struct {
	capacity, r, ttl double
	state            *struct{ tokens, last double }
	exp              double
}

func (b *bucketModel) current(now double) double {
	if b.state == nil || b.exp.le(now) {
		return b.capacity
	}
	elapsed := zero.max(now.sub(b.state.last))
	return b.capacity.min(b.state.tokens.add(elapsed.mul(b.r)))
}

func (b *bucketModel) in(tokens double) double { return tokens.quo(b.r).ceil() }

func (b *bucketModel) check(now, cost double) Decision {
	tok := b.current(now)
	if tok.lt(cost) {
		return reply(false, b.capacity, zero.max(tok.floor()), now.add(b.in(b.capacity.sub(tok))), b.in(cost.sub(tok)))
	}
	n := tok.sub(cost)
	b.state = &struct{ tokens, last double }{n, now}
	b.exp = now.add(b.ttl)
	return reply(true, b.capacity, zero.max(n.floor()), now.add(b.in(b.capacity.sub(n))), zero)
}

func (b *bucketModel) peek(now double) Decision {
	tok := b.current(now)
	ok := one.le(tok)
	return reply(ok, b.capacity, zero.max(tok.floor()), now.add(b.in(b.capacity.sub(tok))), pick(ok, zero, b.in(one.sub(tok))))
}

func (b *bucketModel) forecast(now, cost double) Forecast {
	tok := b.current(now)
	next, full := now.add(b.in(tok.floor().add(one).sub(tok))), now.add(b.in(b.capacity.sub(tok)))
	if b.capacity.le(tok) {
		next, full = now, now
	}
	return Forecast{tok.quo(cost).floor().int(), next.int(), full.int()}
}

type windowModel struct {
	limit  double
	bounds func(now double) (start, reset double)
	state  *struct{ start, count double }
	exp    double
}

func (w *windowModel) current(now double) (ws, reset, count double) {
	ws, reset = w.bounds(now)
	if w.state == nil || w.exp.le(now) || !w.state.start.eq(ws) {
		return ws, reset, zero
	}
	return ws, reset, w.state.count
}

func (w *windowModel) check(now, cost double) Decision {
	ws, reset, count := w.current(now)
	sum := count.add(cost)
	if sum.le(w.limit) {
		w.state = &struct{ start, count double }{ws, sum}
		w.exp = now.add(one.max(reset.sub(now)))
		return reply(true, w.limit, zero.max(w.limit.sub(sum).floor()), reset.ceil(), zero)
	}
	return reply(false, w.limit, zero.max(w.limit.sub(count).floor()), reset.ceil(), reset.sub(now).ceil())
}

func (w *windowModel) peek(now double) Decision {
	_, reset, count := w.current(now)
	ok := count.add(one).le(w.limit)
	return reply(ok, w.limit, zero.max(w.limit.sub(count).floor()), reset.ceil(), pick(ok, zero, reset.sub(now).ceil()))
}

func (w *windowModel) forecast(now, cost double) Forecast {
	_, reset, count := w.current(now)
	return Forecast{zero.max(w.limit.sub(count)).quo(cost).floor().int(), reset.ceil().int(), reset.ceil().int()}
}

type ringModel struct {
	limit, windowMs, w double
	s                  int
	ring               []*struct {
		tick  int64
		count double
	}
	exp double
}

func (r *ringModel) get(j int64) double {
	if j < 0 {
		return zero
	}
	if slot := r.ring[j%int64(r.s+1)]; slot != nil && slot.tick == j {
		return slot.count
	}
	return zero
}

func (r *ringModel) current(now double) (c int64, old, weight, est double) {
	if r.exp.f == nil || r.exp.le(now) {
		r.ring = make([]*struct {
			tick  int64
			count double
		}, r.s+1)
	}
	tick := now.quo(r.w).floor()
	c = tick.int()
	el := zero.max(now.sub(tick.mul(r.w)))
	weight = r.w.sub(el).quo(r.w).max(zero).min(one)
	full := zero
	for j := c - int64(r.s) + 1; j <= c; j++ {
		full = full.add(r.get(j))
	}
	old = r.get(c - int64(r.s))
	return c, old, weight, full.add(old.mul(weight))
}

func (r *ringModel) retry(now, p, old, weight double, c int64) double {
	d := p.sub(r.limit)
	relief := dbl(float64(c + 1)).mul(r.w).sub(now).ceil()
	if zero.lt(old) && d.le(old.mul(weight)) {
		relief = d.mul(r.w).quo(old).ceil()
	}
	return one.max(relief)
}

func (r *ringModel) check(now, cost double) Decision {
	c, old, weight, est := r.current(now)
	p := est.add(cost)
	resetAt := dbl(float64(c + 1)).mul(r.w).add(r.windowMs).ceil()
	if !p.le(r.limit) {
		return reply(false, r.limit, zero.max(r.limit.sub(est).floor()), resetAt, r.retry(now, p, old, weight, c))
	}
	r.ring[c%int64(r.s+1)] = &struct {
		tick  int64
		count double
	}{c, r.get(c).add(cost)}
	r.exp = now.add(r.windowMs.add(r.w).ceil())
	return reply(true, r.limit, zero.max(r.limit.sub(p).floor()), resetAt, zero)
}

func (r *ringModel) peek(now double) Decision {
	c, old, weight, est := r.current(now)
	p := est.add(one)
	ok := p.le(r.limit)
	resetAt := dbl(float64(c + 1)).mul(r.w).add(r.windowMs).ceil()
	return reply(ok, r.limit, zero.max(r.limit.sub(est).floor()), resetAt, pick(ok, zero, r.retry(now, p, old, weight, c)))
}

func (r *ringModel) forecast(now, cost double) Forecast {
	c, _, _, est := r.current(now)
	end := dbl(float64(c + 1)).mul(r.w)
	return Forecast{zero.max(r.limit.sub(est).floor()).quo(cost).floor().int(), end.ceil().int(), end.add(r.windowMs).ceil().int()}
}

type logModel struct {
	limit, windowMs double
	list            []double
	exp             double
}

func (l *logModel) live(now double) []double {
	if len(l.list) > 0 && l.exp.le(now) {
		return nil
	}
	live := l.list
	for len(live) > 0 && live[0].le(now.sub(l.windowMs)) {
		live = live[1:]
	}
	return live
}

func (l *logModel) deny(live []double, now, units double) (resetAt, retry double) {
	n := dbl(float64(len(live)))
	if len(live) == 0 {
		return now.add(l.windowMs).ceil(), l.windowMs
	}
	k := n.add(units).sub(l.limit).ceil().max(one).min(n)
	return live[0].add(l.windowMs).ceil(), one.max(live[k.int()-1].add(l.windowMs).sub(now).ceil())
}

func (l *logModel) check(now, cost double) Decision {
	units := cost.ceil()
	live := l.live(now)
	n := dbl(float64(len(live)))
	if !n.add(units).le(l.limit) {
		resetAt, retry := l.deny(live, now, units)
		return reply(false, l.limit, zero.max(l.limit.sub(n)), resetAt, retry)
	}
	l.list = append(slices.Clone(live), slices.Repeat([]double{now}, int(units.int()))...)
	l.exp = now.add(l.windowMs)
	return reply(true, l.limit, zero.max(l.limit.sub(n.add(units))), l.list[0].add(l.windowMs).ceil(), zero)
}

func (l *logModel) peek(now double) Decision {
	live := l.live(now)
	n := dbl(float64(len(live)))
	ok := n.add(one).le(l.limit)
	resetAt, retry := l.deny(live, now, one)
	return reply(ok, l.limit, zero.max(l.limit.sub(n)), resetAt, pick(ok, zero, retry))
}

func (l *logModel) forecast(now, cost double) Forecast {
	live := l.live(now)
	f := Forecast{zero.max(l.limit.sub(dbl(float64(len(live))))).quo(cost).floor().int(), now.int(), now.int()}
	if len(live) > 0 {
		f.NextReplenishAt = live[0].add(l.windowMs).ceil().int()
		f.FullAt = live[len(live)-1].add(l.windowMs).ceil().int()
	}
	return f
}
