package transport

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"pgregory.net/rapid"
)

// check tests the invariant that the type states.
func (b *boundary) check() error {
	e := b.edge()
	first, err := b.log.FirstIndex()
	if err != nil || e.index == 0 || first == 0 || first > e.index {
		return err
	}
	var at raft.Log
	if err := b.log.GetLog(e.index, &at); err != nil {
		return fmt.Errorf("log begins at %d, snapshot ends at %d: %w", first, e.index, err)
	}
	if at.Term != e.term {
		return fmt.Errorf("entry %d has term %d, the snapshot says %d", e.index, at.Term, e.term)
	}
	return nil
}

// useBoundary puts a boundary into a node that has not started.
func useBoundary(t testing.TB, n *memNode) *boundary {
	t.Helper()
	// Raft asks to delete from 0 if the log is empty, which its in-memory store gets wrong.
	inner := chunkedLog{n.logs, deleteChunk}
	logs, snaps, err := newBoundary(inner, n.snaps, func(err error) { t.Errorf("wedged: %v", err) })
	if err != nil {
		t.Fatal(err)
	}
	n.logs, n.snaps = logs, snaps
	t.Cleanup(func() {
		if err := logs.b.check(); err != nil {
			t.Error(err)
		}
	})
	return logs.b
}

// countingSnapshots counts the snapshots that are begun.
type countingSnapshots struct {
	raft.SnapshotStore
	begun *atomic.Int64
}

func (s countingSnapshots) Create(v raft.SnapshotVersion, index, term uint64, c raft.Configuration, ci uint64, tr raft.Transport) (raft.SnapshotSink, error) {
	s.begun.Add(1)
	return s.SnapshotStore.Create(v, index, term, c, ci, tr)
}

// hashicorp/raft#697, found by Antithesis: a leader is cut off and appends what
// will never commit. The others go on with fewer entries, take a snapshot and
// compact. Healed, the old leader gets the snapshot, whose last entry lies
// inside its own suffix, refuses to go on from there, gets it again, and so on:
// thousands of snapshots a second, and it never catches up.
func TestBoundaryEndsSnapshotLoop(t *testing.T) {
	var begun [3]atomic.Int64
	c := newMemCluster(t, 3, func(i int, n *memNode) {
		n.config.TrailingLogs = 0
		n.snaps = countingSnapshots{n.snaps, &begun[i]}
		useBoundary(t, n)
	})
	const old, lead = 0, 1
	c.cut(old)
	for i := range 200 { // never to be committed
		c[old].Apply(fmt.Append(nil, "ghost", i), time.Second)
	}
	c.elect(t, lead)
	c.apply(t, lead, 30, "real")
	if err := c[lead].Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	c.connect(old)
	for _, more := range []string{"late", "later"} {
		c.apply(t, lead, 5, more)
		pollUntil(t, "the old leader has caught up", func() bool {
			return slices.Equal(c[old].fsm.contents(), c[lead].fsm.contents())
		})
	}
	if n := begun[old].Load(); n > 3 {
		t.Errorf("%d snapshots were installed on the old leader, want 1", n)
	}
}

// A fakeLeader drives one follower, entry by entry.
type fakeLeader struct {
	t      *testing.T
	node   *memNode
	trans  *raft.InmemTransport
	header raft.RPCHeader
	peers  raft.Configuration
}

// newFakeLeader starts a follower that holds entries 2 to last of term 2, none
// of them committed.
func newFakeLeader(t *testing.T, last, trailing uint64, setup func(*memNode)) *fakeLeader {
	n := &memNode{config: memConfig(0), fsm: &listFSM{}, snaps: raft.NewInmemSnapshotStore()}
	n.config.TrailingLogs = trailing
	s := raft.NewInmemStore()
	n.logs, n.stable = s, s
	n.newTransport()
	f := &fakeLeader{t: t, node: n, header: raft.RPCHeader{ProtocolVersion: 3, ID: []byte("n1"), Addr: []byte("n1")}}
	for i := range 3 {
		id := fmt.Sprintf("n%d", i)
		f.peers.Servers = append(f.peers.Servers, raft.Server{ID: raft.ServerID(id), Address: raft.ServerAddress(id)})
	}
	if err := raft.BootstrapCluster(&n.config, s, s, n.snaps, n.trans, f.peers); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.SetUint64([]byte("CurrentTerm"), 2), s.StoreLogs(f.entries(2, last, 2))); err != nil {
		t.Fatal(err)
	}
	setup(n)
	n.start(t)
	t.Cleanup(func() { n.Shutdown().Error() })
	_, f.trans = raft.NewInmemTransport("n1")
	f.trans.Connect(n.address, n.trans.InmemTransport)
	return f
}

func (f *fakeLeader) entries(from, to, term uint64) []*raft.Log {
	var es []*raft.Log
	for i := from; i <= to; i++ {
		es = append(es, &raft.Log{Index: i, Term: term, Data: fmt.Appendf(nil, "%d/%d", i, term)})
	}
	return es
}

func (f *fakeLeader) install(index, term uint64) {
	f.t.Helper()
	body := []byte(`["all before"]`)
	var resp raft.InstallSnapshotResponse
	err := f.trans.InstallSnapshot("n0", f.node.address, &raft.InstallSnapshotRequest{
		RPCHeader: f.header, SnapshotVersion: 1, Term: term, LastLogIndex: index, LastLogTerm: term,
		Configuration: raft.EncodeConfiguration(f.peers), ConfigurationIndex: 1, Size: int64(len(body)),
	}, &resp, bytes.NewReader(body))
	if err != nil || !resp.Success {
		f.t.Fatalf("install snapshot %d/%d: success %v, %v", index, term, resp.Success, err)
	}
}

// extend asks the follower to go on from entry prev with the entries up to to,
// all of term, and reports whether it did.
func (f *fakeLeader) extend(prev, to, term uint64) bool {
	f.t.Helper()
	var resp raft.AppendEntriesResponse
	err := f.trans.AppendEntries("n0", f.node.address, &raft.AppendEntriesRequest{
		RPCHeader: f.header, Term: term, PrevLogEntry: prev, PrevLogTerm: term,
		Entries: f.entries(prev+1, to, term), LeaderCommitIndex: to,
	}, &resp)
	if err != nil {
		f.t.Fatal(err)
	}
	return resp.Success
}

// A snapshot is installed over entries that contradict it. Whether raft's
// compaction removes those depends on TrailingLogs; if they stayed, this node
// would replicate them over committed entries once it leads.
func TestBoundaryForgetsContradictedEntries(t *testing.T) {
	for _, trailing := range []uint64{0, 10_240} {
		for name, last := range map[string]uint64{"suffix reaches beyond": 20, "suffix ends before": 12} {
			t.Run(fmt.Sprintf("%s trailing=%d", name, trailing), func(t *testing.T) {
				f := newFakeLeader(t, last, trailing, func(n *memNode) { useBoundary(t, n) })
				f.install(15, 3)
				if !f.extend(15, 16, 3) {
					t.Fatal("the follower does not go on from the snapshot")
				}
				pollUntil(t, "entry 16 is applied", func() bool {
					return slices.Equal(f.node.fsm.contents(), []string{"all before", "16/3"})
				})
				for i := uint64(1); i < 15; i++ {
					var l raft.Log
					if err := f.node.logs.GetLog(i, &l); !errors.Is(err, raft.ErrLogNotFound) {
						t.Errorf("GetLog(%d) = %v of term %d, want not found", i, err, l.Term)
					}
				}
			})
		}
	}
}

// Raft keeps the last entry in memory, so a log that ends exactly where the
// snapshot does, in another term, needs a restart; after it all is well.
func TestBoundaryWedgedUntilRestart(t *testing.T) {
	wedged := make(chan error, 1)
	f := newFakeLeader(t, 15, 10_240, func(n *memNode) {
		logs, snaps, err := newBoundary(n.logs, n.snaps, func(err error) { wedged <- err })
		if err != nil {
			t.Fatal(err)
		}
		n.logs, n.snaps = logs, snaps
	})
	f.install(15, 3)
	select {
	case err := <-wedged:
		t.Log(err)
	default:
		t.Error("nobody was told")
	}
	if f.extend(15, 16, 3) {
		t.Error("the follower went on: the restart is no longer needed")
	}
	f.node.Shutdown().Error()
	f.node.newTransport()
	inner := f.node.logs.(boundaryLog)
	f.node.logs, f.node.snaps = inner.LogStore, f.node.snaps.(boundarySnapshots).SnapshotStore
	useBoundary(t, f.node)
	f.node.start(t)
	f.trans.Connect(f.node.address, f.node.trans.InmemTransport)
	if !f.extend(15, 16, 3) {
		t.Error("the follower does not go on from the snapshot after a restart")
	}
}

// At the start, the boundary is that of the newest snapshot on disk.
func TestBoundaryAtStart(t *testing.T) {
	logs, snaps := raft.NewInmemStore(), raft.NewInmemSnapshotStore()
	_, trans := raft.NewInmemTransport("")
	sink, err := snaps.Create(1, 15, 3, raft.Configuration{}, 1, trans)
	if err := errors.Join(err, sink.Close(), logs.StoreLogs((&fakeLeader{}).entries(10, 20, 2))); err != nil {
		t.Fatal(err)
	}
	l, _, err := newBoundary(logs, snaps, func(err error) { t.Error(err) })
	if err := errors.Join(err, l.b.check()); err != nil {
		t.Fatal(err)
	}
	var at raft.Log
	if err := l.GetLog(15, &at); err != nil || at.Term != 3 || at.Type != boundaryEntry {
		t.Errorf("GetLog(15) = %+v, %v, want the end of the snapshot", at, err)
	}
	if err := l.GetLog(14, &at); err != raft.ErrLogNotFound {
		t.Errorf("GetLog(14) = %v, want raft.ErrLogNotFound itself", err)
	}
	if err := l.GetLog(16, &at); err != nil || at.Term != 2 {
		t.Errorf("GetLog(16) = %+v, %v, want the entry that raft may have acknowledged", at, err)
	}
}

// An entry that only stands for a snapshot is not content: a lagging follower
// must be sent the snapshot. With entry 1 raft could not tell.
func TestBoundaryDoesNotStandForTheFirstEntry(t *testing.T) {
	logs, snaps := raft.NewInmemStore(), raft.NewInmemSnapshotStore()
	l, s, err := newBoundary(logs, snaps, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	_, trans := raft.NewInmemTransport("")
	sink, err := s.Create(1, 1, 1, raft.Configuration{}, 1, trans)
	if err := errors.Join(err, sink.Close()); err != nil {
		t.Fatal(err)
	}
	if err := l.GetLog(1, &raft.Log{}); err != raft.ErrLogNotFound {
		t.Errorf("GetLog(1) = %v, want not found", err)
	}
}

// A user's restore leaves a hole in raft's log, by which followers are to notice
// that they need the snapshot. The boundary must not paper over it.
func TestBoundaryUserRestoreReachesFollowers(t *testing.T) {
	c := newMemCluster(t, 3, func(_ int, n *memNode) { useBoundary(t, n) })
	const lead = 0
	c.apply(t, lead, 10, "before")
	if err := c[lead].Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	backup := []byte(`["restored"]`)
	meta := &raft.SnapshotMeta{Version: 1, Index: 3, Term: 1, Size: int64(len(backup))}
	if err := c[lead].Restore(meta, bytes.NewReader(backup), 5*time.Second); err != nil {
		t.Fatal(err)
	}
	c.apply(t, lead, 3, "after")
	want := []string{"restored", "after0", "after1", "after2"}
	for i, n := range c {
		pollUntil(t, fmt.Sprintf("node %d has the restored state", i), func() bool {
			return slices.Equal(n.fsm.contents(), want)
		})
	}
}

// A sink that failed to close must not be believed when it is closed again:
// raft's file sink then reports success.
func TestBoundarySinkClosesOnce(t *testing.T) {
	snaps, err := raft.NewFileSnapshotStoreWithLogger(t.TempDir(), 2, hclogTo(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	broken := brokenSnapshots{snaps}
	l, s, err := newBoundary(raft.NewInmemStore(), broken, func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	_, trans := raft.NewInmemTransport("")
	sink, err := s.Create(1, 7, 2, raft.Configuration{}, 1, trans)
	if err != nil {
		t.Fatal(err)
	}
	first, second := sink.Close(), sink.Close()
	if first == nil || second == nil || l.b.edge() != (edge{}) {
		t.Errorf("Close = %v, then %v; edge %v; want two errors and no edge", first, second, l.b.edge())
	}
}

type brokenSnapshots struct{ raft.SnapshotStore }

func (s brokenSnapshots) Create(v raft.SnapshotVersion, index, term uint64, c raft.Configuration, ci uint64, tr raft.Transport) (raft.SnapshotSink, error) {
	sink, err := s.SnapshotStore.Create(v, index, term, c, ci, tr)
	return &brokenSink{SnapshotSink: sink}, err
}

type brokenSink struct {
	raft.SnapshotSink
	closed bool
}

func (s *brokenSink) Close() error {
	if s.closed {
		return nil
	}
	s.closed = true
	return errors.Join(errors.New("disk full"), s.Cancel())
}

// Whatever is appended, truncated, compacted and installed, in the ways raft
// does it, the invariant holds, and entry S is never answered with a wrong term.
func TestBoundaryInvariant(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		logs := raft.NewInmemStore()
		l, s, err := newBoundary(logs, raft.NewInmemSnapshotStore(), func(error) {})
		if err != nil {
			t.Fatal(err)
		}
		_, trans := raft.NewInmemTransport("")
		snapshot := func(index, term uint64) {
			sink, err := s.Create(1, index, term, raft.Configuration{}, 1, trans)
			if err := errors.Join(err, sink.Close()); err != nil {
				t.Fatal(err)
			}
		}
		term := uint64(1)
		bounds := func() (first, last uint64) {
			first, _ = logs.FirstIndex()
			last, _ = logs.LastIndex()
			return first, max(last, l.b.edge().index)
		}
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				term += rapid.Uint64Range(0, 1).Draw(t, "new term")
				_, last := bounds()
				n := rapid.Uint64Range(1, 4).Draw(t, "n")
				if err := l.StoreLogs((&fakeLeader{}).entries(last+1, last+n, term)); err != nil {
					t.Fatal(err)
				}
			},
			"truncate": func(t *rapid.T) {
				_, last := bounds()
				from := rapid.Uint64Range(l.b.edge().index+1, last+1).Draw(t, "from")
				if err := l.DeleteRange(from, last); err != nil {
					t.Fatal(err)
				}
			},
			"own snapshot": func(t *rapid.T) {
				first, last := bounds()
				if first == 0 || last < first {
					t.Skip("nothing applied")
				}
				at := rapid.Uint64Range(first, last).Draw(t, "at")
				var e raft.Log
				if err := l.GetLog(at, &e); err != nil {
					t.Fatal(err)
				}
				snapshot(at, e.Term)
				if to := rapid.Uint64Range(first-1, at).Draw(t, "compact to"); to >= first {
					if err := l.DeleteRange(first, to); err != nil {
						t.Fatal(err)
					}
				}
			},
			"install": func(t *rapid.T) {
				_, last := bounds()
				term++ // a later leader's
				snapshot(rapid.Uint64Range(l.b.edge().index+1, last+3).Draw(t, "at"), term)
			},
			"": func(t *rapid.T) {
				if err := l.b.check(); err != nil {
					t.Fatal(err)
				}
				e := l.b.edge()
				var at raft.Log
				if err := l.GetLog(e.index, &at); e.index > 1 && (err != nil || at.Term != e.term) {
					t.Fatalf("GetLog(%d) = term %d, %v, want term %d", e.index, at.Term, err, e.term)
				}
			},
		})
	})
}

// Raft falls back to an older snapshot only where the log leads on from it.
func TestBoundaryListsUsableSnapshots(t *testing.T) {
	for _, tt := range []struct {
		name  string
		first uint64 // of the log, 0 for an empty one
		want  []uint64
	}{
		{"log reaches back to the older", 11, []uint64{20, 10}},
		{"log reaches back further", 5, []uint64{20, 10}},
		{"a gap of one entry", 12, []uint64{20}},
		{"compacted to the newest", 21, []uint64{20}},
		{"no log", 0, []uint64{20}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			logs := raft.NewInmemStore()
			if tt.first > 0 {
				if err := logs.StoreLogs((&fakeLeader{}).entries(tt.first, 25, 1)); err != nil {
					t.Fatal(err)
				}
			}
			snaps, err := raft.NewFileSnapshotStoreWithLogger(t.TempDir(), 2, hclogTo(slog.New(slog.DiscardHandler)))
			if err != nil {
				t.Fatal(err)
			}
			_, s, err := newBoundary(logs, snaps, func(error) {})
			if err != nil {
				t.Fatal(err)
			}
			_, trans := raft.NewInmemTransport("")
			for _, index := range []uint64{10, 20} {
				sink, err := s.Create(1, index, 1, raft.Configuration{}, 1, trans)
				if err := errors.Join(err, sink.Close()); err != nil {
					t.Fatal(err)
				}
			}
			metas, err := s.List()
			if err != nil {
				t.Fatal(err)
			}
			var got []uint64
			for _, m := range metas {
				got = append(got, m.Index)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("List() = snapshots at %v, want %v", got, tt.want)
			}
		})
	}
}
