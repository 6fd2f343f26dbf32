package history

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Now reads the clock of all records.
func Now() Time {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(fmt.Sprintf("history: CLOCK_MONOTONIC cannot be read: %v", err)) // every Linux has it
	}
	return Time(ts.Nano())
}

// Add returns t after d.
func (t Time) Add(d time.Duration) Time { return t + Time(d) }

// Sub returns the span from u to t.
func (t Time) Sub(u Time) time.Duration { return time.Duration(t - u) }

// A WallPair is one reading of both clocks of the machine. Raft dates entries
// by the wall clock; pairs place them among the records.
type WallPair struct {
	Mono Time  `json:"mono"`
	Wall int64 `json:"wall"` // Unix nanoseconds
	// Within is how far Wall may be from what it was at Mono.
	Within time.Duration `json:"within"`
}

// PairNow reads both clocks, several times, and keeps the tightest pair.
func PairNow() WallPair {
	var best WallPair
	for i := range 8 {
		before := Now()
		wall := time.Now().UnixNano()
		after := Now()
		if p := (WallPair{before + (after-before)/2, wall, after.Sub(before)/2 + 1}); i == 0 || p.Within < best.Within {
			best = p
		}
	}
	return best
}

// A WallClock translates dates into records' time by pairs that were read
// during a run, oldest first.
type WallClock []WallPair

// At returns when the machine's wall clock showed wall. Between two pairs the
// machine's clocks are taken to run evenly, beyond them at the same rate.
func (w WallClock) At(wall int64) Time {
	if len(w) == 0 {
		return 0
	}
	i := 0
	for i+1 < len(w) && w[i+1].Wall <= wall {
		i++
	}
	from := w[i]
	d := wall - from.Wall
	if i+1 < len(w) && d > 0 {
		to := w[i+1]
		share := float64(d) / float64(to.Wall-from.Wall)
		return from.Mono + Time(share*float64(to.Mono-from.Mono))
	}
	return from.Mono + Time(d)
}

// Bend returns by how much the wall clock was set or slewed against the
// monotonic one between any two neighbouring pairs, at most. What At says is
// off by no more than that, and the pairs' own error.
func (w WallClock) Bend() time.Duration {
	var worst time.Duration
	for i := 1; i < len(w); i++ {
		d := time.Duration((w[i].Wall - w[i-1].Wall) - int64(w[i].Mono-w[i-1].Mono))
		worst = max(worst, d.Abs()+w[i].Within+w[i-1].Within)
	}
	return worst
}
