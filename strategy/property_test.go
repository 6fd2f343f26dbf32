package strategy

import (
	"bytes"
	"errors"
	"math"
	"testing"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"pgregory.net/rapid"
)

// drawParams draws parameters of any strategy; whole ones have whole numbers only,
// and with GCRA a whole period/limit, so that all arithmetic but that of
// TokenBucket and buckets is exact.
func drawParams(t *rapid.T, whole bool) Params {
	name := rapid.SampledFrom([]Name{GCRA, TokenBucket, FixedWindow, SlidingWindow, SlidingWindowLog, Quota}).Draw(t, "name")
	number := func(label string, highest int) float64 {
		n := float64(rapid.IntRange(1, highest).Draw(t, label))
		if !whole && rapid.Bool().Draw(t, "fraction") {
			n += rapid.Float64Range(0, 1).Draw(t, label+" fraction")
		}
		return n
	}
	p := Params{Name: name}
	if name != TokenBucket {
		p.Limit = number("limit", 30)
	}
	switch name {
	case GCRA:
		p.Period, p.Burst = number("period", 500), number("burst", 20)
		if whole {
			p.Period *= p.Limit
		}
	case TokenBucket:
		p.Capacity, p.RefillPerSec = number("capacity", 30), number("refillPerSec", 200)
	case FixedWindow, SlidingWindowLog:
		p.Period = number("period", 500)
	case SlidingWindow:
		p.Buckets = rapid.IntRange(1, 12).Draw(t, "buckets")
		p.Period = number("period", 40) * float64(p.Buckets)
	case Quota:
		drawQuota(t, &p, number)
	}
	return p
}

func drawQuota(t *rapid.T, p *Params, number func(string, int) float64) {
	kind := rapid.SampledFrom([]escrow.Kind{0, escrow.Fixed, escrow.CalendarDay, escrow.CalendarWeek, escrow.CalendarMonth}).Draw(t, "cadence")
	switch kind {
	case 0:
		p.Rolling, p.Buckets = true, rapid.IntRange(1, 12).Draw(t, "buckets")
		p.Period = number("period", 40) * float64(p.Buckets)
		return
	case escrow.Fixed:
		p.Cadence.Period = escrow.Millis(rapid.IntRange(1, 500).Draw(t, "period"))
		p.Cadence.Anchor = escrow.Millis(rapid.IntRange(-500, 500).Draw(t, "anchor"))
	default:
		p.Cadence.OffsetMinutes = rapid.Int32Range(-840, 840).Draw(t, "offsetMinutes")
	}
	if kind == escrow.CalendarWeek {
		p.Cadence.WeekStart = rapid.Int32Range(0, 6).Draw(t, "weekStartsOn")
	}
	p.Cadence.Kind = kind
}

// A traffic draws instants and costs that keep a key near its limit.
type traffic struct {
	now   int64
	reach int64 // the usual distance of two instants is up to this
	whole bool
}

func drawTraffic(t *rapid.T, p Params, whole bool) *traffic {
	start := rapid.SampledFrom([]int64{0, 1, 1000, 1_700_000_000_000, 1<<41 - 100, maxInstant - 1e6}).Draw(t, "start")
	reach := int64(50)
	if p.Cadence.Kind > escrow.Fixed {
		reach = 86_400_000
	}
	return &traffic{now: start, reach: reach, whole: whole}
}

// maxInstant is where instants end.
const maxInstant = int64(clock.MaxInstant)

func (f *traffic) step(t *rapid.T) (now int64, cost float64) {
	f.now += rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(0, f.reach), rapid.Int64Range(0, 20*f.reach)).Draw(t, "after")
	f.now = min(f.now, maxInstant)
	return f.now, f.cost(t)
}

func (f *traffic) cost(t *rapid.T) float64 {
	c := float64(rapid.OneOf(rapid.Just(1), rapid.IntRange(1, 5), rapid.IntRange(1, 40)).Draw(t, "cost"))
	if !f.whole && rapid.Bool().Draw(t, "fraction") {
		c -= rapid.Float64Range(0, 0.99).Draw(t, "less")
	}
	return c
}

// TestModel: every answer is that of the contract, in every field, while time does
// not run back; also of a state that was written and read in between.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawParams(t, false)
		st, err := New(p)
		if err != nil {
			t.Fatalf("New(%+v): %v", p, err)
		}
		m, s, f := newModel(p), State{}, drawTraffic(t, p, rapid.Bool().Draw(t, "whole costs"))
		for range rapid.IntRange(1, 40).Draw(t, "calls") {
			now, cost := f.step(t)
			if p.Name == GCRA && p.Period/p.Limit*cost < 1.0/16 {
				continue // see TestNothingIsFree
			}
			at, price := dbl(float64(now)), dbl(cost)
			if got, want := st.Peek(&s, now), m.peek(at); got != want {
				t.Fatalf("Peek(%d) = %+v, want %+v", now, got, want)
			}
			if got, want := st.Forecast(&s, now, cost), m.forecast(at, price); got != want {
				t.Fatalf("Forecast(%d, %v) = %+v, want %+v", now, cost, got, want)
			}
			before := s.Clone()
			dry := st.Test(&s, now, cost)
			if !bytes.Equal(s.Append(nil), before.Append(nil)) {
				t.Fatalf("Test(%d, %v) changed the state", now, cost)
			}
			got, want := st.Check(&s, now, cost), m.check(at, price)
			if got != want || dry != got {
				t.Fatalf("Check(%d, %v) = %+v, want %+v; Test = %+v", now, cost, got, want, dry)
			}
			if !got.Allowed && !bytes.Equal(s.Append(nil), before.Append(nil)) {
				t.Fatalf("a denied Check(%d, %v) changed the state", now, cost)
			}
			if got.Allowed {
				checkLeft(t, p, &s, now)
			}
			if rapid.IntRange(0, 4).Draw(t, "restore") == 0 {
				checkCodec(t, &s)
			}
		}
	})
}

// checkLeft: an admission at now leaves a state that has not expired, with a past
// that is no longer than it must be.
func checkLeft(t *rapid.T, p Params, s *State, now int64) {
	t.Helper()
	if s.Expires() <= now {
		t.Fatalf("an admission at %d leaves a state that expires at %d", now, s.Expires())
	}
	if s.past == nil {
		return
	}
	all := s.past.entries()
	switch oldest := all[0].at; {
	case p.Buckets > 0 && len(all) > p.Buckets+1:
		t.Fatalf("%d buckets of %d are kept", len(all), p.Buckets)
	case p.Buckets == 0 && float64(oldest) <= float64(now)-p.Period:
		t.Fatalf("a stamp of %d is kept at %d", oldest, now)
	}
}

// TestAnyTime: whatever the clock does, nothing is negative, a denial changes no
// bit, no more is admitted than at the last admission, states survive Append and
// Decode, and one that has expired answers like a cold one.
func TestAnyTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawParams(t, false)
		st, err := New(p)
		if err != nil {
			t.Fatalf("New(%+v): %v", p, err)
		}
		s, f, last := State{}, drawTraffic(t, p, false), int64(0)
		for range rapid.IntRange(1, 40).Draw(t, "calls") {
			now, cost := f.step(t)
			if rapid.IntRange(0, 3).Draw(t, "back") == 0 {
				now = max(0, now-rapid.Int64Range(0, 30*f.reach).Draw(t, "by"))
			}
			checkAnswers(t, st, &s, now, cost)
			later := s.Clone()
			admits := st.Check(&later, max(now, last), cost).Allowed
			before := s.Append(nil)
			switch d := st.Check(&s, now, cost); {
			case d.Allowed && !admits:
				t.Fatalf("Check(%d, %v) admits, which would not pass at the last admission %d", now, cost, last)
			case d.Allowed:
				last = max(last, now)
			case !bytes.Equal(before, s.Append(nil)):
				t.Fatalf("a denied Check(%d, %v) changed the state", now, cost)
			}
			checkCodec(t, &s)
			if cold := (State{}); s.Expires() > 0 && s.Expires() <= maxInstant {
				checkSame(t, st, &s, &cold, s.Expires(), cost)
				checkSame(t, st, &s, &cold, s.Expires()+rapid.Int64Range(0, 1000).Draw(t, "past"), cost)
			}
		}
	})
}

// checkAnswers: Check, Peek and Forecast give numbers that make sense together.
func checkAnswers(t *rapid.T, st Strategy, s *State, now int64, cost float64) {
	t.Helper()
	d, p, f := st.Test(s, now, cost), st.Peek(s, now), st.Forecast(s, now, cost)
	for _, x := range []Decision{d, p} {
		if x.Limit != int64(st.Limit()) || x.Remaining < 0 || x.Remaining > x.Limit || x.RetryAfter < 0 || x.Allowed && x.RetryAfter != 0 {
			t.Fatalf("at %d, cost %v: %+v", now, cost, x)
		}
	}
	if d.Allowed && d.Remaining > p.Remaining {
		t.Fatalf("at %d, cost %v: %d remaining before and %d after", now, cost, p.Remaining, d.Remaining)
	}
	if f.SpendableNow < 0 || f.NextReplenishAt < now || f.FullAt < now {
		t.Fatalf("Forecast(%d, %v) = %+v", now, cost, f)
	}
}

func checkCodec(t *rapid.T, s *State) {
	t.Helper()
	b := s.Append(nil)
	again, rest, err := Decode(append(bytes.Clone(b), 0xaa))
	if err != nil || len(rest) != 1 || rest[0] != 0xaa {
		t.Fatalf("Decode(%x) = %+v, %x, %v", b, again, rest, err)
	}
	if !bytes.Equal(again.Append(nil), b) || again.Expires() != s.Expires() {
		t.Fatalf("%+v was written as %x and read as %+v", s, b, again)
	}
	*s = again // what is read goes on
}

func checkSame(t *rapid.T, st Strategy, a, b *State, now int64, cost float64) {
	t.Helper()
	if x, y := st.Peek(a, now), st.Peek(b, now); x != y {
		t.Fatalf("Peek(%d) = %+v, cold %+v", now, x, y)
	}
	if x, y := st.Forecast(a, now, cost), st.Forecast(b, now, cost); x != y {
		t.Fatalf("Forecast(%d, %v) = %+v, cold %+v", now, cost, x, y)
	}
	p, q := a.Clone(), b.Clone()
	if x, y := st.Check(&p, now, cost), st.Check(&q, now, cost); x != y || x.Allowed && !bytes.Equal(p.Append(nil), q.Append(nil)) {
		t.Fatalf("Check(%d, %v) = %+v, cold %+v; then %x, cold %x", now, cost, x, y, p.Append(nil), q.Append(nil))
	}
}

// TestForecastHolds: what is spendable passes back to back, and not one more. Where
// doubles round, one request more or less is what may be off.
func TestForecastHolds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawParams(t, true)
		st, err := New(p)
		if err != nil {
			t.Fatalf("New(%+v): %v", p, err)
		}
		slack := int64(0)
		if p.Name == TokenBucket || p.Buckets > 0 {
			slack = 1
		}
		s, f := State{}, drawTraffic(t, p, true)
		for range rapid.IntRange(1, 20).Draw(t, "calls") {
			now, cost := f.step(t)
			spendable := st.Forecast(&s, now, cost).SpendableNow
			burst, passed := s.Clone(), int64(0)
			for passed <= spendable+slack && st.Check(&burst, now, cost).Allowed {
				passed++
			}
			if passed < spendable-slack || passed > spendable+slack {
				t.Fatalf("at %d %d of %v are spendable and %d passed", now, spendable, cost, passed)
			}
			st.Check(&s, now, cost)
		}
	})
}

// TestAdmittedIsBounded: the units admitted in any stretch of time are bounded as
// each strategy promises. Whole numbers, so the bounds are exact.
func TestAdmittedIsBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawParams(t, true)
		st, err := New(p)
		if err != nil {
			t.Fatalf("New(%+v): %v", p, err)
		}
		type admission struct {
			at    int64
			units float64
		}
		var all []admission
		s, f := State{}, drawTraffic(t, p, true)
		for range rapid.IntRange(1, 60).Draw(t, "calls") {
			now, cost := f.step(t)
			if st.Check(&s, now, cost).Allowed {
				all = append(all, admission{now, cost})
			}
			sum := 0.0
			for i := len(all) - 1; i >= 0; i-- { // every stretch that ends now
				sum += all[i].units
				if most, ok := bound(p, all[i].at, now); ok && sum > most {
					t.Fatalf("%v units were admitted in [%d, %d], at most %v may be", sum, all[i].at, now, most)
				}
			}
		}
	})
}

// bound is how much may be admitted from one instant to another, both included;
// not ok if there is no bound but the limit of every window.
func bound(p Params, from, to int64) (units float64, ok bool) {
	length := float64(to - from)
	window := func(t int64) float64 { return math.Floor(float64(t) / p.Period) }
	switch {
	case p.Name == GCRA:
		return math.Floor(length*p.Limit/p.Period) + p.Burst, true
	case p.Name == TokenBucket:
		return p.Capacity + length*p.RefillPerSec/1000 + 1e-6, true
	case p.Name == SlidingWindowLog:
		return p.Limit, length < p.Period
	case p.Buckets > 0: // S buckets in a row
		w := p.Period / float64(p.Buckets)
		return p.Limit, math.Floor(float64(to)/w)-math.Floor(float64(from)/w) < float64(p.Buckets)
	case p.Name == FixedWindow:
		return p.Limit, window(from) == window(to)
	}
	return p.Limit, p.Cadence.At(escrow.Millis(from)) == p.Cadence.At(escrow.Millis(to))
}

// TestOtherParameters: a state that other parameters of the same kind left is
// carried over and forgets no unit: what was just used cannot be used again. Buckets
// of equal length stay what they are.
func TestOtherParameters(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		old := Params{Name: SlidingWindow, Limit: 10, Period: float64(rapid.IntRange(100, 1000).Draw(t, "period")), Buckets: rapid.IntRange(1, 12).Draw(t, "buckets")}
		now := old
		now.Period, now.Buckets = float64(rapid.IntRange(100, 1000).Draw(t, "period then")), rapid.IntRange(1, 12).Draw(t, "buckets then")
		a, _ := New(old)
		b, _ := New(now)
		s, at, last := State{}, int64(1_700_000_000_000), int64(0)
		for range rapid.IntRange(1, 10).Draw(t, "calls") {
			at += rapid.Int64Range(0, 60).Draw(t, "after")
			if a.Check(&s, at, 1).Allowed {
				last = at
			}
		}
		used := 10 - a.Peek(&s, last).Remaining
		if left := b.Peek(&s, last).Remaining; left > 10-used && old.Period/float64(old.Buckets) != now.Period/float64(now.Buckets) {
			t.Fatalf("%d units were used, and %d of 10 are left with %+v", used, left, now)
		}
		before := b.Peek(&s, last)
		b.Check(&s, last, float64(before.Remaining+1))
		if got := b.Peek(&s, last); got != before {
			t.Fatalf("a denial changed %+v to %+v", before, got)
		}
		if before.Remaining > 0 {
			b.Check(&s, last, float64(before.Remaining))
			if got := b.Peek(&s, last); got.Allowed {
				t.Fatalf("all was used, and %+v", got)
			}
		}
		checkCodec(t, &s)
		if b.Peek(&s, s.Expires()) != b.Peek(&State{}, s.Expires()) {
			t.Fatal("the state never ends")
		}
	})
}

// TestOtherBuckets: units of other buckets leave with the one they were put into.
func TestOtherBuckets(t *testing.T) {
	const t0 = 1_700_000_000_000
	before, after, s := must(t, slidingOf(10, 100, 10)), must(t, slidingOf(10, 100, 1)), State{}
	before.Check(&s, t0+20, 3)
	before.Check(&s, t0+80, 3)
	for _, want := range []struct{ at, left int64 }{{80, 4}, {99, 4}, {100, 4}, {150, 7}, {175, 8}, {191, 10}} {
		if got := after.Peek(&s, t0+want.at).Remaining; got != want.left {
			t.Errorf("%d remaining after %d ms, want %d", got, want.at, want.left)
		}
	}
}

// TestOtherKind: a state of another kind is a cold key.
func TestOtherKind(t *testing.T) {
	const now = 1_700_000_000_000
	all := []Params{gcraOf(5, 1000, 5), bucketOf(5, 1), fixedOf(5, 1000), slidingOf(5, 1000, 10), logOf(5, 1000)}
	for i, p := range all {
		for j, q := range all {
			s, st := State{}, must(t, q)
			must(t, p).Check(&s, now, 5)
			if got, want := st.Peek(&s, now).Allowed, i != j; got != want {
				t.Errorf("%s after all of %s was used: allowed %t, want %t", q.Name, p.Name, got, want)
			}
			if st.Check(&s, now, 5); st.Peek(&s, now).Allowed {
				t.Errorf("%s after %s: all was used, and more is there", q.Name, p.Name)
			}
		}
	}
}

// TestNoCost: what is no cost is denied and changes nothing, and what is not spent
// on is not spendable.
func TestNoCost(t *testing.T) {
	for _, p := range []Params{gcraOf(5, 1000, 5), bucketOf(5, 1), fixedOf(5, 1000), slidingOf(5, 1000, 10), logOf(5, 1000)} {
		st := must(t, p)
		for _, cost := range []float64{0, -1, math.Copysign(0, -1), math.NaN(), math.Inf(1), math.Inf(-1), MaxCost + 1, math.MaxFloat64} {
			s := State{}
			if d := st.Check(&s, 1000, cost); d != (Decision{Limit: 5}) || s != (State{}) {
				t.Errorf("%s: Check of %v = %+v, %+v", p.Name, cost, d, s)
			}
			if f := st.Forecast(&s, 1000, cost); f.SpendableNow != 0 || f.NextReplenishAt < 1000 {
				t.Errorf("%s: Forecast of %v = %+v", p.Name, cost, f)
			}
			if err := CheckCost(cost); err == nil {
				t.Errorf("CheckCost(%v) = nil", cost)
			}
		}
		if d := st.Check(&State{}, 1000, MaxCost); d.Allowed || d.ResetAt == 0 {
			t.Errorf("%s: Check of the largest cost = %+v", p.Name, d)
		}
	}
	if err := errors.Join(CheckCost(1), CheckCost(MaxCost), CheckCost(5e-324)); err != nil {
		t.Error(err)
	}
}

// TestInstants: instants outside of [0, MaxInstant] are the nearest one inside.
func TestInstants(t *testing.T) {
	for _, p := range []Params{gcraOf(5, 1000, 5), bucketOf(5, 1), fixedOf(5, 1000), slidingOf(5, 1000, 10), logOf(5, 1000), quotaOf(5, escrow.Cadence{Kind: escrow.CalendarMonth})} {
		st := must(t, p)
		for _, now := range []int64{math.MinInt64, -1, maxInstant + 1, math.MaxInt64} {
			in := min(max(now, 0), maxInstant)
			var s, want State
			if x, y := st.Check(&s, now, 2), st.Check(&want, in, 2); x != y || !bytes.Equal(s.Append(nil), want.Append(nil)) {
				t.Errorf("%s: Check(%d) = %+v, at %d %+v", p.Name, now, x, in, y)
			}
			if x, y := st.Peek(&s, now), st.Peek(&s, in); x != y {
				t.Errorf("%s: Peek(%d) = %+v, at %d %+v", p.Name, now, x, in, y)
			}
			if x, y := st.Forecast(&s, now, 2), st.Forecast(&s, in, 2); x != y {
				t.Errorf("%s: Forecast(%d) = %+v, at %d %+v", p.Name, now, x, in, y)
			}
		}
	}
}

// TestNothingIsFree: a cost that the doubles of gcra's instants would swallow is
// charged all the same.
func TestNothingIsFree(t *testing.T) {
	const now = 1_700_000_000_000
	g, s, passed := must(t, gcraOf(1e12, 1000, 1000)), State{}, 0
	for passed < 1000 && g.Check(&s, now, 1).Allowed {
		passed++
	}
	if passed == 1000 {
		t.Errorf("%d units of a burst of 1000 that lasts %v ms passed without end", passed, 1000*1e-9)
	}
}
