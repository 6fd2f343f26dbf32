package transport

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm/clock"
)

var testCadence = escrow.Cadence{Kind: escrow.Fixed, Period: 1000}

// A testClock is a cluster clock over clocks that the test sets.
type testClock struct {
	*ClusterClock
	mono, wall atomic.Int64 // ns, ms
}

func newTestClock() *testClock {
	c := &testClock{}
	c.ClusterClock = NewClusterClock(Clocks{
		Monotonic: func() clock.Nanos { return clock.Nanos(c.mono.Load()) },
		Wall:      func() clock.Millis { return clock.Millis(c.wall.Load()) },
	}, clock.DefaultRates())
	return c
}

// pass lets real time go by.
func (c *testClock) pass(ms clock.Millis) {
	c.mono.Add(int64(ms) * clock.NanosPerMilli)
	c.wall.Add(int64(ms))
}

// A leader that handed out stamps which were never committed, lost leadership to
// a node whose clock lags, and leads again, continues from that node's clock. If
// it went on from its own last stamp, the clock would outrun real time: edges
// that asked the other leader would spend credits of a window that has ended.
func TestClockForgetsStampsOfAnEarlierTerm(t *testing.T) {
	c := newTestClock()
	c.Note(10_000)
	c.Lead()
	c.pass(1000)
	if got := c.Stamp(); got != 11_000 {
		t.Fatalf("Stamp = %d, want 11000", got)
	}
	c.Follow()
	c.pass(10)
	c.Note(10_700) // by a leader that was late by 310 ms
	c.pass(10)
	c.Lead()
	if got := c.Stamp(); got != 10_710 {
		t.Errorf("Stamp = %d, want 10710: 10 ms after 10700", got)
	}
	c.pass(5)
	if got := c.Stamp(); got != 10_715 {
		t.Errorf("Stamp = %d, want 10715", got)
	}
}

// steering runs the leader's steering in a bubble. The median wall clock is this
// process's, and a step is applied at once unless failing says otherwise.
func steering(t *testing.T, f func(c *testClock, run func(time.Duration), did *steered)) {
	synctest.Test(t, func(t *testing.T) {
		c, did := newTestClock(), &steered{}
		c.Note(1_000_000)
		c.Lead()
		c.wall.Store(1_000_000)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- c.steer(ctx, time.Second,
				func() (clock.Millis, bool) { return c.WallOffset(), !did.silent.Load() },
				did.idle.Load,
				func(_ context.Context, to clock.Millis) {
					did.steps.Add(1)
					if !did.failing.Load() {
						c.Note(to)
					}
				},
				func(ahead clock.Millis) { did.ahead.Store(int64(ahead)) })
		}()
		synctest.Wait()
		f(c, func(d time.Duration) {
			for range d / time.Second {
				c.pass(1000)
				time.Sleep(time.Second)
				synctest.Wait()
			}
		}, did)
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("steer = %v", err)
		}
	})
}

// steered is what the steering did, and how it is to fare.
type steered struct {
	steps, ahead    atomic.Int64
	silent, failing atomic.Bool // no majority answers; steps fail
	idle            atomic.Bool // nothing is held
}

func TestSteerStepsOnce(t *testing.T) {
	steering(t, func(c *testClock, run func(time.Duration), did *steered) {
		c.wall.Add(3_600_000)
		run(time.Minute)
		if n := did.steps.Load(); n != 1 {
			t.Errorf("%d steps, want 1", n)
		}
		if off := c.WallOffset(); off < -1 || off > 1 {
			t.Errorf("%d ms from the wall clock after the step", off)
		}
	})
}

// A cluster that holds nothing is set right at once, and not for milliseconds.
func TestSteerStepsIdleCluster(t *testing.T) {
	steering(t, func(c *testClock, run func(time.Duration), did *steered) {
		did.idle.Store(true)
		c.wall.Add(600)
		run(3 * time.Second)
		if off := c.WallOffset(); did.steps.Load() != 1 || off < -1 || off > 1 {
			t.Errorf("%d steps, %d ms from the wall clock, want 1 and none", did.steps.Load(), off)
		}
		c.wall.Add(40)
		run(3 * time.Second)
		if did.steps.Load() != 1 {
			t.Errorf("a step for 40 ms")
		}
	})
}

// A step that could not be proposed is tried again; it is no reason to give
// leadership up.
func TestSteerTriesAgain(t *testing.T) {
	steering(t, func(c *testClock, run func(time.Duration), did *steered) {
		did.failing.Store(true)
		c.wall.Add(5000)
		run(3 * time.Second)
		did.failing.Store(false)
		run(3 * time.Second)
		if off := c.WallOffset(); did.steps.Load() != 4 || off < -1 || off > 1 {
			t.Errorf("%d steps, %d ms from the wall clock; want the fourth to have worked", did.steps.Load(), off)
		}
	})
}

func TestSteerSlews(t *testing.T) {
	for _, by := range []clock.Millis{-10_000, -400, 400, 1000} {
		steering(t, func(c *testClock, run func(time.Duration), did *steered) {
			before := c.Stamp()
			c.wall.Add(int64(by))
			run(100 * time.Second)
			moved := c.Stamp() - before - 100_000
			most := clock.Millis(50) // 500 ppm of 100 s
			if did.steps.Load() != 0 || moved*by < 0 || moved < -most || moved > most || moved == 0 {
				t.Errorf("wall clock moved by %d ms: the clock gained %d ms with %d steps, want at most 50 in the same direction, slewed", by, moved, did.steps.Load())
			}
			if ahead := did.ahead.Load(); by < 0 && ahead < int64(-by-50) {
				t.Errorf("told that the clock is %d ms ahead, want %d", ahead, -by)
			}
		})
	}
}

// Without a majority the clock goes on as it went.
func TestSteerWithoutMajority(t *testing.T) {
	steering(t, func(c *testClock, run func(time.Duration), did *steered) {
		did.silent.Store(true)
		c.wall.Add(3_600_000)
		run(time.Minute)
		if now := c.Stamp(); did.steps.Load() != 0 || did.ahead.Load() != 0 || now != 1_060_000 {
			t.Errorf("clock %d after a minute, %d steps; want 1060000 and none", now, did.steps.Load())
		}
	})
}

func TestMedian(t *testing.T) {
	for _, tt := range []struct {
		lags []clock.Millis
		want clock.Millis
	}{
		{[]clock.Millis{7}, 7},
		{[]clock.Millis{9000, 1}, 1}, // half of the clocks must agree before it moves forward
		{[]clock.Millis{9000, 1, 2}, 2},
		{[]clock.Millis{-9000, 8000, 1, 2}, 1},
	} {
		if got := median(tt.lags); got != tt.want {
			t.Errorf("median(%v) = %d, want %d", tt.lags, got, tt.want)
		}
	}
}
