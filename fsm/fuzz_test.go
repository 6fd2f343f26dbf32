package fsm

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/tkcoord/tkcoord/concurrency"
	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/policy"
	"github.com/tkcoord/tkcoord/strategy"
)

// transcriptEntries returns the entries of all transcripts, as seeds.
func transcriptEntries(t testing.TB) [][]byte {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	var entries [][]byte
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			var stamp int64
			if n, _ := fmt.Sscanf(line, "@%d", &stamp); n == 0 || strings.Contains(line, " ticks ") {
				continue
			}
			_, command, _ := strings.Cut(strings.TrimSpace(line), " ")
			entry, _ := parseEntry(t, clock.Millis(stamp), []string{command})
			entries = append(entries, entry)
		}
	}
	return entries
}

// populated returns a machine with something of everything.
func populated(t testing.TB) *Machine {
	j := &journal{t: t, m: New(), now: 1000}
	s := tight()
	s.MaxBudgets = 30
	j.apply(Genesis{ClusterID: "c", Settings: s}, Policies{Put: []policy.Policy{
		fixed("api", 100, 100), fixed("gone", 5, 100),
		{Name: "month", Strategy: policy.Quota, Limit: 7, MaxKeys: 2, Cadence: escrow.Cadence{Kind: escrow.CalendarMonth}},
		rated("rate", strategy.Params{Name: strategy.GCRA, Limit: 1, Period: 1000, Burst: 3}),
		rated("past", strategy.Params{Name: strategy.SlidingWindow, Limit: 9, Period: 1000, Buckets: 4}),
		{Name: "tokens", Kind: policy.Meter, Meter: policy.TokenBudget, Limit: 9, MaxKeys: 9, Cadence: escrow.Cadence{Kind: escrow.Fixed, Period: 5000}},
		{Name: "guard", Kind: policy.Guarded, MaxKeys: 9, Guard: concurrency.DefaultConfig()},
	}})
	fed := fixed("fed", 9, 5000)
	fed.Kind, fed.Batch = policy.Federated, 3
	orphan := rated("orphan", strategy.Params{Name: strategy.GCRA, Limit: 1, Period: 1e6, Burst: 3})
	j.apply(Policies{Put: []policy.Policy{fed, orphan}})
	for e := range 3 {
		j.now += 20
		j.apply(&Exchange{EdgeID: fmt.Sprint("e", e), Incarnation: 1, Seq: 1, Asks: []Ask{
			{Policy: "api", Key: "k", Need: 5, Want: 20}, {Policy: "month", Key: fmt.Sprint(e), Need: 1, Want: 1}, {Policy: "gone", Key: "k", Need: 1, Want: 1},
		}})
	}
	j.apply(&Reserve{Policy: "fed", Key: "k", Wants: 2}, &Check{Policy: "fed", Keys: []string{"k"}, Cost: 3},
		&Check{Policy: "rate", Keys: []string{"k", "l"}, Cost: 1}, &Check{Policy: "past", Keys: []string{"k"}, Cost: 2}, &Debit{Policy: "tokens", Key: "k", Tokens: 5},
		&Check{Policy: "orphan", Keys: []string{"k"}, Cost: 1}, Policies{Delete: []string{"orphan"}})
	for n := range 3 {
		a := j.apply(&Admit{Policy: "guard", Key: "k", Nonce: [16]byte{byte(n)}}).Results[0].Admission
		j.now += 5
		if n == 0 {
			j.apply(&Release{LeaseID: a.LeaseID})
		}
	}
	j.apply(Policies{Delete: []string{"gone"}}, Alarm{Kind: "clock", Node: "n1", Detail: "d"}, Step{To: 1500})
	return j.m
}

// FuzzApply: bytes behind a good checksum are applied, refused or halt the
// replica. They never panic, and leave no broken invariant.
func FuzzApply(f *testing.F) {
	for _, e := range transcriptEntries(f) {
		if len(e) > 5 {
			f.Add(e[:len(e)-4], true)
			f.Add(e[:len(e)-4], false)
		}
	}
	f.Fuzz(func(t *testing.T, entry []byte, born bool) {
		m := New()
		if born {
			m = populated(t)
		}
		before := m.Freeze().Digest()
		entry = binary.LittleEndian.AppendUint32(entry, crc32.Checksum(entry, castagnoli))
		Proposer(entry)
		_, err := m.Apply(m.Index()+1, entry, true)
		if err != nil {
			if !errors.Is(err, ErrHalt) {
				t.Errorf("Apply: %v, want ErrHalt", err)
			}
			return
		}
		if m.Freeze().Digest() == before {
			t.Error("an entry was applied and the index is the same")
		}
		if err := m.Check(); err != nil {
			t.Error(err)
		}
	})
}

// FuzzOpenEntry: any bytes at all.
func FuzzOpenEntry(f *testing.F) {
	for _, e := range transcriptEntries(f) {
		f.Add(e)
	}
	f.Fuzz(func(t *testing.T, entry []byte) {
		Proposer(entry)
		h, r, err := openEntry(entry)
		if err == nil && (h.stamp < 0 || h.stamp > clock.MaxInstant || h.count > MaxBatchCmds) {
			t.Errorf("header %+v is out of range", h)
		}
		for range h.count {
			r.skip()
		}
	})
}

// FuzzRestore: bytes behind a good checksum are restored or refused. They never
// panic, neither then nor when the machine goes on, and allocate in proportion.
func FuzzRestore(f *testing.F) {
	for _, m := range []*Machine{New(), populated(f)} {
		b := bytesOf(f, m.Freeze())
		f.Add(b[:len(b)-sha256.Size], true)
		f.Add(b, false)
	}
	f.Add([]byte("TKSN\x01\x00\x01\xff\xff\xff\xff\xff\xff"), true) // a length that is no number
	f.Fuzz(func(t *testing.T, b []byte, seal bool) {
		if seal {
			sum := sha256.Sum256(b)
			b = append(b, sum[:]...)
		}
		var mem runtime.MemStats
		runtime.ReadMemStats(&mem)
		start := mem.TotalAlloc
		m, err := Restore(bytes.NewReader(b))
		runtime.ReadMemStats(&mem)
		if got := mem.TotalAlloc - start; got > 8<<20+uint64(200*len(b)) {
			t.Errorf("%d bytes were allocated for %d", got, len(b))
		}
		if err != nil {
			if !errors.Is(err, ErrSnapshot) {
				t.Errorf("Restore: %v, want ErrSnapshot", err)
			}
			return
		}
		again := bytesOf(t, m.Freeze())
		if !bytes.Equal(bytesOf(t, thaw(t, m.Freeze()).Freeze()), again) {
			t.Error("what was restored is restored differently")
		}
		goOn(t, m)
	})
}

// goOn uses everything that the machine holds, and sweeps it.
func goOn(t *testing.T, m *Machine) {
	if m.clusterID == "" {
		return
	}
	x := &Exchange{EdgeID: "e0", Incarnation: 77, Seq: 1}
	for b := range m.Freeze().Budgets {
		if len(x.Asks) < 100 {
			x.Asks = append(x.Asks, Ask{Policy: b.Policy, Key: b.Key, Window: 1, Need: 1, Want: 10}, Ask{Policy: b.Policy, Key: "new", Want: 1})
		}
	}
	_, policies := m.Policies()
	var requests []Command
	for _, p := range policies[:min(len(policies), 100)] {
		x.Asks = append(x.Asks, Ask{Policy: p.Name, Key: "k", Need: 1, Want: 1})
		for _, key := range []string{"k", "new"} {
			requests = append(requests, &Check{Policy: p.Name, Keys: []string{key, key}, Cost: 2}, &Reserve{Policy: p.Name, Key: key, Wants: 2},
				&Debit{Policy: p.Name, Key: key, Tokens: 2}, &Admit{Policy: p.Name, Key: key})
			_, _ = m.Peek(p.Name, key, m.now) // it must not panic
			_, _ = m.Forecast(p.Name, key, 2, m.now)
		}
	}
	for s := range m.Freeze().Slots {
		if len(requests) < 1000 {
			requests = append(requests, &Heartbeat{LeaseIDs: []string{s.LeaseID, s.LeaseID}}, &Release{LeaseID: s.LeaseID})
		}
	}
	stamp := m.now
	for i := range 3 * 64 {
		var b Batch
		switch i {
		case 0:
			b.Add(x)
		case 1:
			b.Add(Step{To: min(stamp+5000, clock.MaxInstant)})
		case 64:
			stamp = clock.MaxInstant
		case 128:
			b.Add(x)
		case 2, 129:
			for _, c := range requests {
				b.Add(c)
			}
		}
		if _, err := m.Apply(m.Index()+1, b.Seal(stamp, 1), true); err != nil {
			t.Fatal(err)
		}
	}
}
