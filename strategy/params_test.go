package strategy

import (
	"math"
	"strings"
	"testing"

	"github.com/tkcoord/tkcoord/escrow"
)

func TestValidate(t *testing.T) {
	with := func(p Params, change func(*Params)) Params {
		change(&p)
		return p
	}
	g, b, f, s, l := gcraOf(10, 1000, 10), bucketOf(10, 5), fixedOf(10, 1000), slidingOf(10, 1000, 10), logOf(10, 1000)
	day := quotaOf(10, escrow.Cadence{Kind: escrow.CalendarDay})
	for _, tt := range []struct {
		params Params
		want   string // "" is none
	}{
		{g, ""}, {b, ""}, {f, ""}, {s, ""}, {l, ""}, {day, ""}, {rollingOf(10, 1000, 10), ""},
		{gcraOf(MaxNumber, 1e-3, 1), ""},
		{fixedOf(0.5, MinSpan), ""},
		{slidingOf(1, MaxBuckets*MinSpan, MaxBuckets), ""},
		{logOf(MaxNumber, MaxStamps), ""}, {logOf(MaxStamps, MaxNumber), ""},
		{bucketOf(MaxNumber, 1000), ""},
		{quotaOf(10, escrow.Cadence{Kind: escrow.Fixed, Period: 1, Anchor: -1}), ""},

		{Params{}, `strategy "": must be gcra, tokenBucket, fixedWindow, slidingWindow, slidingWindowLog or quota`},
		{Params{Name: "leakyBucket"}, `strategy "leakyBucket": must be`},
		{with(g, func(p *Params) { p.Limit = 0 }), "limit 0: must be above 0 and at most 9007199254740991"},
		{with(f, func(p *Params) { p.Limit = -1 }), "limit -1: must be above 0"},
		{with(s, func(p *Params) { p.Limit = math.NaN() }), "limit NaN: must be above 0"},
		{with(l, func(p *Params) { p.Limit = math.Inf(1) }), "limit +Inf: must be above 0"},
		{with(day, func(p *Params) { p.Limit = MaxNumber + 1 }), "limit 9.007199254740992e+15: must be above 0"},
		{with(g, func(p *Params) { p.Period = 0 }), "period 0: must be above 0"},
		{with(f, func(p *Params) { p.Period = 0.03 }), "period 0.03: must be in [0.03125, 9007199254740991]"},
		{with(f, func(p *Params) { p.Period = math.NaN() }), "period NaN: must be in"},
		{with(g, func(p *Params) { p.Burst = 0.5 }), "burst 0.5: must be in [1, 9007199254740991]"},
		{with(b, func(p *Params) { p.Capacity = 0 }), "capacity 0: must be above 0"},
		{with(b, func(p *Params) { p.RefillPerSec = -5 }), "refillPerSec -5: must be above 0"},
		{with(s, func(p *Params) { p.Buckets = 0 }), "buckets 0: must be in [1, 100000]"},
		{with(s, func(p *Params) { p.Buckets = MaxBuckets + 1 }), "buckets 100001: must be in [1, 100000]"},

		{gcraOf(0.01, MaxNumber, 1), "limit 0.01: period/limit is 9.007199254740991e+17 ms, must be above 0 and at most"},
		{gcraOf(10, 5e-324, 1), "limit 10: period/limit is 0 ms, must be above 0"},
		{gcraOf(1, MaxNumber, 2), "burst 2: burst*period/limit is 1.8014398509481982e+16 ms, must be at most 9007199254740991"},
		{bucketOf(MaxNumber, 999), "refillPerSec 999: a capacity of 9.007199254740991e+15 fills in"},
		{bucketOf(1, 5e-324), "refillPerSec 5e-324: a capacity of 1 fills in +Inf ms"},
		{slidingOf(1, 1, 100), "buckets 100: period/buckets is 0.01 ms, must be at least 0.03125"},
		{logOf(MaxStamps+1, MaxStamps+1), "limit 1.048577e+06: the smaller one of limit and period in ms is what a log may hold, must be at most 1048576"},

		{with(f, func(p *Params) { p.Burst = 3 }), "burst 3: fixedWindow has none"},
		{with(b, func(p *Params) { p.Limit = 3 }), "limit 3: tokenBucket has none"},
		{with(g, func(p *Params) { p.Buckets = 3 }), "buckets 3: gcra has none"},
		{with(day, func(p *Params) { p.Period = 3 }), "period 3: quota has none"},
		{with(g, func(p *Params) { p.Cadence = day.Cadence }), "resetCadence calendar-day: gcra has none"},
		{with(rollingOf(10, 1000, 10), func(p *Params) { p.Cadence = day.Cadence }), "resetCadence calendar-day: a rolling quota has none"},
		{with(s, func(p *Params) { p.Rolling = true }), "resetCadence rolling: only a quota has one, not slidingWindow"},

		{quotaOf(10, escrow.Cadence{}), "resetCadence: a quota needs calendar-month, calendar-week, calendar-day, fixed or rolling"},
		{quotaOf(10, escrow.Cadence{Kind: 9}), "resetCadence: unknown cadence kind 9"},
		{quotaOf(10, escrow.Cadence{Kind: escrow.Fixed}), "period 0: must be in [1, 316224000000]"},
		{quotaOf(10, escrow.Cadence{Kind: escrow.Fixed, Period: 1, Anchor: 1e15}), "anchor 1000000000000000: must be in"},
		{quotaOf(10, escrow.Cadence{Kind: escrow.CalendarDay, OffsetMinutes: 841}), "offsetMinutes 841: must be in [-840, 840]"},
		{quotaOf(10, escrow.Cadence{Kind: escrow.CalendarWeek, WeekStart: 7}), "weekStartsOn 7: must be in [0, 6]"},
	} {
		err := tt.params.Validate()
		st, newErr := New(tt.params)
		switch {
		case (err == nil) != (newErr == nil) || (st == nil) != (err != nil):
			t.Errorf("%+v: Validate = %v, New = %v, %v", tt.params, err, st, newErr)
		case tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.HasPrefix(err.Error(), tt.want)):
			t.Errorf("%+v: %v, want %q", tt.params, err, tt.want)
		}
	}
}

// TestValidateAll: all that is wrong is reported at once.
func TestValidateAll(t *testing.T) {
	err := Params{Name: SlidingWindow, Limit: -1, Burst: 2, Rolling: true}.Validate()
	if got, want := strings.Count(err.Error(), "\n"), 4; got != want {
		t.Errorf("%v\nhas %d lines, want %d", err, got+1, want+1)
	}
}

func TestDescription(t *testing.T) {
	for _, tt := range []struct {
		params        Params
		limit, window float64
	}{
		{gcraOf(10, 1000, 20), 20, 1000},
		{bucketOf(10, 3), 10, 3334},
		{fixedOf(2.5, 333.3), 2.5, 333.3},
		{slidingOf(10, 1000, 7), 10, 1000},
		{logOf(10, 1000), 10, 1000},
		{rollingOf(10, 1000, 7), 10, 1000},
		{quotaOf(10, escrow.Cadence{Kind: escrow.Fixed, Period: 7000}), 10, 7000},
		{quotaOf(10, escrow.Cadence{Kind: escrow.CalendarMonth}), 10, 0},
	} {
		st := must(t, tt.params)
		if st.Name() != tt.params.Name || st.Limit() != tt.limit || st.Window() != tt.window {
			t.Errorf("%+v: %s, limit %v, window %v; want %v and %v", tt.params, st.Name(), st.Limit(), st.Window(), tt.limit, tt.window)
		}
	}
}

// TestWhole: doubles that do not fit become the nearest integer that does, on every
// machine.
func TestWhole(t *testing.T) {
	for _, tt := range []struct {
		x    float64
		want int64
	}{
		{0, 0}, {1.9, 1}, {-1.9, -1}, {1 << 53, 1 << 53}, {math.MaxFloat64, math.MaxInt64}, {math.Inf(1), math.MaxInt64},
		{1 << 63, math.MaxInt64}, {-1 << 63, math.MinInt64}, {-math.MaxFloat64, math.MinInt64}, {math.NaN(), 0},
		{math.Nextafter(1<<63, 0), 1<<63 - 1024},
	} {
		if got := whole(tt.x); got != tt.want {
			t.Errorf("whole(%v) = %d, want %d", tt.x, got, tt.want)
		}
	}
}
