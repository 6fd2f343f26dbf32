package raftlog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
)

// Where a node keeps its log and snapshots below its data directory.
const (
	storeFile    = "raft/raft.db"
	snapshotsDir = "raft/snapshots"
)

// openTimeout is how long a node that is stopping may still hold its store.
const openTimeout = 5 * time.Second

// ReadNode reads the log of a stopped node from its data directory. A node that
// never wrote one has an empty log.
func ReadNode(node, data string) (_ NodeLog, err error) {
	n := NodeLog{Node: node}
	path := filepath.Join(data, storeFile)
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return n, nil
	}
	s, err := raftboltdb.New(raftboltdb.Options{
		Path:                    path,
		BoltOptions:             &bbolt.Options{ReadOnly: true, Timeout: openTimeout},
		MsgpackUseNewTimeFormat: true,
	})
	if err != nil {
		return n, fmt.Errorf("open the log of %s: %w", node, err)
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	first, err := s.FirstIndex()
	if err != nil {
		return n, fmt.Errorf("log of %s: %w", node, err)
	}
	last, err := s.LastIndex()
	if err != nil {
		return n, fmt.Errorf("log of %s: %w", node, err)
	}
	for i := first; 0 < i && i <= last; i++ {
		var l raft.Log
		err := s.GetLog(i, &l)
		if errors.Is(err, raft.ErrLogNotFound) {
			continue // below a snapshot that was installed
		}
		if err != nil {
			return n, fmt.Errorf("entry %d of %s: %w", i, node, err)
		}
		n.Entries = append(n.Entries, entryOf(&l))
	}
	return n, nil
}

func entryOf(l *raft.Log) Entry {
	e := Entry{Index: l.Index, Term: l.Term, Type: l.Type}
	if !l.AppendedAt.IsZero() {
		e.Wall = l.AppendedAt.UnixNano()
	}
	if e.Command() {
		e.Data = l.Data
	}
	return e
}
