package seam

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tkcoord/tkcoord/fsm/clock"
)

func TestReadRefuses(t *testing.T) {
	for _, tt := range []struct{ name, content string }{
		{"unknown key", `{"wall_offset": 5}`},
		{"not JSON", `wall_offset_ms=5`},
		{"a clock that stands still", `{"monotonic_rate_ppm": -1000000}`},
		{"strobe without period", `{"wall_strobe_ms": 5}`},
		{"negative delay", `{"store_delay_ms": -1}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "faults.json")
			if err := os.WriteFile(path, []byte(tt.content), 0o600); err != nil {
				t.Fatal(err)
			}
			if f, err := Read(path); err == nil {
				t.Errorf("Read(%s) = %+v, want an error", tt.content, f)
			}
		})
	}
}

// follow runs a source on a file until the test ends.
func follow(t *testing.T, f *File) *Source {
	s, err := Open(f.Path())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return s
}

func change(t *testing.T, f *File, edit func(*Faults)) {
	t.Helper()
	if err := f.Change(edit); err != nil {
		t.Fatal(err)
	}
}

func TestSourceFollowsFile(t *testing.T) {
	f := NewFile(filepath.Join(t.TempDir(), "faults.json"))
	synctest.Test(t, func(t *testing.T) {
		s := follow(t, f)
		off := func() clock.Millis { return s.Wall() - clock.Millis(time.Now().UnixMilli()) }
		time.Sleep(2 * PollEvery)
		if got := off(); got != 0 {
			t.Errorf("without a file the wall clock is %d ms off", got)
		}
		change(t, f, func(f *Faults) { f.WallOffsetMS = -7000 })
		time.Sleep(2 * PollEvery)
		if got := off(); got != -7000 {
			t.Errorf("wall clock is %d ms off, want -7000", got)
		}
		change(t, f, func(f *Faults) { f.WallOffsetMS, f.MonotonicRatePPM = 0, -500_000 })
		time.Sleep(2 * PollEvery)
		before := s.Monotonic()
		time.Sleep(time.Second)
		if got, want := s.Monotonic()-before, clock.Nanos(time.Second/2); got != want {
			t.Errorf("at half the rate a second took %d ns, want %d", got, want)
		}
	})
}

func TestSourceStartsWithFile(t *testing.T) {
	f := NewFile(filepath.Join(t.TempDir(), "faults.json"))
	change(t, f, func(f *Faults) { f.WallOffsetMS = 1 << 40 })
	s, err := Open(f.Path())
	if err != nil {
		t.Fatal(err)
	}
	if off := s.Wall() - clock.Millis(time.Now().UnixMilli()); off < 1<<39 {
		t.Errorf("a process that starts under faults begins %d ms off", off)
	}
}

func TestDelay(t *testing.T) {
	f := NewFile(filepath.Join(t.TempDir(), "faults.json"))
	synctest.Test(t, func(t *testing.T) {
		s := follow(t, f)
		took := func() time.Duration {
			began := time.Now()
			s.Delay("store_logs")
			return time.Since(began)
		}
		if got := took(); got != 0 {
			t.Errorf("a healthy write is delayed by %v", got)
		}
		change(t, f, func(f *Faults) { f.StoreDelayMS = 250 })
		time.Sleep(2 * PollEvery)
		if got := took(); got != 250*time.Millisecond {
			t.Errorf("a slow write is delayed by %v, want 250ms", got)
		}
		change(t, f, func(f *Faults) { f.StoreHang = true })
		time.Sleep(2 * PollEvery)
		time.AfterFunc(3*time.Second, func() { change(t, f, func(f *Faults) { *f = Faults{} }) })
		if got := took(); got < 3*time.Second || got > 3*time.Second+2*PollEvery {
			t.Errorf("a hanging write went on after %v, want 3s", got)
		}
	})
}

// A clock that is read by many goroutines while its rate changes must not go
// back for any order in which their readings can be compared.
func TestMonotonicUnderConcurrency(t *testing.T) {
	c := newClocks(time.Now)
	var stop, readers sync.WaitGroup
	done := make(chan struct{})
	stop.Go(func() {
		for i := range int64(2000) {
			c.follow(Faults{MonotonicRatePPM: leastMonotonicRate * (i % 2)})
		}
		close(done)
	})
	var mu sync.Mutex // orders the readings
	var newest clock.Nanos
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				mu.Lock()
				now := c.Monotonic()
				if now < newest {
					t.Errorf("the clock went back from %d to %d", newest, now)
				}
				newest = now
				mu.Unlock()
			}
		})
	}
	stop.Wait()
	readers.Wait()
}

func TestChangeKeepsOldFaultsOnError(t *testing.T) {
	f := NewFile(filepath.Join(t.TempDir(), "faults.json"))
	change(t, f, func(f *Faults) { f.StoreDelayMS = 5 })
	if err := f.Change(func(f *Faults) { f.StoreDelayMS = -1 }); err == nil {
		t.Error("a negative delay is accepted")
	}
	if got, err := Read(f.Path()); err != nil || got != f.Faults() || got.StoreDelayMS != 5 {
		t.Errorf("the file holds %+v, %v", got, err)
	}
}
