package transport

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
)

// StoreConfig says where a node keeps its log, its vote and its snapshots, and
// how much patience it has with the disk.
type StoreConfig struct {
	// Dir is the node's data directory. It is created if need be; one process
	// at a time may have it open.
	Dir string

	// Retain is how many snapshots are kept, at least 1. Raft falls back to an
	// older one only if the newest cannot be read and the log leads on from it.
	Retain int

	// Cache is how many of the newest entries are kept in memory, at least 1.
	// The leader reads every entry once per follower, so with none each of
	// these reads is a transaction and a decoding. It costs up to Cache times
	// the largest entry: 128 entries of 512 KiB are 64 MiB.
	Cache int

	// Deadline is how long one write may take before the node is given up.
	// While the leader's disk hangs nobody can be granted anything, as no
	// follower notices, so this is the length of that outage less an election.
	// A value in the range of ordinary hiccups (a cloud volume pauses for a
	// second or two, and for all nodes at once if they share it) turns each of
	// them into a restart of the cluster.
	Deadline time.Duration

	// Fatal is called once, when the node cannot go on: the store failed, or
	// raft must forget what it has in memory. It is called on the goroutine
	// that noticed and should end the process: raft panics if it runs on
	// without its stable store.
	Fatal func(error)

	// Observe is told how long each write took, failed ones included, and may
	// be nil. The operation is OpStoreLogs, OpDeleteRange or OpSet.
	Observe func(op string, took time.Duration)

	// Delay is called before each write, within its deadline, and may be nil.
	// The fault suite makes disks slow with it.
	Delay func(op string)

	// Open opens what the stores are built on, OpenFiles unless a test keeps
	// them in memory.
	Open func(StoreConfig) (Disk, error)

	Log *slog.Logger
}

// A Disk is what the stores of one node are built on.
type Disk struct {
	Log       LogFile
	Snapshots raft.SnapshotStore
}

// A LogFile holds a log and a vote. What a write returned from is there after a
// crash, and a write that a crash interrupts happens as a whole or not at all.
type LogFile interface {
	raft.LogStore
	raft.StableStore
	Close() error
}

// DefaultStoreConfig suits a local disk, and a raft with the given election
// timeout. The deadline is twice that, as far as a cluster without a leader is
// no worse than one with a leader that cannot write, but not below 5 s, which
// leaves room for a volume that pauses.
func DefaultStoreConfig(dir string, election time.Duration) StoreConfig {
	return StoreConfig{
		Dir:      dir,
		Retain:   3,
		Cache:    128,
		Deadline: max(2*election, 5*time.Second),
		Fatal:    func(error) {},
		Open:     OpenFiles,
		Log:      slog.New(slog.DiscardHandler),
	}
}

// Validate reports all problems at once.
func (c StoreConfig) Validate() error {
	var errs []error
	for _, p := range []struct {
		wrong bool
		text  string
	}{
		{c.Dir == "", "no data directory"},
		{c.Retain < 1, "at least one snapshot must be retained"},
		{c.Cache < 1, "at least one entry must be cached"},
		{c.Deadline <= 0, "the write deadline must be positive"},
		{c.Fatal == nil, "nobody to report a failed store to"},
		{c.Open == nil, "nothing to build the stores on"},
		{c.Log == nil, "no logger"},
	} {
		if p.wrong {
			errs = append(errs, errors.New(p.text))
		}
	}
	return errors.Join(errs...)
}

// Stores are what raft keeps on disk. Between raft and the file lie, from the
// outside in: the boundary between log and snapshots, a cache of the newest
// entries, deletion in pieces, and the fail-stop.
type Stores struct {
	Log       raft.LogStore
	Stable    raft.StableStore
	Snapshots raft.SnapshotStore

	file LogFile
	stop *failStop
}

// openTimeout is how long another process may hold the file; bbolt would wait
// for ever, which looks like a node that hangs.
const openTimeout = 2 * time.Second

// OpenStores opens what is in c.Dir, or makes it. Close undoes it.
func OpenStores(c StoreConfig) (*Stores, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("store config: %w", err)
	}
	disk, err := c.Open(c)
	if err != nil {
		return nil, err
	}
	s := &Stores{file: disk.Log, stop: &failStop{
		store: disk.Log, deadline: c.Deadline, fatal: c.Fatal, observe: c.Observe, delay: c.Delay, now: time.Now,
	}}
	if err := s.assemble(c, disk.Snapshots); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// OpenFiles keeps everything in c.Dir.
func OpenFiles(c StoreConfig) (Disk, error) {
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return Disk{}, err
	}
	if err := removeUnfinished(filepath.Join(c.Dir, "snapshots")); err != nil {
		return Disk{}, fmt.Errorf("remove unfinished snapshots: %w", err)
	}
	snaps, err := raft.NewFileSnapshotStoreWithLogger(c.Dir, c.Retain, hclogTo(c.Log))
	if err != nil {
		return Disk{}, fmt.Errorf("open snapshots: %w", err)
	}
	bolt, err := openBolt(filepath.Join(c.Dir, "raft.db"))
	if err != nil {
		return Disk{}, fmt.Errorf("open log: %w", err)
	}
	return Disk{Log: bolt, Snapshots: snaps}, nil
}

func (s *Stores) assemble(c StoreConfig, snaps raft.SnapshotStore) error {
	cached, err := raft.NewLogCache(c.Cache, chunkedLog{s.stop, deleteChunk})
	if err != nil {
		return err
	}
	s.Stable = s.stop
	s.Log, s.Snapshots, err = newBoundary(cached, snaps, func(err error) { _ = s.stop.fail("boundary", err) })
	return err
}

// openBolt opens the file that holds the log and the vote.
//
// The freelist stays in memory. Written with each commit, it makes appends an
// order of magnitude slower once a compaction has freed half of the file; read
// at start it costs a scan of the file, and no safety. The file itself never
// shrinks.
func openBolt(path string) (*raftboltdb.BoltStore, error) {
	return raftboltdb.New(raftboltdb.Options{
		Path: path,
		BoltOptions: &bbolt.Options{
			NoFreelistSync: true,
			FreelistType:   bbolt.FreelistMapType,
			Timeout:        openTimeout,
		},
		MsgpackUseNewTimeFormat: true, // both formats are read, this one is smaller
	})
}

// removeUnfinished deletes snapshots that a crash interrupted; raft leaves them
// where they are, each as large as a whole one.
func removeUnfinished(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if e.IsDir() && strings.HasSuffix(e.Name(), ".tmp") {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// Close closes the file. Raft must have shut down; reads that it still makes,
// for its metrics, fail without harm. After a write that hangs the file stays
// open, as closing it would hang as well.
func (s *Stores) Close() error {
	if !s.stop.close() {
		return s.stop.failed()
	}
	return s.file.Close()
}
