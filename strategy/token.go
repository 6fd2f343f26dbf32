package strategy

import "math"

// tokenBucket holds up to capacity tokens and gets r more in each ms. A state
// that has had the time to fill is an exactly full one, however the sum of the
// refills was rounded.
//
// A clock that runs back neither refills nor takes away; the interval counts once.
// (The reference refills it again if it admits in between.)
type tokenBucket struct {
	capacity, r float64 // r in tokens per ms
	ttl         int64   // ms in which an empty one fills, at least 1
}

func newTokenBucket(p Params) *tokenBucket {
	r := p.RefillPerSec / 1000
	return &tokenBucket{capacity: p.Capacity, r: r, ttl: max(1, ceil(p.Capacity/r))}
}

func (b *tokenBucket) Name() Name      { return TokenBucket }
func (b *tokenBucket) Limit() float64  { return b.capacity }
func (b *tokenBucket) Window() float64 { return float64(b.ttl) }

// tokens returns what is in the bucket, and the instant it counts from next: now,
// or that of the last admission if the clock ran back.
func (b *tokenBucket) tokens(s *State, now int64) (tok, at float64) {
	t := float64(now)
	if !s.live(kindBucket, now) {
		return b.capacity, t
	}
	elapsed := max(0, t-s.b)
	return min(b.capacity, s.a+float64(elapsed*b.r)), max(t, s.b)
}

// after returns now plus the time in which some tokens come.
func (b *tokenBucket) after(now int64, tokens float64) int64 {
	return whole(float64(now) + math.Ceil(tokens/b.r))
}

func (b *tokenBucket) Check(s *State, now int64, cost float64) Decision {
	return b.decide(s, now, cost, true)
}

func (b *tokenBucket) Test(s *State, now int64, cost float64) Decision {
	return b.decide(s, now, cost, false)
}

func (b *tokenBucket) decide(s *State, now int64, cost float64, take bool) Decision {
	d := Decision{Limit: whole(b.capacity)}
	if !costs(cost) {
		return d
	}
	now = instant(now)
	tok, at := b.tokens(s, now)
	if tok < cost {
		d.Remaining, d.ResetAt, d.RetryAfter = units(tok), b.after(now, b.capacity-tok), ceil((cost-tok)/b.r)
		return d
	}
	n := tok - cost
	if take {
		*s = State{kind: kindBucket, a: n, b: at, exp: int64(at) + b.ttl}
	}
	d.Allowed, d.Remaining, d.ResetAt = true, units(n), b.after(now, b.capacity-n)
	return d
}

func (b *tokenBucket) Peek(s *State, now int64) Decision {
	now = instant(now)
	tok, _ := b.tokens(s, now)
	d := Decision{Allowed: tok >= 1, Limit: whole(b.capacity), Remaining: units(tok), ResetAt: b.after(now, b.capacity-tok)}
	if !d.Allowed {
		d.RetryAfter = ceil((1 - tok) / b.r)
	}
	return d
}

func (b *tokenBucket) Forecast(s *State, now int64, cost float64) Forecast {
	now = instant(now)
	tok, _ := b.tokens(s, now)
	f := Forecast{NextReplenishAt: now, FullAt: now}
	if tok < b.capacity {
		f.NextReplenishAt, f.FullAt = b.after(now, math.Floor(tok)+1-tok), b.after(now, b.capacity-tok)
	}
	if costs(cost) {
		f.SpendableNow = units(tok / cost)
	}
	return f
}
