package clock

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

func TestSourceRuns(t *testing.T) {
	const ms = NanosPerMilli
	var s Source
	check := func(what string, at Nanos, want Millis) {
		t.Helper()
		if got := s.At(at); got != want {
			t.Errorf("%s: At(%d) = %d, want %d", what, at, got, want)
		}
	}
	check("nothing seen", 500*ms, 0)
	s.Lead()
	check("leading, nothing seen", 500*ms, 0)
	s.Follow()
	s.Note(1000, 500*ms)
	check("a follower runs on", 507*ms, 1007)
	check("rounded down", 508*ms-1, 1007)
	check("a reading from before the pair", 400*ms, 1000)
	s.Note(1002, 510*ms)
	check("the newest pair, though it shows less", 510*ms, 1002)
	s.Lead()
	s.Note(1003, 520*ms)
	check("a leader's own entries come back late", 520*ms, 1012)
	s.Note(9000, 530*ms)
	check("a step carries it forward", 531*ms, 9001)
	s.Steer(1_000_000, 500, 1530*ms)
	check("steered fast, at first", 1530*ms, 10_000)
	check("steered fast", 1_001_530*ms, 1_010_500)
	s.Steer(-1_000_000, 500, 1_001_530*ms)
	check("steered slow", 2_001_530*ms, 2_010_000)
	s.Follow()
	check("a follower is not steered", 2_001_530*ms, 9000+2_001_000)
	s.Steer(100, 500, 2_001_530*ms)
	check("and cannot be", 2_001_530*ms, 9000+2_001_000)
}

// TestSourceSteersSmoothly: a change of the slew moves nothing when it happens,
// loses less than 2 ns, and never makes the clock lead the one there was.
func TestSourceSteersSmoothly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s Source
		at := Nanos(rapid.Int64Range(0, 1e15).Draw(t, "first"))
		s.Note(Millis(rapid.Int64Range(1, int64(MaxInstant)/2).Draw(t, "now")), at)
		s.Lead()
		span := rapid.OneOf(rapid.Int64Range(0, 3*NanosPerMilli), rapid.Int64Range(0, 1e15))
		for range rapid.IntRange(1, 20).Draw(t, "steers") {
			at += Nanos(span.Draw(t, "span"))
			total := func() Nanos {
				return Nanos(s.base.now)*NanosPerMilli + s.elapsed(at) - Nanos(s.newest.now)*NanosPerMilli
			}
			before, shown := total(), s.At(at)
			s.Steer(Millis(rapid.Int64().Draw(t, "lag")), PPM(rapid.Int64Range(0, int64(MaxRate)).Draw(t, "limit")), at)
			if lost := before - total(); lost < 0 || lost > 2 || s.At(at) != shown {
				t.Fatalf("Steer took %d ns and moved the clock from %d to %d", lost, shown, s.At(at))
			}
		}
	})
}

// TestSourceIgnoresOldReadings: a reading from before the newest steering must
// not move the start of the clock back, since it would then lead.
func TestSourceIgnoresOldReadings(t *testing.T) {
	var s Source
	s.Note(1000, 0)
	s.Lead()
	s.Steer(100, 100, 50*NanosPerMilli)
	s.Steer(0, 100, 10*NanosPerMilli)
	if got := s.At(60 * NanosPerMilli); got != 1060 {
		t.Errorf("At = %d, want 1060", got)
	}
}

// TestSourceRunsForCenturies: no product overflows.
func TestSourceRunsForCenturies(t *testing.T) {
	for _, slew := range []Millis{math.MinInt64, math.MaxInt64} {
		var s Source
		s.Note(0, 1)
		s.Lead()
		s.Steer(slew, MaxRate, 1)
		const year = 365 * 86_400_000
		got := s.At(math.MaxInt64/2 + 1)
		rate := int64(million) + int64(MaxRate)
		if slew < 0 {
			rate = million - int64(MaxRate)
		}
		if want := Millis(math.MaxInt64 / 2 / million * rate / NanosPerMilli); got < want-1 || got > want+1 || got < 90*year {
			t.Errorf("slew %d: At = %d, want about %d", slew, got, want)
		}
	}
}
