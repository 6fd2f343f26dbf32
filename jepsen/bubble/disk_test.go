package bubble

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	"github.com/tkcoord/tkcoord/transport"
)

// A disk holds what a node stored. A write takes its time, and whether it is
// there after a crash is decided in the middle of it. Deleting takes no time:
// the stores above it delete under a lock, for which a bubble would wait for
// ever.
//
// A process that crashed lives on for a moment, as nothing in a bubble can be
// killed. Its next process gets a copy of the disk from the instant of the crash,
// and whoever writes to the old one ends.
type disk struct {
	turn chan struct{} // holds a token while something is written
	pace func() (before, after time.Duration)

	dead atomic.Bool // its process crashed

	mu      sync.Mutex // guards the rest
	first   uint64     // 0 for an empty log
	last    uint64
	logs    map[uint64]*raft.Log
	archive map[uint64]*raft.Log // the same, and what was deleted
	values  map[string][]byte
	snaps   []*snapshot // newest first
	made    int         // snapshots, ever
}

func newDisk(pace func() (before, after time.Duration)) *disk {
	return &disk{
		turn: make(chan struct{}, 1), pace: pace,
		logs: make(map[uint64]*raft.Log), archive: make(map[uint64]*raft.Log), values: make(map[string][]byte),
	}
}

// crash returns what is left for the next process.
func (d *disk) crash() *disk {
	d.dead.Store(true)
	d.mu.Lock()
	defer d.mu.Unlock()
	c := newDisk(d.pace)
	c.first, c.last, c.made = d.first, d.last, d.made
	maps.Copy(c.logs, d.logs)
	maps.Copy(c.archive, d.archive)
	maps.Copy(c.values, d.values)
	c.snaps = slices.Clone(d.snaps)
	return c
}

// open implements transport.StoreConfig.Open.
func (d *disk) open(transport.StoreConfig) (transport.Disk, error) {
	return transport.Disk{Log: d, Snapshots: snapshots{d}}, nil
}

func (d *disk) Close() error { return nil }

// write makes a change in the middle of its time.
func (d *disk) write(change func()) error {
	d.turn <- struct{}{}
	defer func() { <-d.turn }()
	before, after := d.pace()
	d.wait(before)
	d.mu.Lock()
	change()
	d.mu.Unlock()
	d.wait(after)
	return nil
}

// wait does not return in a process that crashed meanwhile. An error would make
// raft panic, as it does when it is let go on without its store.
func (d *disk) wait(t time.Duration) {
	time.Sleep(t)
	if d.dead.Load() {
		runtime.Goexit()
	}
}

// FirstIndex implements raft.LogStore, as do the methods up to DeleteRange.
func (d *disk) FirstIndex() (uint64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.first, nil
}

func (d *disk) LastIndex() (uint64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.last, nil
}

func (d *disk) GetLog(index uint64, out *raft.Log) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	l, ok := d.logs[index]
	if !ok {
		return raft.ErrLogNotFound
	}
	*out = *l
	return nil
}

func (d *disk) StoreLog(l *raft.Log) error { return d.StoreLogs([]*raft.Log{l}) }

func (d *disk) StoreLogs(logs []*raft.Log) error {
	return d.write(func() {
		for _, l := range logs {
			kept := *l
			d.logs[l.Index], d.archive[l.Index] = &kept, &kept
			if d.first == 0 || l.Index < d.first {
				d.first = l.Index
			}
			d.last = max(d.last, l.Index)
		}
	})
}

// DeleteRange deletes at either end of the log, as raft does.
func (d *disk) DeleteRange(low, high uint64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.first == 0 {
		return nil
	}
	low, high = max(low, d.first), min(high, d.last)
	for i := low; i <= high; i++ {
		delete(d.logs, i)
	}
	switch {
	case low > high:
	case low == d.first && high == d.last:
		d.first, d.last = 0, 0
	case low == d.first:
		d.first = high + 1
	default:
		d.last = low - 1
	}
	return nil
}

var errNoKey = errors.New("not found")

// Set implements raft.StableStore, as do the methods below.
func (d *disk) Set(key, value []byte) error {
	return d.write(func() { d.values[string(key)] = bytes.Clone(value) })
}

func (d *disk) Get(key []byte) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if v, ok := d.values[string(key)]; ok {
		return bytes.Clone(v), nil
	}
	return nil, errNoKey
}

func (d *disk) SetUint64(key []byte, value uint64) error {
	return d.Set(key, fmt.Append(nil, value))
}

func (d *disk) GetUint64(key []byte) (uint64, error) {
	v, err := d.Get(key)
	if err != nil {
		return 0, err
	}
	var n uint64
	_, err = fmt.Sscan(string(v), &n)
	return n, err
}

// A snapshot is one that is complete.
type snapshot struct {
	meta raft.SnapshotMeta
	data []byte
}

// snapshots implements raft.SnapshotStore.
type snapshots struct{ d *disk }

const retain = 3

func (s snapshots) Create(v raft.SnapshotVersion, index, term uint64, c raft.Configuration, ci uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	s.d.made++
	return &sink{d: s.d, snap: &snapshot{meta: raft.SnapshotMeta{
		Version: v, ID: fmt.Sprintf("%d-%d-%d", term, index, s.d.made), Index: index, Term: term, Configuration: c, ConfigurationIndex: ci,
	}}}, nil
}

func (s snapshots) List() ([]*raft.SnapshotMeta, error) {
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	var all []*raft.SnapshotMeta
	for _, x := range s.d.snaps {
		meta := x.meta
		all = append(all, &meta)
	}
	return all, nil
}

func (s snapshots) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	for _, x := range s.d.snaps {
		if x.meta.ID == id {
			meta := x.meta
			return &meta, io.NopCloser(bytes.NewReader(x.data)), nil
		}
	}
	return nil, nil, fmt.Errorf("snapshot %s: %w", id, errNoKey)
}

// A sink is a snapshot that is being written. A crash leaves nothing of it.
type sink struct {
	d     *disk
	snap  *snapshot
	buf   bytes.Buffer
	ended bool
}

func (s *sink) ID() string                  { return s.snap.meta.ID }
func (s *sink) Write(b []byte) (int, error) { return s.buf.Write(b) }

func (s *sink) Cancel() error {
	s.ended = true
	return nil
}

func (s *sink) Close() error {
	if s.ended {
		return nil
	}
	s.ended = true
	before, after := s.d.pace()
	s.d.wait(before)
	s.d.mu.Lock()
	s.snap.data, s.snap.meta.Size = s.buf.Bytes(), int64(s.buf.Len())
	s.d.snaps = append(s.d.snaps, s.snap)
	slices.SortStableFunc(s.d.snaps, func(a, b *snapshot) int {
		if a.meta.Term != b.meta.Term {
			return int(b.meta.Term) - int(a.meta.Term)
		}
		return int(b.meta.Index) - int(a.meta.Index)
	})
	s.d.snaps = s.d.snaps[:min(len(s.d.snaps), retain)]
	s.d.mu.Unlock()
	s.d.wait(after)
	return nil
}
