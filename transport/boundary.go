package transport

import (
	"errors"
	"fmt"
	"sync"

	"github.com/hashicorp/raft"
)

// An edge is the last entry that a snapshot covers.
type edge struct{ index, term uint64 }

// A boundary keeps a node's log and its newest snapshot, which covers the
// entries up to edge (S, T), in step with each other.
//
// Invariant: the log is empty, or begins after S, or holds (S, T).
//
// hashicorp/raft does not keep it. A snapshot that it installs over a log
// without (S, T) leaves all newer entries and up to TrailingLogs older ones
// behind. That has two consequences.
//
// First, the leader goes on with an AppendEntries whose previous entry is
// (S, T), and the follower, which looks for it in its log only, refuses; the
// leader concludes that it must send the snapshot, the same one, tens of
// thousands of times (hashicorp/raft#697). So the log store answers for entry S
// from here when the log no longer does.
//
// Second, entries below S that contradict the snapshot are on no way to be
// noticed. When this node leads one day, it replicates them to a follower that
// lags behind S, over entries that were committed. So what does not connect to
// a snapshot is deleted when the snapshot is complete. Nothing is lost by it:
// all those entries are covered by the snapshot. Entries above S are left to
// raft, which may have promised to keep them.
type boundary struct {
	log    raft.LogStore
	wedged func(error)

	mu     sync.Mutex // guards newest, and holds off a second snapshot while one is connected
	newest edge       // zero: none
}

// newBoundary connects log and the newest snapshot of snaps, and returns the
// stores to give to raft. wedged is called if raft cannot go on without a
// restart; see connect.
func newBoundary(log raft.LogStore, snaps raft.SnapshotStore, wedged func(error)) (boundaryLog, boundarySnapshots, error) {
	b := &boundary{log: log, wedged: func(error) {}}
	l, s := boundaryLog{log, b}, boundarySnapshots{snaps, b}
	metas, err := snaps.List()
	if err != nil {
		return l, s, fmt.Errorf("list snapshots: %w", err)
	}
	if len(metas) > 0 {
		if err := b.advance(edge{metas[0].Index, metas[0].Term}); err != nil {
			return l, s, err
		}
	}
	b.wedged = wedged // NB: only now, since what raft has in memory is yet to be read
	return l, s, nil
}

// advance notes that a snapshot up to e is complete. Snapshots may complete out
// of order: one of our own, begun earlier, ends after one that was installed.
func (b *boundary) advance(e edge) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e.index < b.newest.index {
		return nil
	}
	if err := b.connect(e); err != nil {
		return fmt.Errorf("connect the log to the snapshot at %d: %w", e.index, err)
	}
	b.newest = e
	return nil
}

// connect establishes the invariant for e.
//
// One case is beyond it: a log that ends at exactly S with another term. Raft
// keeps index and term of the last entry in memory, prefers them to the
// snapshot's when the indexes are equal, and would refuse to go on from (S, T)
// until the leader's next snapshot. After a restart it reads them again, and
// is well.
func (b *boundary) connect(e edge) error {
	var at raft.Log
	err := b.log.GetLog(e.index, &at)
	if err != nil && !errors.Is(err, raft.ErrLogNotFound) {
		return err
	}
	found := err == nil
	if found && at.Term == e.term {
		return nil
	}
	first, err := b.log.FirstIndex()
	if err != nil {
		return err
	}
	last, err := b.log.LastIndex()
	if err != nil {
		return err
	}
	if first == 0 || first > e.index {
		return nil
	}
	if err := b.log.DeleteRange(first, min(last, e.index)); err != nil {
		return err
	}
	if found && last == e.index {
		b.wedged(fmt.Errorf("the last entry of the log, %d of term %d, is not the one of term %d that the snapshot ends with: restart to forget it (hashicorp/raft#697)", e.index, at.Term, e.term))
	}
	return nil
}

func (b *boundary) edge() edge {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.newest
}

// boundaryEntry is the type of the entry that stands for a snapshot. It has a
// term and no content, so it must not be taken for the entry itself: raft
// panics on a type it does not know, and RaftTransport does not send it.
const boundaryEntry raft.LogType = 255

// A boundaryLog is a log store that also knows the entry before its first one.
type boundaryLog struct {
	raft.LogStore
	b *boundary
}

// GetLog implements raft.LogStore.
//
// Entry 1 is not answered for. A leader that lacks an entry notices when it
// reads the one before, and sends the snapshot instead; before entry 1 there is
// none to notice by.
func (l boundaryLog) GetLog(index uint64, out *raft.Log) error {
	err := l.LogStore.GetLog(index, out)
	if !errors.Is(err, raft.ErrLogNotFound) || index == 1 {
		return err
	}
	e := l.b.edge()
	if index != e.index {
		return err
	}
	*out = raft.Log{Index: e.index, Term: e.term, Type: boundaryEntry}
	return nil
}

// IsMonotonic implements raft.MonotonicLogStore. A log with holes is never left
// behind here, but raft must not think it has to see to that: it would delete
// the whole log after each snapshot it installs, including entries that this
// node has acknowledged and the leader counts on.
func (boundaryLog) IsMonotonic() bool { return false }

// boundarySnapshots is a snapshot store that tells its boundary about every
// snapshot that is completed.
type boundarySnapshots struct {
	raft.SnapshotStore
	b *boundary
}

// Create implements raft.SnapshotStore.
func (s boundarySnapshots) Create(v raft.SnapshotVersion, index, term uint64, c raft.Configuration, ci uint64, t raft.Transport) (raft.SnapshotSink, error) {
	sink, err := s.SnapshotStore.Create(v, index, term, c, ci, t)
	if err != nil {
		return nil, err
	}
	return &boundarySink{SnapshotSink: sink, b: s.b, edge: edge{index, term}}, nil
}

// List implements raft.SnapshotStore. Raft falls back to an older snapshot if
// the newest cannot be read, and counts on the log to lead on from there. One
// from which it does not is left out: starting from it would forget entries
// that this node has acknowledged. Raft then refuses to start.
func (s boundarySnapshots) List() ([]*raft.SnapshotMeta, error) {
	metas, err := s.SnapshotStore.List()
	if err != nil || len(metas) < 2 {
		return metas, err
	}
	first, err := s.b.log.FirstIndex()
	if err != nil {
		return nil, err
	}
	usable := metas[:1:1]
	for _, m := range metas[1:] {
		if 0 < first && first <= m.Index+1 {
			usable = append(usable, m)
		}
	}
	return usable, nil
}

// A boundarySink is a snapshot being written.
type boundarySink struct {
	raft.SnapshotSink
	b    *boundary
	edge edge

	ended bool // closed or cancelled
	err   error
}

// Close implements raft.SnapshotSink. Calling it again answers what the first
// call did: FSMs close the sink, then raft does.
func (s *boundarySink) Close() error {
	if !s.ended {
		s.ended = true
		if s.err = s.SnapshotSink.Close(); s.err == nil {
			s.err = s.b.advance(s.edge)
		}
	}
	return s.err
}

// Cancel implements raft.SnapshotSink.
func (s *boundarySink) Cancel() error {
	s.ended = true
	return s.SnapshotSink.Cancel()
}
