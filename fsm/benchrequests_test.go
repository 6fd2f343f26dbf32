package fsm

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/tkcoord/tkcoord/concurrency"
	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/policy"
	"github.com/tkcoord/tkcoord/strategy"
)

// requestMachine has a policy of each kind, named for it, none of which a
// benchmark exhausts.
func requestMachine(b testing.TB) *Machine {
	m := New()
	meter, guard := fixed("meter", escrow.MaxCredits, 3_600_000), policy.Policy{Name: "guard", Kind: policy.Guarded, MaxKeys: 10, Guard: concurrency.DefaultConfig()}
	meter.Kind, meter.Strategy, meter.Meter = policy.Meter, "", policy.FleetBudget
	guard.Guard.MinLimit, guard.Guard.InitialLimit = 512, 512
	both := rated("both", strategy.Params{Name: strategy.GCRA, Limit: 1e9, Period: 1000, Burst: 1e9})
	both.Kind, both.Guard = policy.Guarded, guard.Guard
	gcra := rated("gcra", strategy.Params{Name: strategy.GCRA, Limit: 1, Period: 1e6, Burst: 1e9}) // cells live long
	refuseNone(b, apply(b, m, 0, Genesis{ClusterID: "c", Settings: DefaultSettings()},
		Policies{Put: []policy.Policy{gcra, fixed("window", escrow.MaxCredits, 3_600_000), meter, guard, both}}))
	return m
}

// apply applies an entry of commands.
func apply(t interface{ Fatal(...any) }, m *Machine, stamp clock.Millis, commands ...Command) Outcome {
	var batch Batch
	for _, c := range commands {
		batch.Add(c)
	}
	out, err := m.Apply(m.Index()+1, batch.Seal(stamp, 1), true)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func refuseNone(t testing.TB, out Outcome) Outcome {
	for _, r := range out.Results {
		if r.Err != nil || r.KeyErrs != nil {
			t.Fatal(r.Err, r.KeyErrs)
		}
	}
	return out
}

// checks returns Checks of so many keys, each once in turn, n of them a command.
func checks(name string, keys, n int) []*Check {
	var all []*Check
	for at := 0; at < max(keys, n); at += n {
		c := &Check{Policy: name, Cost: 1}
		for i := range n {
			c.Keys = append(c.Keys, fmt.Sprintf("tenant-%07d", (at+i)%keys))
		}
		all = append(all, c)
	}
	return all
}

// warm checks each of so many keys once.
func warm(b testing.TB, m *Machine, name string, keys int) {
	for _, c := range checks(name, keys, min(keys, 1000)) {
		refuseNone(b, apply(b, m, 0, c))
	}
}

// BenchmarkApplyCheck: one iteration decodes and applies an entry that checks 100
// keys, in commands of one key each or in one command, and builds its results. A
// millisecond passes from one entry to the next.
func BenchmarkApplyCheck(b *testing.B) {
	for _, name := range []string{"gcra", "window"} {
		for _, keys := range []int{1, 10_000, 1_000_000} {
			for _, each := range []int{1, 100} {
				b.Run(fmt.Sprintf("%s/keys=%d/each=%d", name, keys, each), func(b *testing.B) {
					m := requestMachine(b)
					warm(b, m, name, keys)
					var entries [][]byte
					list := checks(name, keys, each)
					for len(list)*each < 100 {
						list = append(list, list[0])
					}
					for len(list) > 0 {
						var batch Batch
						for _, c := range list[:100/each] {
							batch.Add(c)
						}
						entries = append(entries, batch.buf)
						list = list[100/each:]
					}
					benchEntries(b, m, entries, 100/each, 100)
				})
			}
		}
	}
}

// benchEntries applies entries of n commands, which do so many things each.
func benchEntries(b *testing.B, m *Machine, entries [][]byte, n, things int) {
	runtime.GC()
	b.ReportAllocs()
	var batch Batch
	i := 0
	for b.Loop() {
		batch.buf, batch.count = entries[i%len(entries)], n
		out, err := m.Apply(m.Index()+1, batch.Seal(clock.Millis(i), 1), true)
		if err != nil || out.Results[0].Err != nil {
			b.Fatal(err, out.Results[0].Err)
		}
		i++
	}
	b.ReportMetric(b.Elapsed().Seconds()*1e9/float64(i*things), "ns/each")
}

// BenchmarkApplyDebit: one iteration is an entry of 100 debits of as many keys.
func BenchmarkApplyDebit(b *testing.B) {
	for _, keys := range []int{100, 1_000_000} {
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			m := requestMachine(b)
			var entries [][]byte
			for at := 0; at < keys; at += 100 {
				var batch Batch
				for i := range 100 {
					batch.Add(&Debit{Policy: "meter", Key: fmt.Sprintf("tenant-%07d", at+i), Tokens: 3})
				}
				entries = append(entries, batch.buf)
				if _, err := m.Apply(m.Index()+1, batch.Seal(0, 1), false); err != nil {
					b.Fatal(err)
				}
			}
			benchEntries(b, m, entries, 100, 100)
		})
	}
}

// BenchmarkApplyAdmit: one iteration is an entry of 100 commands that admit, and
// one that releases what was admitted, an entry being a millisecond.
func BenchmarkApplyAdmit(b *testing.B) {
	for _, name := range []string{"guard", "both"} {
		b.Run(name, func(b *testing.B) {
			m := requestMachine(b)
			runtime.GC()
			b.ReportAllocs()
			var batch Batch
			n := 0
			for b.Loop() {
				batch.Reset()
				for i := range 100 {
					batch.Add(&Admit{Policy: name, Key: "k", Nonce: [16]byte{byte(i)}})
				}
				out, err := m.Apply(m.Index()+1, batch.Seal(clock.Millis(n), 1), true)
				if err != nil {
					b.Fatal(err)
				}
				batch.Reset()
				for i := range out.Results {
					batch.Add(&Release{LeaseID: out.Results[i].Admission.LeaseID})
				}
				if _, err := m.Apply(m.Index()+1, batch.Seal(clock.Millis(n+1), 1), true); err != nil {
					b.Fatal(err)
				}
				n += 2
			}
			b.ReportMetric(b.Elapsed().Seconds()*1e9/float64(n*50), "ns/pair")
		})
	}
}

// BenchmarkHeartbeat: one iteration is an entry that keeps 100 slots of 512.
func BenchmarkHeartbeat(b *testing.B) {
	m := requestMachine(b)
	var ids []string
	for range 512 {
		ids = append(ids, refuseNone(b, apply(b, m, 0, &Admit{Policy: "guard"})).Results[0].Admission.LeaseID)
	}
	var entries [][]byte
	for at := 0; at+100 <= len(ids); at += 100 {
		entries = append(entries, Encode(&Heartbeat{LeaseIDs: ids[at : at+100]}))
	}
	benchEntries(b, m, entries, 1, 100)
}
