package fsm

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"testing"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm/clock"
)

const (
	benchPeriod = 1000
	benchRounds = 4
)

// benchMachine returns a machine with a policy that no benchmark exhausts.
func benchMachine(b testing.TB) *Machine {
	m := New()
	var first Batch
	first.Add(Genesis{ClusterID: "c", Settings: DefaultSettings()})
	p := fixed("requests-per-second", 1<<40, benchPeriod)
	first.Add(Policies{Put: append(Policies{}.Put, p)})
	if _, err := m.Apply(1, first.Seal(0, 1), false); err != nil {
		b.Fatal(err)
	}
	return m
}

// exchanges encodes exchanges of one edge that ask once for each budget, n asks
// each, and raises every total by one from one round to the next. With fewer
// budgets than asks an exchange asks for a budget repeatedly, and for more each
// time.
func exchanges(budgets, n, rounds int) [][]byte {
	var all [][]byte
	x := &Exchange{EdgeID: "edge-1", Incarnation: 1, Seq: 1, Asks: make([]Ask, n)}
	perRound := (n + budgets - 1) / budgets
	for round := range rounds {
		for at := 0; at < max(budgets, n); at += n {
			for i := range n {
				want := escrow.Credits(1 + round*perRound + i/budgets)
				x.Asks[i] = Ask{Policy: "requests-per-second", Key: fmt.Sprintf("tenant-%07d", (at+i)%budgets), Need: want, Want: want}
			}
			all = append(all, Encode(x))
		}
	}
	return all
}

// fill makes a machine with so many live budgets, all in the window at stamp 0.
func fill(b testing.TB, budgets int) *Machine {
	m := benchMachine(b)
	for _, x := range exchanges(budgets, 1000, 1) {
		var batch Batch
		batch.AddEncoded(x)
		if _, err := m.Apply(m.Index()+1, batch.Seal(0, 1), false); err != nil {
			b.Fatal(err)
		}
	}
	return m
}

// BenchmarkApplyExchange: one iteration decodes and applies an entry with one
// exchange and builds its results. Each ask is granted, benchRounds times in a
// window.
func BenchmarkApplyExchange(b *testing.B) {
	for _, asks := range []int{100, 1000} {
		for _, budgets := range []int{1, 1000, 1_000_000} {
			b.Run(fmt.Sprintf("asks=%d/budgets=%d", asks, budgets), func(b *testing.B) {
				m := fill(b, budgets)
				commands := exchanges(budgets, asks, benchRounds)
				runtime.GC()
				b.ReportAllocs()
				var batch Batch
				n, stamp := 0, clock.Millis(0)
				for b.Loop() {
					if n%len(commands) == 0 {
						stamp += benchPeriod
					}
					batch.Reset()
					batch.AddEncoded(commands[n%len(commands)])
					if _, err := m.Apply(m.Index()+1, batch.Seal(stamp, 1), true); err != nil {
						b.Fatal(err)
					}
					n++
				}
				b.ReportMetric(float64(n*asks)/b.Elapsed().Seconds(), "grants/s")
			})
		}
	}
}

// BenchmarkHolders: one iteration is an entry in which 100 edges ask, each for one
// budget. There are 100 000 edges in any case, and as many budgets as it takes
// for each to have so many holders.
func BenchmarkHolders(b *testing.B) {
	const edges = 100_000
	for _, holders := range []int{100, 100_000} {
		b.Run(fmt.Sprintf("holders=%d", holders), func(b *testing.B) {
			m := benchMachine(b)
			var entries [][]byte
			for want := range escrow.Credits(2) {
				for at := 0; at < edges; at += 100 {
					var batch Batch
					for i := range 100 {
						batch.Add(&Exchange{
							EdgeID: fmt.Sprintf("edge-%06d", at+i), Incarnation: 1, Seq: 1,
							Asks: []Ask{{Policy: "requests-per-second", Key: fmt.Sprint("tenant-", (at+i)%(edges/holders)), Need: 1 + want, Want: 1 + want}},
						})
					}
					entries = append(entries, batch.Seal(0, 1))
				}
			}
			for _, e := range entries[:len(entries)/2] {
				if _, err := m.Apply(m.Index()+1, e, false); err != nil {
					b.Fatal(err)
				}
			}
			runtime.GC()
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				if _, err := m.Apply(m.Index()+1, entries[n%len(entries)], true); err != nil {
					b.Fatal(err)
				}
				n++
			}
			b.ReportMetric(float64(n*100)/b.Elapsed().Seconds(), "grants/s")
		})
	}
}

// BenchmarkFreeze: one iteration is a freeze, whatever the machine holds.
func BenchmarkFreeze(b *testing.B) {
	for _, budgets := range []int{1000, 1_000_000} {
		b.Run(fmt.Sprintf("budgets=%d", budgets), func(b *testing.B) {
			m := fill(b, budgets)
			b.ReportAllocs()
			for b.Loop() {
				m.Freeze()
			}
		})
	}
}

// BenchmarkSnapshot: one iteration writes, digests or restores a machine with
// 100 000 budgets.
func BenchmarkSnapshot(b *testing.B) {
	const budgets = 100_000
	v := fill(b, budgets).Freeze()
	whole := bytesOf(b, v)
	run := func(name string, f func() error) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(whole)))
			b.ReportAllocs()
			for b.Loop() {
				if err := f(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)*budgets/b.Elapsed().Seconds(), "budgets/s")
		})
	}
	run("write", func() error { _, err := v.WriteTo(io.Discard); return err })
	run("digest", func() error { v.Digest(); return nil })
	run("restore", func() error { _, err := Restore(bytes.NewReader(whole)); return err })
}

// BenchmarkThaw: one iteration is an entry of 1000 asks over 100 000 budgets
// right after a freeze, which copies the shards that it writes to.
func BenchmarkThaw(b *testing.B) {
	m := fill(b, 100_000)
	commands := exchanges(100_000, 1000, 1)
	b.ReportAllocs()
	n := 0
	var batch Batch
	for b.Loop() {
		m.Freeze()
		batch.Reset()
		batch.AddEncoded(commands[n%len(commands)])
		if _, err := m.Apply(m.Index()+1, batch.Seal(0, 1), true); err != nil {
			b.Fatal(err)
		}
		n++
	}
}
