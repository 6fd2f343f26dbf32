package netfault

import (
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// arrived is what came out of a line, and when.
type arrived struct {
	number byte
	after  time.Duration
}

// carry sends count numbered packets at the given interval through a line under
// an effect, and returns what arrived. It must run in a bubble.
func carry(e Effect, count int, every time.Duration) ([]arrived, Counts) {
	table := NewTable()
	table.Add(onAll(e))
	link := table.Link(Flow{"a", "b", Raft})
	began := time.Now()
	var got []arrived
	l := newLine(link, linkRand(1, link.Flow()), func(p []byte) { got = append(got, arrived{p[0], time.Since(began)}) })
	buf := make([]byte, 100)
	for i := range count {
		buf[0] = byte(i)
		l.send(buf)
		time.Sleep(every)
	}
	time.Sleep(time.Minute)
	l.close()
	return got, link.Counts()
}

func numbers(as []arrived) []byte {
	out := make([]byte, len(as))
	for i, a := range as {
		out[i] = a.number
	}
	return out
}

func TestLineDelays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got, _ := carry(Effect{Delay: 40 * time.Millisecond}, 3, 10*time.Millisecond)
		want := []arrived{{0, 40 * time.Millisecond}, {1, 50 * time.Millisecond}, {2, 60 * time.Millisecond}}
		if !slices.Equal(got, want) {
			t.Errorf("arrived %v, want %v", got, want)
		}
	})
}

func TestLineJitterOvertakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got, _ := carry(Effect{Delay: 10 * time.Millisecond, Jitter: 20 * time.Millisecond}, 200, time.Millisecond)
		if len(got) != 200 || slices.IsSorted(numbers(got)) {
			t.Errorf("%d of 200 packets, in order: %t", len(got), slices.IsSorted(numbers(got)))
		}
		for _, a := range got {
			if late := a.after - time.Duration(a.number)*time.Millisecond; late < 10*time.Millisecond || late >= 30*time.Millisecond {
				t.Errorf("packet %d was %v late, want 10 to 30 ms", a.number, late)
			}
		}
	})
}

func TestLineLosesAndDoubles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const sent = 20_000
		for _, tt := range []struct {
			name   string
			effect Effect
			want   int
		}{
			{"perfect", Effect{}, sent},
			{"loss", Effect{Loss: 0.2}, sent * 8 / 10},
			{"duplication", Effect{Duplicate: 0.25}, sent * 5 / 4},
			{"both", Effect{Loss: 0.5, Duplicate: 1}, sent},
			{"cut", Effect{Cut: true}, 0},
		} {
			got, counts := carry(tt.effect, sent, 0)
			if off := len(got) - tt.want; off < -sent/50 || off > sent/50 {
				t.Errorf("%s: %d of %d packets arrived, want about %d", tt.name, len(got), sent, tt.want)
			}
			if counts.Passed != int64(len(got)) || counts.Passed != sent-counts.Dropped+counts.Duplicated {
				t.Errorf("%s: %d arrived, counted %+v", tt.name, len(got), counts)
			}
		}
	})
}

func TestLineReorders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got, counts := carry(Effect{Reorder: 0.2, Behind: 5 * time.Millisecond}, 200, time.Millisecond)
		if len(got) != 200 || slices.IsSorted(numbers(got)) {
			t.Fatalf("%d of 200 packets, in order: %t", len(got), slices.IsSorted(numbers(got)))
		}
		for _, a := range got {
			if late := a.after - time.Duration(a.number)*time.Millisecond; late != 0 && late != 5*time.Millisecond {
				t.Errorf("packet %d was %v late, want 0 or 5ms", a.number, late)
			}
		}
		if counts.Delayed < 20 || counts.Delayed > 60 {
			t.Errorf("%d of 200 packets held back, want about 40", counts.Delayed)
		}
	})
}

func TestLineCapacity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got, _ := carry(Effect{BytesPerSecond: 1000}, 50, 0) // of 100 bytes each
		if len(got) != 50 || got[49].after != 5*time.Second {
			t.Errorf("%d packets, the last after %v, want 50 in 5s", len(got), got[len(got)-1].after)
		}
		got, counts := carry(Effect{BytesPerSecond: 100_000}, maxQueue+500, 0)
		if len(got) != maxQueue || counts.Dropped != 500 {
			t.Errorf("%d arrived and %d were lost, want a queue of %d", len(got), counts.Dropped, maxQueue)
		}
	})
}

func TestLineCutLosesWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := NewTable()
		table.Add(onAll(Effect{Delay: time.Second}))
		link := table.Link(Flow{"a", "b", Raft})
		var arrived atomic.Int64
		l := newLine(link, linkRand(1, link.Flow()), func([]byte) { arrived.Add(1) })
		defer l.close()
		l.send([]byte{1})
		uncut := table.Add(onAll(Effect{Cut: true}))
		time.Sleep(2 * time.Second)
		uncut()
		l.send([]byte{2})
		time.Sleep(2 * time.Second)
		if c := link.Counts(); arrived.Load() != 1 || c.Dropped != 1 {
			t.Errorf("%d arrived, %+v, want one lost and one delivered", arrived.Load(), c)
		}
	})
}
