package seam

import (
	"math/big"
	"testing"
	"time"

	"github.com/tkcoord/tkcoord/fsm/clock"
	"pgregory.net/rapid"
)

// A machineClock is set by hand.
type machineClock struct{ at time.Time }

func (m *machineClock) now() time.Time { return m.at }

func TestMonotonicIsContinuous(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &machineClock{time.Unix(1_800_000_000, 0)}
		c := newClocks(m.now)
		var rate int64
		t.Repeat(map[string]func(*rapid.T){
			"pass": func(t *rapid.T) {
				before, span := c.Monotonic(), rapid.Int64Range(0, int64(24*time.Hour)).Draw(t, "span")
				m.at = m.at.Add(time.Duration(span))
				moved := int64(c.Monotonic() - before)
				want := new(big.Int).Mul(big.NewInt(span), big.NewInt(1_000_000+rate))
				want.Div(want, big.NewInt(1_000_000))
				if moved < 0 || abs(moved-want.Int64()) > 2 {
					t.Fatalf("in %d ns at %d ppm the clock moved %d ns, want %d", span, rate, moved, want)
				}
			},
			"change": func(t *rapid.T) {
				before := c.Monotonic()
				rate = rapid.Int64Range(leastMonotonicRate, mostRate).Draw(t, "rate")
				c.follow(Faults{MonotonicRatePPM: rate, WallOffsetMS: rapid.Int64Range(-1e9, 1e9).Draw(t, "offset")})
				if got := c.Monotonic(); got != before {
					t.Fatalf("a change of rate moved the clock from %d to %d", before, got)
				}
			},
		})
	})
}

func abs(x int64) int64 { return max(x, -x) }

func TestMonotonicRate(t *testing.T) {
	m := &machineClock{time.Unix(1_800_000_000, 0)}
	c := newClocks(m.now)
	c.follow(Faults{MonotonicRatePPM: 500})
	m.at = m.at.Add(time.Hour)
	if got, want := c.Monotonic(), clock.Nanos(time.Hour+1800*time.Millisecond); got != want {
		t.Errorf("an hour at +500 ppm took %d ns, want %d", got, want)
	}
	c.follow(Faults{MonotonicRatePPM: -500})
	m.at = m.at.Add(time.Hour)
	if got, want := c.Monotonic(), clock.Nanos(2*time.Hour); got != want {
		t.Errorf("an hour fast and an hour slow took %d ns, want %d", got, want)
	}
}

func TestWall(t *testing.T) {
	const start = 1_800_000_000_000 // an even number of periods of 100 ms
	for _, tt := range []struct {
		name   string
		faults Faults
		after  time.Duration
		want   clock.Millis // relative to the start
	}{
		{"healthy", Faults{}, time.Second, 1000},
		{"ahead", Faults{WallOffsetMS: 5000}, time.Second, 6000},
		{"behind", Faults{WallOffsetMS: -5000}, time.Second, -4000},
		{"before 1970", Faults{WallOffsetMS: -2 * start}, time.Second, -start},
		{"fast", Faults{WallRatePPM: 100_000}, time.Second, 1100},
		{"backwards", Faults{WallRatePPM: -2_000_000}, time.Second, -1000},
		{"strobe, first period", Faults{WallStrobeMS: 300, WallStrobePeriodMS: 100}, 99 * time.Millisecond, 99},
		{"strobe, second period", Faults{WallStrobeMS: 300, WallStrobePeriodMS: 100}, 100 * time.Millisecond, 400},
		{"strobe, third period", Faults{WallStrobeMS: 300, WallStrobePeriodMS: 100}, 200 * time.Millisecond, 200},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := &machineClock{time.UnixMilli(start)}
			c := newClocks(m.now)
			c.follow(tt.faults)
			m.at = m.at.Add(tt.after)
			if got := c.Wall() - start; got != tt.want {
				t.Errorf("%v after the start the wall clock shows %d ms, want %d", tt.after, got, tt.want)
			}
		})
	}
}

func TestWallDriftEndsWithItsRate(t *testing.T) {
	m := &machineClock{time.UnixMilli(1_800_000_000_000)}
	c := newClocks(m.now)
	c.follow(Faults{WallRatePPM: 1_000_000})
	m.at = m.at.Add(time.Second)
	c.follow(Faults{WallRatePPM: -500_000})
	if got := c.Wall() - clock.Millis(m.at.UnixMilli()); got != 1000 {
		t.Errorf("another rate moved the clock: %d ms off, want 1000", got)
	}
	m.at = m.at.Add(time.Second)
	if got := c.Wall() - clock.Millis(m.at.UnixMilli()); got != 500 {
		t.Errorf("%d ms off, want 500", got)
	}
	c.follow(Faults{})
	if got := c.Wall() - clock.Millis(m.at.UnixMilli()); got != 0 {
		t.Errorf("%d ms off after the fault, want 0", got)
	}
}
