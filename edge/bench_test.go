package edge

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"golang.org/x/time/rate"
)

// stocked is an edge without a coordinator whose keys hold more than a benchmark
// can spend. One iteration of each benchmark is one admission of one unit.
func stocked(tb testing.TB, names []string) *Limiter {
	cfg := quietConfig()
	e := newEdge(cfg)
	l := e.Limiter("p")
	for _, n := range names {
		k, err := l.Key(n)
		if err != nil {
			tb.Fatal(err)
		}
		lease := escrow.NewLease(escrow.Window{Start: 0, End: 1 << 40})
		lease.Raise(escrow.MaxCredits, e.now(), 1<<30, clock.DefaultRates())
		k.lease.Store(lease)
	}
	return l
}

// addresses are keys as they come in practice.
func addresses(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("2001:db8:%x:%x::", i*7919&0xffff, i)
	}
	return names
}

func BenchmarkAllow(b *testing.B) {
	for _, n := range []int{1, 1024, 65_536} {
		b.Run(fmt.Sprint("keys=", n), func(b *testing.B) {
			names := addresses(n)
			l := stocked(b, names)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if !l.Allow(names[i&(n-1)], 1) {
					b.Fatal("denied")
				}
				i++
			}
		})
	}
	b.Run("handle", func(b *testing.B) {
		k, err := stocked(b, addresses(1)).Key(addresses(1)[0])
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			if !k.Allow(1) {
				b.Fatal("denied")
			}
		}
	})
	b.Run("check", func(b *testing.B) {
		l := stocked(b, addresses(1))
		b.ReportAllocs()
		for b.Loop() {
			if d, err := l.Check(b.Context(), "2001:db8:0:0::", 1); err != nil || !d.Allowed {
				b.Fatal(d, err)
			}
		}
	})
	b.Run("recorded", func(b *testing.B) {
		l := stocked(b, addresses(1))
		var sum atomic.Int64
		l.edge.onAdmit = func(_, _ string, n int64, _ escrow.Window, _ clock.Nanos) { sum.Add(n) }
		b.ReportAllocs()
		for b.Loop() {
			l.Allow("2001:db8:0:0::", 1)
		}
	})
	b.Run("x-time-rate", func(b *testing.B) {
		r := rate.NewLimiter(1e12, 1<<30)
		b.ReportAllocs()
		for b.Loop() {
			if !r.Allow() {
				b.Fatal("denied")
			}
		}
	})
	b.Run("x-time-rate-in-sync-map", func(b *testing.B) { // a limiter for each key, as it is usually done
		names := addresses(1024)
		var m sync.Map
		for _, n := range names {
			m.Store(n, rate.NewLimiter(1e12, 1<<30))
		}
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			r, _ := m.Load(names[i&1023])
			if !r.(*rate.Limiter).Allow() {
				b.Fatal("denied")
			}
			i++
		}
	})
	b.Run("clock", func(b *testing.B) { // of which reading the clock
		now := DefaultConfig().Monotonic
		for b.Loop() {
			now()
		}
	})
}

// BenchmarkAllowParallel: all processors on one key, and each on keys of its own.
func BenchmarkAllowParallel(b *testing.B) {
	for _, n := range []int{1, 1024} {
		b.Run(fmt.Sprint("keys=", n), func(b *testing.B) {
			names := addresses(n)
			l := stocked(b, names)
			var turn atomic.Int64
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for i := int(turn.Add(97)); pb.Next(); i++ {
					l.Allow(names[i&(n-1)], 1)
				}
			})
		})
	}
	b.Run("x-time-rate", func(b *testing.B) {
		r := rate.NewLimiter(1e12, 1<<30)
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				r.Allow()
			}
		})
	})
}

// BenchmarkTable compares the table with a sync.Map: one iteration is a lookup
// among 1024 keys.
func BenchmarkTable(b *testing.B) {
	names := addresses(1024)
	l := stocked(b, names)
	var m sync.Map
	for _, n := range names {
		k, _ := l.Key(n)
		m.Store(n, k)
	}
	b.Run("table", func(b *testing.B) {
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			if l.keys.find(names[i&1023]) == nil {
				b.Fatal("lost")
			}
			i++
		}
	})
	b.Run("sync.Map", func(b *testing.B) {
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			if _, ok := m.Load(names[i&1023]); !ok {
				b.Fatal("lost")
			}
			i++
		}
	})
}

// BenchmarkExchange: one iteration builds one exchange about 4096 keys and takes
// over its answers.
func BenchmarkExchange(b *testing.B) {
	cfg := quietConfig()
	e := newEdge(cfg)
	now := func() clock.Millis { return clock.Millis(time.Duration(e.now()).Milliseconds()) }
	l := e.Limiter("p")
	b.ReportAllocs()
	for b.Loop() {
		for _, n := range addresses(4096) {
			l.Allow(n, 1)
		}
		at := e.now()
		e.mu.Lock()
		batch := e.build(at)
		res := answerAll(batch, now())
		if err := e.settle(batch, res, at, at); err != nil {
			b.Fatal(err)
		}
		e.mu.Unlock()
	}
}

// answerAll grants what is wanted.
func answerAll(b *batch, now clock.Millis) *tkcoordv1.ExchangeResponse {
	res := &tkcoordv1.ExchangeResponse{Session: 1, ClockMs: int64(now)}
	for _, a := range b.req.Asks {
		res.Answers = append(res.Answers, &tkcoordv1.Answer{
			WindowStartMs: 1, WindowEndMs: int64(now) + 10_000, Granted: a.Used + 1, TtlMs: 9999, Limit: 1 << 30, Left: 1 << 20,
		})
	}
	return res
}

func TestAllowDoesNotAllocate(t *testing.T) {
	l := stocked(t, []string{"k"})
	if n := testing.AllocsPerRun(1000, func() { l.Allow("k", 1) }); n != 0 {
		t.Errorf("a hit allocates %v times", n)
	}
	k, _ := l.Key("k")
	k.low.Store(int64(escrow.MaxCredits))
	if n := testing.AllocsPerRun(1000, func() {
		l.Allow("k", 1) // at low water: kicks
		k.state.Store(held)
		l.edge.queue.top.Store(nil)
	}); n != 0 {
		t.Errorf("a kick allocates %v times", n)
	}
}
