package clock

import (
	"math/big"
	"testing"

	"pgregory.net/rapid"
)

func drawRates(t *rapid.T) Rates {
	ppm := rapid.OneOf(rapid.Int64Range(0, 1000), rapid.Int64Range(0, int64(MaxRate)))
	return Rates{Drift: PPM(ppm.Draw(t, "drift")), Slew: PPM(ppm.Draw(t, "slew"))}
}

// exactGuard is (1−ρ)·ttl / ((1+σ)(1+ρ)) in nanoseconds.
func exactGuard(r Rates, ttl Millis) *big.Rat {
	g := big.NewRat(million-int64(r.Drift), million+int64(r.Drift))
	g.Mul(g, big.NewRat(million, million+int64(r.Slew)))
	return g.Mul(g, new(big.Rat).SetInt64(int64(ttl)*NanosPerMilli))
}

// TestGuardedIsExact: never longer than the formula allows, and short of it by
// less than 2 ns.
func TestGuardedIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRates(t)
		if err := r.Validate(); err != nil {
			t.Fatal(err)
		}
		ttl := Millis(rapid.OneOf(rapid.Int64Range(1, 100), rapid.Int64Range(1, int64(maxGuarded))).Draw(t, "ttl"))
		got, exact := r.Guarded(ttl), exactGuard(r, ttl)
		short := new(big.Rat).Sub(exact, new(big.Rat).SetInt64(int64(got)))
		if short.Sign() < 0 || short.Cmp(big.NewRat(2, 1)) >= 0 {
			t.Fatalf("Guarded(%d) = %d ns, exact is %s", ttl, got, exact.FloatString(3))
		}
	})
}

func TestGuarded(t *testing.T) {
	for _, tc := range []struct {
		name  string
		rates Rates
		ttl   Millis
		want  Nanos
	}{
		{"perfect clocks", Rates{}, 30_000, 30_000 * NanosPerMilli},
		{"default rates keep 99.85 %", DefaultRates(), 30_000, 29_955_037_473},
		{"nothing left", DefaultRates(), 0, 0},
		{"less than nothing", DefaultRates(), -5, 0},
		{"longer than a lease may be", Rates{}, MaxInstant, Nanos(maxGuarded) * NanosPerMilli},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := tc.rates.Guarded(tc.ttl); got != tc.want {
				t.Errorf("Guarded(%d) = %d, want %d", tc.ttl, got, tc.want)
			}
		})
	}
}

func TestRatesValidate(t *testing.T) {
	for _, tc := range []struct {
		rates Rates
		ok    bool
	}{
		{DefaultRates(), true},
		{Rates{}, true},
		{Rates{Drift: MaxRate, Slew: MaxRate}, true},
		{Rates{Drift: MaxRate + 1}, false},
		{Rates{Slew: MaxRate + 1}, false},
		{Rates{Drift: -1}, false},
		{Rates{Slew: -1}, false},
	} {
		if err := tc.rates.Validate(); (err == nil) != tc.ok {
			t.Errorf("%+v: Validate() = %v, want ok %v", tc.rates, err, tc.ok)
		}
	}
}

func TestStretch(t *testing.T) {
	for _, tc := range []struct {
		name                        string
		end, before, after, longest Millis
		want                        Millis
	}{
		{"what was left lives on", 1000, 900, 5000, 30_000, 5100},
		{"no more than the longest lease", 1_000_000, 0, 5_000_000, 30_000, 5_030_000},
		{"a long window goes on anyway", 1_000_000, 0, 5000, 30_000, 1_000_000},
		{"a window that is over", 1000, 1000, 5000, 30_000, 1000},
		{"long over", 1000, 4000, 5000, 30_000, 1000},
		{"a small step in mid-window", 1000, 400, 401, 30_000, 1001},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := Stretch(tc.end, tc.before, tc.after, tc.longest); got != tc.want {
				t.Errorf("Stretch(%d, %d, %d, %d) = %d, want %d", tc.end, tc.before, tc.after, tc.longest, got, tc.want)
			}
		})
	}
}

// TestStretchKeepsLeases: a lease that was granted before a step for at most
// longest, and no further than the window's end, fits into what the window has
// left after the step. So it does over several steps.
func TestStretchKeepsLeases(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		span := rapid.Int64Range(0, 100_000)
		longest := Millis(span.Draw(t, "longest") + 1)
		now := Millis(span.Draw(t, "now"))
		end := now + Millis(span.Draw(t, "left")+1)
		left := min(end-now, longest) // of the lease, on the owner's clock
		for range rapid.IntRange(1, 3).Draw(t, "steps") {
			run := min(Millis(span.Draw(t, "run")), left)
			now, left = now+run, left-run
			to := now + Millis(span.Draw(t, "step"))
			stretched := Stretch(end, now, to, longest)
			if stretched < end || stretched > max(end, to+longest) {
				t.Fatalf("Stretch(%d, %d, %d, %d) = %d", end, now, to, longest, stretched)
			}
			now, end = to, stretched
			if left > 0 && end-now < left {
				t.Fatalf("the lease has %d left, the window %d", left, end-now)
			}
		}
	})
}
