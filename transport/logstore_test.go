package transport

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

func openTestStores(t testing.TB, dir string) *Stores {
	t.Helper()
	c := DefaultStoreConfig(dir, 250*time.Millisecond)
	c.Fatal = func(err error) { t.Errorf("fatal: %v", err) }
	s, err := OpenStores(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// What one process wrote, the next one reads.
func TestStoresReopen(t *testing.T) {
	dir := t.TempDir()
	s := openTestStores(t, dir)
	_, trans := raft.NewInmemTransport("")
	sink, err := s.Snapshots.Create(1, 40, 1, raft.Configuration{}, 1, trans)
	err = errors.Join(err, s.Log.StoreLogs((&fakeLeader{}).entries(1, 100, 1)), s.Stable.SetUint64([]byte("CurrentTerm"), 7))
	if err := errors.Join(err, sink.Close(), s.Log.DeleteRange(1, 40), s.Log.DeleteRange(91, 100)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Snapshots.Create(1, 50, 1, raft.Configuration{}, 1, trans); err != nil { // and then a crash
		t.Fatal(err)
	}
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Fatalf("close, twice: %v", err)
	}

	s = openTestStores(t, dir)
	first, err1 := s.Log.FirstIndex()
	last, err2 := s.Log.LastIndex()
	term, err3 := s.Stable.GetUint64([]byte("CurrentTerm"))
	if err := errors.Join(err1, err2, err3); err != nil || first != 41 || last != 90 || term != 7 {
		t.Errorf("log %d to %d, term %d, %v; want 41 to 90, term 7", first, last, term, err)
	}
	for i := uint64(41); i <= 90; i++ {
		var l raft.Log
		if err := s.Log.GetLog(i, &l); err != nil || string(l.Data) != fmt.Sprintf("%d/1", i) {
			t.Fatalf("GetLog(%d) = %q, %v", i, l.Data, err)
		}
	}
	if err := s.Log.GetLog(40, &raft.Log{}); err != nil {
		t.Errorf("GetLog at the end of the snapshot = %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "snapshots", "*.tmp")); len(left) > 0 {
		t.Errorf("unfinished snapshots are left: %v", left)
	}
}

// A second process on the same directory is told, soon, instead of waiting.
func TestStoresHeldByAnother(t *testing.T) {
	dir := t.TempDir()
	openTestStores(t, dir)
	c := DefaultStoreConfig(dir, time.Second)
	if s, err := OpenStores(c); err == nil {
		s.Close()
		t.Error("a data directory was opened twice")
	} else if !strings.Contains(err.Error(), "open log: timeout") {
		t.Errorf("OpenStores = %v, want a timeout", err)
	}
}

func TestStoreConfigValidate(t *testing.T) {
	if err := DefaultStoreConfig("d", time.Second).Validate(); err != nil {
		t.Errorf("defaults: %v", err)
	}
	err := StoreConfig{}.Validate()
	if n := strings.Count(fmt.Sprint(err), "\n") + 1; n != 7 {
		t.Errorf("empty config has %d problems, want 7:\n%v", n, err)
	}
	for election, want := range map[time.Duration]time.Duration{250 * time.Millisecond: 5 * time.Second, 10 * time.Second: 20 * time.Second} {
		if got := DefaultStoreConfig("d", election).Deadline; got != want {
			t.Errorf("deadline for an election timeout of %v = %v, want %v", election, got, want)
		}
	}
}

// An error of the disk under the real store ends the node. The file is closed
// behind its back: every later operation fails.
func TestStoresFail(t *testing.T) {
	var mu sync.Mutex
	var told []error
	c := DefaultStoreConfig(t.TempDir(), time.Second)
	c.Fatal = func(err error) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, err)
	}
	s, err := OpenStores(c)
	if err != nil {
		t.Fatal(err)
	}
	s.file.Close()
	for range 2 {
		if err := s.Log.DeleteRange(1, 2); !errors.Is(err, ErrStoreFailed) {
			t.Errorf("DeleteRange = %v, want ErrStoreFailed", err)
		}
	}
	if len(told) != 1 {
		t.Errorf("fatal was told %v, want one reason", told)
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
}

// Raft refuses to start from an older snapshot if that means to forget entries.
func TestStoresDamagedSnapshot(t *testing.T) {
	for _, kept := range []bool{true, false} {
		t.Run(fmt.Sprintf("log kept %v", kept), func(t *testing.T) {
			dir := t.TempDir()
			s := openTestStores(t, dir)
			err := s.Log.StoreLogs((&fakeLeader{}).entries(1, 30, 1))
			_, trans := raft.NewInmemTransport("")
			for _, index := range []uint64{10, 20} {
				sink, e := s.Snapshots.Create(1, index, 1, raft.Configuration{}, 1, trans)
				_, w := sink.Write([]byte(`["x"]`))
				err = errors.Join(err, e, w, sink.Close())
			}
			if !kept {
				err = errors.Join(err, s.Log.DeleteRange(1, 20))
			}
			newest, _ := filepath.Glob(filepath.Join(dir, "snapshots", "1-20-*", "state.bin"))
			if err := errors.Join(err, os.WriteFile(newest[0], []byte(`["y"]`), 0o600)); err != nil {
				t.Fatal(err)
			}
			conf := memConfig(0)
			r, err := raft.NewRaft(&conf, &listFSM{}, s.Log, s.Stable, s.Snapshots, trans)
			if err == nil {
				r.Shutdown().Error()
			}
			if started := err == nil; started != kept {
				t.Errorf("NewRaft = %v, want it to start: %v", err, kept)
			}
		})
	}
}

// One iteration appends one batch of 64 entries of 128 bytes while a compaction
// deletes 100 000; max-ms is the longest append.
func BenchmarkAppendDuringCompaction(b *testing.B) {
	for name, chunk := range map[string]uint64{"at once": 1 << 62, "in pieces": deleteChunk} {
		b.Run(name, func(b *testing.B) {
			var worst time.Duration
			for b.Loop() {
				b.StopTimer()
				s := openTestStores(b, b.TempDir())
				l := chunkedLog{s.stop, chunk}
				data := make([]byte, 128)
				next := uint64(1)
				batch := func(n int) {
					var es []*raft.Log
					for range n {
						es = append(es, &raft.Log{Index: next, Term: 1, Data: data})
						next++
					}
					if err := l.StoreLogs(es); err != nil {
						b.Fatal(err)
					}
				}
				for range 20 {
					batch(5000)
				}
				b.StartTimer()
				done := make(chan error, 1)
				go func() { done <- l.DeleteRange(1, 99_000) }()
				for more := true; more; {
					start := time.Now()
					batch(64)
					worst = max(worst, time.Since(start))
					select {
					case err := <-done:
						if err != nil {
							b.Fatal(err)
						}
						more = false
					default:
					}
				}
				b.StopTimer()
				s.Close()
				b.StartTimer()
			}
			b.ReportMetric(float64(worst.Microseconds())/1000, "max-ms")
		})
	}
}
