package strategy

import (
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"
)

// This file is an exact twin of the strategies whose doubles round: the same
// formulas in rational numbers, without any rounding but the floors and ceilings
// that the contract names. It shows where and how often the contract's doubles
// differ from arithmetic.

type rat = *big.Rat

func fraction(x float64) rat    { return new(big.Rat).SetFloat64(x) }
func whole64(n int64) rat       { return new(big.Rat).SetInt64(n) }
func sum(x, y rat) rat          { return new(big.Rat).Add(x, y) }
func minus(x, y rat) rat        { return new(big.Rat).Sub(x, y) }
func times(x, y rat) rat        { return new(big.Rat).Mul(x, y) }
func over(x, y rat) rat         { return new(big.Rat).Quo(x, y) }
func atLeast(x, lowest rat) rat { return ratPick(x.Cmp(lowest) < 0, lowest, x) }
func ratPick(c bool, x, y rat) rat {
	if c {
		return x
	}
	return y
}

// floorOf is ⌊x⌋: Div rounds down where the divisor is positive.
func floorOf(x rat) int64 { return new(big.Int).Div(x.Num(), x.Denom()).Int64() }
func ceilOf(x rat) int64  { return -floorOf(new(big.Rat).Neg(x)) }
func left(x rat) int64    { return max(0, floorOf(x)) }

// A twin decides exactly.
type twin interface {
	check(now int64, cost float64) Decision
	// follow takes over the state that the doubles have.
	follow(s *State, now int64)
}

type exactGCRA struct{ t, tau, burst, tat rat }

func newExactGCRA(p Params) twin {
	t := over(fraction(p.Period), fraction(p.Limit))
	return &exactGCRA{t: t, tau: times(t, fraction(p.Burst)), burst: fraction(p.Burst), tat: new(big.Rat)}
}

func (g *exactGCRA) check(now int64, cost float64) Decision {
	t := whole64(now)
	tat := atLeast(g.tat, t)
	next := sum(tat, times(g.t, fraction(cost)))
	at := minus(next, g.tau)
	if t.Cmp(at) < 0 {
		return Decision{false, floorOf(g.burst), left(over(minus(g.tau, minus(tat, t)), g.t)), ceilOf(tat), ceilOf(minus(at, t))}
	}
	g.tat = next
	return Decision{true, floorOf(g.burst), left(over(minus(g.tau, minus(next, t)), g.t)), ceilOf(next), 0}
}

func (g *exactGCRA) follow(s *State, _ int64) { g.tat = fraction(s.a) }

type exactBucket struct {
	capacity, r, tokens rat
	last                int64
}

func newExactBucket(p Params) twin {
	c := fraction(p.Capacity)
	return &exactBucket{capacity: c, r: over(fraction(p.RefillPerSec), whole64(1000)), tokens: c}
}

func (b *exactBucket) check(now int64, cost float64) Decision {
	tok := sum(b.tokens, times(whole64(now-b.last), b.r))
	tok = ratPick(tok.Cmp(b.capacity) > 0, b.capacity, tok)
	price := fraction(cost)
	if tok.Cmp(price) < 0 {
		return Decision{false, floorOf(b.capacity), left(tok), now + ceilOf(over(minus(b.capacity, tok), b.r)), ceilOf(over(minus(price, tok), b.r))}
	}
	b.tokens, b.last = minus(tok, price), now
	return Decision{true, floorOf(b.capacity), left(b.tokens), now + ceilOf(over(minus(b.capacity, b.tokens), b.r)), 0}
}

func (b *exactBucket) follow(s *State, now int64) {
	if s.live(kindBucket, now) {
		b.tokens, b.last = fraction(s.a), int64(s.b)
	} else {
		b.tokens, b.last = b.capacity, now
	}
}

type exactRing struct {
	limit, period, w rat
	s                int64
	counts           map[int64]rat
}

func newExactRing(p Params) twin {
	period := fraction(p.Period)
	return &exactRing{
		limit: fraction(p.Limit), period: period, w: over(period, whole64(int64(p.Buckets))),
		s: int64(p.Buckets), counts: map[int64]rat{},
	}
}

func (r *exactRing) get(j int64) rat {
	if n := r.counts[j]; n != nil {
		return n
	}
	return new(big.Rat)
}

func (r *exactRing) check(now int64, cost float64) Decision {
	t, price := whole64(now), fraction(cost)
	c := floorOf(over(t, r.w))
	weight := over(minus(r.w, minus(t, times(whole64(c), r.w))), r.w)
	est, old := new(big.Rat), r.get(c-r.s)
	for j := c - r.s + 1; j <= c; j++ {
		est = sum(est, r.get(j))
	}
	est = sum(est, times(old, weight))
	p, end := sum(est, price), times(whole64(c+1), r.w)
	d := Decision{p.Cmp(r.limit) <= 0, floorOf(r.limit), left(minus(r.limit, est)), ceilOf(sum(end, r.period)), 0}
	if d.Allowed {
		r.counts[c] = sum(r.get(c), price)
		d.Remaining = left(minus(r.limit, p))
		return d
	}
	d.RetryAfter = max(1, ceilOf(minus(end, t)))
	if excess := minus(p, r.limit); old.Sign() > 0 && excess.Cmp(times(old, weight)) <= 0 {
		d.RetryAfter = max(1, ceilOf(over(times(excess, r.w), old)))
	}
	return d
}

func (r *exactRing) follow(s *State, _ int64) {
	clear(r.counts)
	for _, e := range s.past.entries() {
		r.counts[e.at] = fraction(math.Float64frombits(e.n))
	}
}

// A drift counts in how many replies doubles and rational numbers differ.
type drift struct {
	replies, any, allowed      int
	remaining, resetAt, retry  int   // in how many replies that agree on allowed
	mostLeft, mostAt, mostWait int64 // by how much at most
}

func (d *drift) count(got, exact Decision) (agree bool) {
	d.replies++
	if got == exact {
		return true
	}
	d.any++
	if got.Allowed != exact.Allowed {
		d.allowed++
		return false
	}
	differ := func(n *int, most *int64, x, y int64) {
		if x != y {
			*n++
			*most = max(*most, x-y, y-x)
		}
	}
	differ(&d.remaining, &d.mostLeft, got.Remaining, exact.Remaining)
	differ(&d.resetAt, &d.mostAt, got.ResetAt, exact.ResetAt)
	differ(&d.retry, &d.mostWait, got.RetryAfter, exact.RetryAfter)
	return true
}

// TestDrift compares random traffic of this year with the exact twin; -v shows the
// table. How often they differ depends on the traffic. The contract publishes, for
// its own: gcra 0 replies with a whole period/limit, otherwise 4 % in any field and
// 0.02 % in allowed; tokenBucket 24 % and 0.06 %; slidingWindow up to 1.2 % and none.
// The bounds are twice the larger one of that and what this traffic shows. A field
// may be off by one only. After a reply in which they do not agree on whether to
// admit, the twin goes on from the state of the doubles.
func TestDrift(t *testing.T) {
	rows := []struct {
		name         string
		params       func(r *rand.Rand) Params
		twin         func(Params) twin
		any, allowed float64 // at most, in %
	}{
		{"gcra, whole period/limit", func(r *rand.Rand) Params {
			limit := float64(1 + r.IntN(100))
			return gcraOf(limit, limit*float64(1+r.IntN(1000)), float64(1+r.IntN(50)))
		}, newExactGCRA, 0, 0},
		{"gcra, period/limit with a fraction", func(r *rand.Rand) Params {
			limit := float64(3 + r.IntN(100))
			period := limit*float64(1+r.IntN(1000)) + float64(1+r.IntN(int(limit)-1))
			return gcraOf(limit, period, float64(1+r.IntN(50)))
		}, newExactGCRA, 24, 0.04},
		{"tokenBucket", func(r *rand.Rand) Params {
			return bucketOf(float64(1+r.IntN(100)), float64(1+r.IntN(100)))
		}, newExactBucket, 48, 0.12},
		{"slidingWindow, 10 buckets", func(r *rand.Rand) Params {
			return slidingOf(float64(1+r.IntN(100)), float64(100+r.IntN(10_000)), 10)
		}, newExactRing, 2.5, 0.01},
		{"slidingWindow, 1 to 30 buckets", func(r *rand.Rand) Params {
			return slidingOf(float64(1+r.IntN(100)), float64(100+r.IntN(10_000)), 1+r.IntN(30))
		}, newExactRing, 2.5, 0.01},
	}
	keys := 40
	if testing.Short() {
		keys = 5
	}
	var table strings.Builder
	fmt.Fprintf(&table, "%-36s %8s %8s %8s  %s\n", "", "replies", "any", "allowed", "remaining, resetAt, retryAfter (most)")
	for _, row := range rows {
		r := rand.New(rand.NewPCG(4, uint64(len(row.name))))
		var d drift
		for range keys {
			p := row.params(r)
			unit := p.Period / p.Limit
			if p.Name == TokenBucket {
				unit = 1000 / p.RefillPerSec
			}
			d.run(must(t, p), unit, row.twin(p), r)
		}
		percent := func(n int) float64 { return 100 * float64(n) / float64(d.replies) }
		fmt.Fprintf(&table, "%-36s %8d %6.2f %% %6.3f %%  %.2f %% (%d), %.2f %% (%d), %.2f %% (%d)\n", row.name, d.replies, percent(d.any), percent(d.allowed),
			percent(d.remaining), d.mostLeft, percent(d.resetAt), d.mostAt, percent(d.retry), d.mostWait)
		if percent(d.any) > row.any || percent(d.allowed) > row.allowed {
			t.Errorf("%s: %.2f %% of the replies differ, %.3f %% in allowed; at most %v and %v may", row.name, percent(d.any), percent(d.allowed), row.any, row.allowed)
		}
		if d.mostLeft > 1 || d.mostAt > 1 || d.mostWait > 1 {
			t.Errorf("%s: fields are off by %d units, %d and %d ms", row.name, d.mostLeft, d.mostAt, d.mostWait)
		}
		if d.any == 0 && row.any > 0 && !testing.Short() {
			t.Errorf("%s: nothing differs, so nothing was tried", row.name)
		}
	}
	t.Log("doubles and rational numbers\n" + table.String())
}

// run sends 600 requests to one key that gets a new unit every so many ms: four
// times what it takes, as much as that, or less.
func (d *drift) run(st Strategy, unit float64, exact twin, r *rand.Rand) {
	s, now := State{}, int64(1_700_000_000_000)+r.Int64N(1e9)
	exact.follow(&State{past: &past{}}, now)
	gap := unit * []float64{1, 4, 10}[r.IntN(3)]
	for range 600 {
		now += r.Int64N(2 + int64(gap))
		cost := float64(1 + r.IntN(3))
		if r.IntN(20) == 0 {
			cost = float64(1 + r.IntN(int(st.Limit())+2))
		}
		if !d.count(st.Check(&s, now, cost), exact.check(now, cost)) {
			exact.follow(&s, now)
		}
	}
}
