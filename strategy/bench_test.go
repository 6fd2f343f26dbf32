package strategy

import (
	"testing"
	"unsafe"

	"github.com/tkcoord/tkcoord/escrow"
)

var benchmarks = []struct {
	name   string
	params Params
}{
	{"gcra", gcraOf(1000, 1000, 100)},
	{"gcra_fraction", gcraOf(7, 60000, 1000)},
	{"tokenBucket", bucketOf(100, 1000)},
	{"fixedWindow", fixedOf(1000, 1000)},
	{"slidingWindow", slidingOf(1000, 1000, 10)},
	{"slidingWindow_buckets=1000", slidingOf(1000, 1000, 1000)},
	{"slidingWindowLog", logOf(1000, 1000)},
	{"slidingWindowLog_limit=100000", logOf(100_000, 100_000)},
	{"quota_fixed", quotaOf(1000, escrow.Cadence{Kind: escrow.Fixed, Period: 1000, Anchor: 500})},
	{"quota_calendar-month", quotaOf(1e9, escrow.Cadence{Kind: escrow.CalendarMonth, OffsetMinutes: 60})},
	{"quota_rolling", rollingOf(1000, 1000, 10)},
}

// BenchmarkCheck is one request of cost 1 to one key in steady state, a ms after
// the one before; sliding states are full of buckets and stamps.
func BenchmarkCheck(b *testing.B) {
	for _, bb := range benchmarks {
		b.Run(bb.name, func(b *testing.B) {
			st, s, now := warm(b, bb.params)
			b.ReportAllocs()
			for b.Loop() {
				now++
				st.Check(&s, now, 1)
			}
		})
	}
}

// BenchmarkDeny is one request to a key that has nothing left.
func BenchmarkDeny(b *testing.B) {
	for _, bb := range benchmarks {
		b.Run(bb.name, func(b *testing.B) {
			st, s, now := warm(b, bb.params)
			b.ReportAllocs()
			for b.Loop() {
				st.Check(&s, now, MaxCost)
			}
		})
	}
}

func warm(tb testing.TB, p Params) (Strategy, State, int64) {
	st, s, now := must(tb, p), State{}, int64(1_700_000_000_000)
	for range 250_000 {
		now++
		st.Check(&s, now, 1)
	}
	return st, s, now
}

// TestAllocations: deciding allocates nothing once a key's past has its room.
func TestAllocations(t *testing.T) {
	for _, bb := range benchmarks {
		st, s, now := warm(t, bb.params)
		n := testing.AllocsPerRun(1000, func() {
			now++
			st.Check(&s, now, 1)
			st.Test(&s, now, 1)
			st.Check(&s, now, MaxCost)
			st.Peek(&s, now)
			st.Forecast(&s, now, 1)
		})
		if n != 0 {
			t.Errorf("%s: %v allocations", bb.name, n)
		}
	}
}

// TestStateIsSmall: a million keys of gcra take 40 MB, beside what names them.
func TestStateIsSmall(t *testing.T) {
	if n := unsafe.Sizeof(State{}); n > 40 {
		t.Errorf("a state takes %d bytes, want 40", n)
	}
}

// BenchmarkCodec writes and reads one state.
func BenchmarkCodec(b *testing.B) {
	for _, bb := range benchmarks {
		b.Run(bb.name, func(b *testing.B) {
			_, s, _ := warm(b, bb.params)
			var buf []byte
			b.ReportAllocs()
			for b.Loop() {
				buf = s.Append(buf[:0])
				if _, _, err := Decode(buf); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(buf)), "bytes")
		})
	}
}
