package transport

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"go.uber.org/goleak"
)

// A fakeReads is a leader of three whose peers answer when the test says so.
type fakeReads struct {
	acks
	log *raft.InmemStore

	mu       sync.Mutex // guards the rest
	state    raft.RaftState
	term     uint64
	commit   uint64
	verifies int
	verify   func(n int) error // answers the nth VerifyLeader
}

func (f *fakeReads) State() raft.RaftState {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state
}

func (f *fakeReads) CurrentTerm() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.term
}

func (f *fakeReads) CommitIndex() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.commit
}

func (f *fakeReads) VerifyLeader() raft.Future {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.verifies++
	n := f.verifies
	return futureFunc(func() error { return f.verify(n) })
}

func (f *fakeReads) GetConfiguration() raft.ConfigurationFuture {
	return fakeConfiguration{raft.Configuration{Servers: []raft.Server{
		{ID: "n1"}, {ID: "n2"}, {ID: "n3"}, {ID: "n4", Suffrage: raft.Nonvoter}, {ID: "n5", Suffrage: raft.Nonvoter},
	}}}
}

type fakeConfiguration struct{ c raft.Configuration }

func (f fakeConfiguration) Error() error                      { return nil }
func (f fakeConfiguration) Index() uint64                     { return 1 }
func (f fakeConfiguration) Configuration() raft.Configuration { return f.c }

// acknowledge is a request to peer and its answer, both now.
func (f *fakeReads) acknowledge(peer raft.ServerID) {
	f.note(peer, &raft.AppendEntriesRequest{Term: f.CurrentTerm()}, &raft.AppendEntriesResponse{Term: f.CurrentTerm()}, func() error { return nil })
}

// asked returns how often VerifyLeader was called.
func (f *fakeReads) asked() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.verifies
}

func (f *fakeReads) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// newFakeReads leads in term 3, with entries 1 to 10 committed and applied.
func newFakeReads(t *testing.T) (*fakeReads, *ReadIndexer, *appliedIndex) {
	t.Helper()
	f := &fakeReads{log: raft.NewInmemStore(), state: raft.Leader, term: 3, commit: 10}
	f.verify = func(int) error { f.acknowledge("n2"); return nil }
	if err := f.log.StoreLogs((&fakeLeader{}).entries(1, 30, 3)); err != nil {
		t.Fatal(err)
	}
	applied := &appliedIndex{}
	applied.advance(10)
	r := NewReadIndexer(ReadConfig{ID: "n1", Raft: f, Log: f.log, Peers: f, Applied: applied, Timeout: time.Second})
	r.Established(3)
	return f, r, applied
}

// A heartbeat round proves leadership as of its beginning, so it serves those
// who had asked by then and nobody else, however long it takes (etcd-io/etcd#20418).
func TestReadsLateArrivals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, r, applied := newFakeReads(t)
		applied.advance(30)
		answer := make(chan struct{})
		f.verify = func(int) error { <-answer; f.acknowledge("n3"); return nil }
		type result struct{ reader, index uint64 }
		results := make(chan result, 300)
		read := func(reader uint64) {
			go func() {
				index, err := r.Await(t.Context())
				if err != nil {
					t.Errorf("reader %d: %v", reader, err)
				}
				results <- result{reader, index}
			}()
		}
		read(0)
		synctest.Wait() // round 1 is under way
		f.set(func() { f.commit = 20 })
		for range 100 {
			read(1)
		}
		synctest.Wait()
		answer <- struct{}{}
		synctest.Wait()
		if got := <-results; len(results) > 0 || got != (result{0, 10}) {
			t.Fatalf("round 1 served %v and %d others, want reader 0 at 10 only", got, len(results))
		}
		f.set(func() { f.commit = 30 })
		for range 100 {
			read(2)
		}
		synctest.Wait()
		answer <- struct{}{}
		synctest.Wait()
		if len(results) != 100 {
			t.Fatalf("round 2 served %d, want those 100 who waited when it began", len(results))
		}
		for len(results) > 0 {
			if got := <-results; got != (result{1, 20}) {
				t.Fatalf("round 2 served %v, want readers 1 at 20", got)
			}
		}
		answer <- struct{}{}
		synctest.Wait()
		if len(results) != 100 || f.asked() != 3 {
			t.Errorf("round 3 served %d, after %d rounds; want 100 after 3", len(results), f.asked())
		}
	})
}

func TestReadsRefuse(t *testing.T) {
	lost := errors.New("lost")
	for _, tt := range []struct {
		name  string
		setup func(f *fakeReads, r *ReadIndexer)
		asks  int // VerifyLeader is called
	}{
		{"follower", func(f *fakeReads, r *ReadIndexer) { f.state = raft.Follower }, 0},
		{"term not established", func(f *fakeReads, r *ReadIndexer) { f.term = 4 }, 0},
		{"never established", func(f *fakeReads, r *ReadIndexer) { r.Established(0) }, 0},
		{"deposed", func(f *fakeReads, r *ReadIndexer) { f.verify = func(int) error { return lost } }, 1},
		{"deposed and elected meanwhile", func(f *fakeReads, r *ReadIndexer) {
			f.verify = func(int) error { f.acknowledge("n2"); f.set(func() { f.term = 4 }); return nil }
		}, 1},
		{"stepped down meanwhile", func(f *fakeReads, r *ReadIndexer) {
			f.verify = func(int) error { f.acknowledge("n2"); f.set(func() { f.state = raft.Follower }); return nil }
		}, 1},
		{"raft hangs", func(f *fakeReads, r *ReadIndexer) {
			f.verify = func(int) error { time.Sleep(time.Hour); return nil }
		}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, r, _ := newFakeReads(t)
				tt.setup(f, r)
				start := time.Now()
				if _, err := r.Await(t.Context()); !errors.Is(err, ErrNotLeader) {
					t.Errorf("Await = %v, want ErrNotLeader", err)
				}
				if d := time.Since(start); d > r.cfg.Timeout {
					t.Errorf("it took %v, want at most %v", d, r.cfg.Timeout)
				}
				if n := f.asked(); n != tt.asks {
					t.Errorf("raft was asked %d times, want %d", n, tt.asks)
				}
				if tt.name == "raft hangs" { // further readers do not pile up calls in it
					for range 5 {
						if _, err := r.Await(t.Context()); !errors.Is(err, ErrNotLeader) || f.asked() != 1 {
							t.Errorf("Await = %v, raft was asked %d times", err, f.asked())
						}
					}
					time.Sleep(time.Hour)
				}
			})
		})
	}
}

// Raft may be content with answers to requests that were sent before the round
// began, or with a non-voter's. Then it is asked again.
func TestReadsWantFreshQuorum(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, r, _ := newFakeReads(t)
		f.acknowledge("n2")
		f.acknowledge("n3")
		f.verify = func(n int) error {
			switch n {
			case 1: // the answers above
			case 2:
				f.acknowledge("n4")
				f.acknowledge("n5")
			case 3:
				f.acknowledge("n3")
			}
			return nil
		}
		if index, err := r.Await(t.Context()); err != nil || index != 10 || f.asked() != 3 {
			t.Errorf("Await = %d, %v after asking %d times; want 10 after 3", index, err, f.asked())
		}
	})
}

// Who gives up harms nobody, and the state machine may take its time.
func TestReadsWaitForApplied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, r, applied := newFakeReads(t)
		f.set(func() { f.commit = 25 })
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		gaveUp, served := make(chan error, 1), make(chan uint64, 1)
		go func() { _, err := r.Await(short); gaveUp <- err }()
		go func() { index, _ := r.Await(t.Context()); served <- index }()
		if err := <-gaveUp; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Await = %v, want its context's error", err)
		}
		applied.advance(24)
		synctest.Wait()
		if len(served) > 0 {
			t.Fatal("served before entry 25 was applied")
		}
		applied.advance(25)
		if index := <-served; index != 25 {
			t.Errorf("Await = %d, want 25", index)
		}
	})
}

// Entries that raft keeps to itself are never applied, so nobody waits for them.
func TestReadsSkipRaftsOwnEntries(t *testing.T) {
	for _, tt := range []struct {
		name  string
		types map[uint64]raft.LogType // others are commands
		first uint64                  // of the log
		want  uint64
	}{
		{"a command", nil, 1, 20},
		{"a no-op", map[uint64]raft.LogType{20: raft.LogNoop}, 1, 19},
		{"several", map[uint64]raft.LogType{20: raft.LogBarrier, 19: raft.LogConfiguration, 18: raft.LogNoop}, 1, 17},
		{"back to the last index", map[uint64]raft.LogType{20: raft.LogNoop, 19: raft.LogNoop, 18: raft.LogNoop, 17: raft.LogNoop, 16: raft.LogNoop}, 1, 14},
		{"back to the snapshot", map[uint64]raft.LogType{20: raft.LogNoop, 19: boundaryEntry}, 19, 0},
		{"all in the snapshot", nil, 21, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, r, _ := newFakeReads(t)
			f.log = raft.NewInmemStore()
			r.cfg.Log = f.log
			for i := tt.first; i <= 30; i++ {
				if err := f.log.StoreLog(&raft.Log{Index: i, Type: tt.types[i]}); err != nil {
					t.Fatal(err)
				}
			}
			r.last.index, r.last.command = 15, 14
			if got, err := r.lastCommand(20); got != tt.want || err != nil {
				t.Errorf("lastCommand(20) = %d, %v, want %d", got, err, tt.want)
			}
		})
	}
}

// reader is the ReadIndexer of a node in a cluster.
func (n *memNode) reader(timeout time.Duration) *ReadIndexer {
	return NewReadIndexer(ReadConfig{ID: n.config.LocalID, Raft: n.Raft, Log: n.logs, Peers: &n.trans.acks, Applied: &n.fsm.applied, Timeout: timeout})
}

// soon is a context for what is not a matter of time with real nodes.
func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestReadsCluster(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	t.Run("", func(t *testing.T) {
		c := newMemCluster(t, 3, nil)
		const lead = 0
		r := c[lead].reader(time.Second)
		r.Established(c[lead].CurrentTerm())
		var readers sync.WaitGroup
		for range 8 { // everyone sees what he wrote
			readers.Go(func() {
				for i := range 20 {
					f := c[lead].Apply(fmt.Append(nil, i), time.Second)
					if err := f.Error(); err != nil {
						t.Error(err)
						return
					}
					index, err := r.Await(soon(t))
					if err != nil || index < f.Index() || c[lead].fsm.applied.load() < f.Index() {
						t.Errorf("read at %d after a write at %d, applied %d: %v", index, f.Index(), c[lead].fsm.applied.load(), err)
					}
				}
			})
		}
		readers.Wait()
		if err := c[lead].Barrier(time.Second).Error(); err != nil { // an entry that is never applied
			t.Fatal(err)
		}
		if _, err := r.Await(soon(t)); err != nil {
			t.Errorf("Await after a barrier = %v", err)
		}
		if _, err := c[(lead+1)%3].reader(time.Second).Await(soon(t)); !errors.Is(err, ErrNotLeader) {
			t.Errorf("Await on a follower = %v, want ErrNotLeader", err)
		}
		c.settle(t)
		c.cut(lead)
		if _, err := r.Await(soon(t)); !errors.Is(err, ErrNotLeader) {
			t.Errorf("Await on an isolated leader = %v, want ErrNotLeader", err)
		}
		c.elect(t, 1)
		c.connect(lead)
		pollUntil(t, "the old leader follows", func() bool { return c[lead].State() == raft.Follower })
		if _, err := r.Await(soon(t)); !errors.Is(err, ErrNotLeader) {
			t.Errorf("Await on a deposed leader = %v, want ErrNotLeader", err)
		}
	})
}

// What a leader finds in its sockets after it was paused: a heartbeat's answer,
// given before another leader was elected and wrote. Raft's VerifyLeader takes
// it for proof of leadership now. Timeouts are long, so the old leader has no
// other way to notice, as if its clock had stood still.
func TestReadsAfterAPause(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	t.Run("", func(t *testing.T) {
		c := newMemCluster(t, 3, nil)
		r := c[0].reader(time.Second)
		r.Established(c[0].CurrentTerm())
		if _, err := r.Await(soon(t)); err != nil {
			t.Fatalf("Await while all is well = %v", err)
		}

		release := c[0].trans.hold(t, "n1")
		pollUntil(t, "an answer of n1 is on its way", func() bool { return c[0].trans.waiting.Load() > 0 })
		c.cut(0)
		c.elect(t, 1)
		c.apply(t, 1, 1, "new")

		fooled := c[0].VerifyLeader()
		for i := range 30 { // raft takes one request at a time, in any order
			last := c[0].LastIndex()
			c[0].Apply(fmt.Append(nil, "old", i), time.Second)
			pollUntil(t, "raft has taken a request", func() bool { return c[0].LastIndex() > last })
		}
		answer := make(chan error, 1)
		go func() { _, err := r.Await(soon(t)); answer <- err }()
		pollUntil(t, "a round has begun", func() bool { return len(r.asking) > 0 })
		release()
		if err := fooled.Error(); err != nil {
			t.Errorf("VerifyLeader = %v: raft does better now, acks may be needed no more", err)
		}
		if err := <-answer; !errors.Is(err, ErrNotLeader) {
			t.Errorf("Await on a leader that was replaced = %v, want ErrNotLeader", err)
		}
		if slices.Contains(c[0].fsm.contents(), "new0") {
			t.Error("the test is wrong: the old leader is up to date")
		}
	})
}

// One iteration is one read; the cluster has three nodes in memory.
func BenchmarkReads(b *testing.B) {
	c := newMemCluster(b, 3, nil)
	const lead = 0
	r := c[lead].reader(time.Second)
	r.Established(c[lead].CurrentTerm())
	for _, readers := range []int{1, 64} {
		b.Run(fmt.Sprintf("readers=%d", readers), func(b *testing.B) {
			b.SetParallelism(readers)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := r.Await(b.Context()); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}
