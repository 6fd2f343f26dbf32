package escrow

import (
	"strings"
	"testing"
	"time"

	"github.com/tkcoord/tkcoord/fsm/clock"
	"pgregory.net/rapid"
)

// TestCadencePublished holds the windows that the ThrottleKit contract publishes
// for its quotas, at 2024-02-29 23:30 UTC except for the fixed one.
func TestCadencePublished(t *testing.T) {
	const now = 1_709_249_400_000
	for _, tc := range []struct {
		name string
		c    Cadence
		now  Millis
		want Window
	}{
		{"calendar-month", Cadence{Kind: CalendarMonth}, now, Window{1_706_745_600_000, 1_709_251_200_000}},
		{"calendar-month, offset +60", Cadence{Kind: CalendarMonth, OffsetMinutes: 60}, now, Window{1_709_247_600_000, 1_711_926_000_000}},
		{"calendar-week", Cadence{Kind: CalendarWeek, WeekStart: 1}, now, Window{1_708_905_600_000, 1_709_510_400_000}},
		{"calendar-week, weekStartsOn 0", Cadence{Kind: CalendarWeek}, now, Window{1_708_819_200_000, 1_709_424_000_000}},
		{"calendar-day, offset -300", Cadence{Kind: CalendarDay, OffsetMinutes: -300}, now, Window{1_709_182_800_000, 1_709_269_200_000}},
		{"calendar-day, offset +330", Cadence{Kind: CalendarDay, OffsetMinutes: 330}, now, Window{1_709_231_400_000, 1_709_317_800_000}},
		{"fixed, period 7000, anchor 500", Cadence{Kind: Fixed, Period: 7000, Anchor: 500}, 1_700_000_000_000, Window{1_699_999_994_500, 1_700_000_001_500}},
		{"fixedWindow 60000", Cadence{Kind: Fixed, Period: 60_000}, 1_700_000_040_000 + 59_999, Window{1_700_000_040_000, 1_700_000_100_000}},
		{"fixedWindow 60000 at its end", Cadence{Kind: Fixed, Period: 60_000}, 1_700_000_100_000, Window{1_700_000_100_000, 1_700_000_160_000}},
		{"before an anchor to come", Cadence{Kind: Fixed, Period: 7000, Anchor: 500}, 499, Window{-6500, 500}},
		{"the first instant, east", Cadence{Kind: CalendarMonth, OffsetMinutes: 840}, 0, Window{-50_400_000, 2_628_000_000}},
		{"the first instant, west", Cadence{Kind: CalendarMonth, OffsetMinutes: -840}, 0, Window{-2_628_000_000, 50_400_000}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := tc.c.At(tc.now); got != tc.want {
				t.Errorf("At(%d) = %v, want %v", tc.now, got, tc.want)
			}
		})
	}
}

// drawCadence draws a valid cadence of one of the kinds.
func drawCadence(kinds ...Kind) *rapid.Generator[Cadence] {
	return rapid.Custom(func(t *rapid.T) Cadence {
		c := Cadence{Kind: rapid.SampledFrom(kinds).Draw(t, "kind")}
		if c.Kind == Fixed {
			longest := rapid.SampledFrom([]Millis{10, 100_000, MaxPeriod}).Draw(t, "longest")
			c.Period = Millis(rapid.Int64Range(1, int64(longest)).Draw(t, "period"))
			c.Anchor = Millis(rapid.Int64Range(-int64(longest), int64(longest)).Draw(t, "anchor"))
			return c
		}
		c.OffsetMinutes = rapid.Int32Range(-840, 840).Draw(t, "offset")
		if c.Kind == CalendarWeek {
			c.WeekStart = rapid.Int32Range(0, 6).Draw(t, "weekStart")
		}
		return c
	})
}

var (
	anyCadence = drawCadence(Fixed, CalendarDay, CalendarWeek, CalendarMonth)
	calendar   = drawCadence(CalendarDay, CalendarWeek, CalendarMonth)

	instant = rapid.OneOf( // 1970 to 2200, or anywhere
		rapid.Custom(func(t *rapid.T) Millis { return Millis(rapid.Int64Range(0, 7_258_118_400_000).Draw(t, "ms")) }),
		rapid.Custom(func(t *rapid.T) Millis { return Millis(rapid.Int64Range(0, int64(clock.MaxInstant)).Draw(t, "ms")) }),
	)
)

// dated is the calendar of the Go library, which says the same.
func dated(c Cadence, t Millis) Window {
	zone := time.FixedZone("", int(c.OffsetMinutes)*60)
	y, m, d := time.UnixMilli(int64(t)).In(zone).Date()
	months, days := 0, 1
	switch c.Kind {
	case CalendarMonth:
		d, months, days = 1, 1, 0
	case CalendarWeek:
		for time.Date(y, m, d, 0, 0, 0, 0, zone).Weekday() != time.Weekday(c.WeekStart) {
			d--
		}
		days = 7
	}
	start := time.Date(y, m, d, 0, 0, 0, 0, zone)
	return Window{Millis(start.UnixMilli()), Millis(start.AddDate(0, months, days).UnixMilli())}
}

func TestCadenceAgreesWithTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, at := calendar.Draw(t, "cadence"), instant.Draw(t, "instant")
		if got, want := c.At(at), dated(c, at); got != want {
			t.Fatalf("%+v.At(%d) = %v, want %v", c, at, got, want)
		}
	})
}

// TestCadenceEveryMonth visits every month boundary from 1970 to 2200, leap
// years of centuries among them, and the instants beside it.
func TestCadenceEveryMonth(t *testing.T) {
	c := Cadence{Kind: CalendarMonth}
	for start := time.Unix(0, 0).UTC(); start.Year() <= 2200; start = start.AddDate(0, 1, 0) {
		first := Millis(start.UnixMilli())
		want := Window{first, Millis(start.AddDate(0, 1, 0).UnixMilli())}
		for _, at := range []Millis{first, first + 1, want.End - 1} {
			if got := c.At(at); got != want {
				t.Fatalf("At(%d) = %v, want %v", at, got, want)
			}
		}
	}
}

// TestCadenceTiles: the windows of a cadence lie side by side, each instant is
// in one of them, and every instant of a window names the same one.
func TestCadenceTiles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, at := anyCadence.Draw(t, "cadence"), instant.Draw(t, "instant")
		w := c.At(at)
		if !w.Contains(at) {
			t.Fatalf("%+v.At(%d) = %v, which does not contain it", c, at, w)
		}
		inside := w.Start + Millis(rapid.Int64Range(0, int64(w.End-w.Start)-1).Draw(t, "inside"))
		for _, x := range []Millis{w.Start, inside, w.End - 1} {
			if got := c.At(x); got != w {
				t.Fatalf("%+v.At(%d) = %v, but At(%d) = %v", c, at, w, x, got)
			}
		}
		if next := c.At(w.End); next.Start != w.End {
			t.Fatalf("%+v: %v is followed by %v", c, w, next)
		}
		if before := c.At(w.Start - 1); before.End != w.Start {
			t.Fatalf("%+v: %v comes after %v", c, w, before)
		}
	})
}

// TestFollowing: whatever the cadence changes to and however far a step
// stretched a window, the windows of one budget never overlap, their starts
// grow, and each contains the instant that it was opened at.
func TestFollowing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, now := anyCadence.Draw(t, "cadence"), instant.Draw(t, "instant")
		w := c.Following(0, now)
		if aligned := c.At(now); w != (Window{max(aligned.Start, 0), aligned.End}) {
			t.Fatalf("%+v.Following(0, %d) = %v, want the aligned %v", c, now, w, aligned)
		}
		t.Repeat(map[string]func(*rapid.T){
			"change": func(t *rapid.T) { c = anyCadence.Draw(t, "cadence") },
			"stretch": func(t *rapid.T) {
				w.End += Millis(rapid.Int64Range(0, 100_000).Draw(t, "by"))
			},
			"open": func(t *rapid.T) {
				now = max(now, w.End) + Millis(rapid.Int64Range(0, 1_000_000).Draw(t, "idle"))
				if now > clock.MaxInstant {
					t.Skip("the end of time")
				}
				next := c.Following(w.End, now)
				if next.Start < w.End || next.Start <= w.Start || !next.Contains(now) {
					t.Fatalf("%+v.Following(%d, %d) = %v after %v", c, w.End, now, next, w)
				}
				if aligned := c.At(now); next.End != aligned.End || next.Start != max(aligned.Start, w.End) {
					t.Fatalf("%+v.Following(%d, %d) = %v, want the rest of %v", c, w.End, now, next, aligned)
				}
				w = next
			},
		})
	})
}

func TestCadenceValidate(t *testing.T) {
	for _, tc := range []struct {
		name string
		c    Cadence
		want string // what the error names, "" if valid
	}{
		{"shortest and farthest anchor", Cadence{Kind: Fixed, Period: 1, Anchor: -MaxPeriod}, ""},
		{"longest", Cadence{Kind: Fixed, Period: MaxPeriod, Anchor: MaxPeriod}, ""},
		{"no period", Cadence{Kind: Fixed}, "period 0 ms"},
		{"period too long", Cadence{Kind: Fixed, Period: MaxPeriod + 1}, "period 316224000001 ms"},
		{"anchor too far", Cadence{Kind: Fixed, Period: 1, Anchor: MaxPeriod + 1}, "anchor 316224000001 ms"},
		{"farthest west and Sunday", Cadence{Kind: CalendarWeek, OffsetMinutes: -840}, ""},
		{"farthest east and Saturday", Cadence{Kind: CalendarWeek, OffsetMinutes: 840, WeekStart: 6}, ""},
		{"too far east", Cadence{Kind: CalendarMonth, OffsetMinutes: 841}, "offset 841 minutes"},
		{"too far west", Cadence{Kind: CalendarDay, OffsetMinutes: -841}, "offset -841 minutes"},
		{"eighth day", Cadence{Kind: CalendarWeek, WeekStart: 7}, "first day of the week 7"},
		{"day before the first", Cadence{Kind: CalendarWeek, WeekStart: -1}, "first day of the week -1"},
		{"no kind", Cadence{}, "unknown cadence kind 0"},
		{"several", Cadence{Kind: CalendarWeek, OffsetMinutes: 900, WeekStart: 9}, "offset 900 minutes is outside [-840, 840]\nfirst day of the week 9"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := tc.c.Validate()
			if valid := tc.want == ""; valid != (err == nil) || !valid && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Validate() = %v, want an error with %q", err, tc.want)
			}
		})
	}
}
