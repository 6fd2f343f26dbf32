package raftlog

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/tkcoord/tkcoord/fsm"
)

// Files of one snapshot, as hashicorp/raft lays it out.
const (
	metaFile  = "meta.json"
	stateFile = "state.bin"
)

// An Archive keeps the snapshots of a run's nodes by links, so that they outlive
// the nodes' own housekeeping and cost no copy. It must lie on the file system
// of the data directories. Not safe for concurrent use.
type Archive struct {
	dir  string
	kept map[string]bool
}

// NewArchive returns an archive in a directory of its own.
func NewArchive(dir string) (*Archive, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("snapshot archive: %w", err)
	}
	return &Archive{dir, make(map[string]bool)}, nil
}

// Collect links the complete snapshots of a node that are not in the archive
// yet. One that the node deletes meanwhile is left out.
func (a *Archive) Collect(node, data string) error {
	dir := filepath.Join(data, snapshotsDir)
	list, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("snapshots of %s: %w", node, err)
	}
	for _, e := range list {
		name := node + "_" + e.Name()
		if !e.IsDir() || strings.HasSuffix(e.Name(), ".tmp") || a.kept[name] {
			continue
		}
		err := link(filepath.Join(dir, e.Name()), filepath.Join(a.dir, name))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("keep snapshot %s of %s: %w", e.Name(), node, err)
		}
		a.kept[name] = true
	}
	return nil
}

// link makes to a copy of a snapshot's directory, whole or not at all.
func link(from, to string) error {
	tmp := to + ".part"
	if err := errors.Join(os.RemoveAll(tmp), os.Mkdir(tmp, 0o755)); err != nil {
		return err
	}
	for _, f := range []string{metaFile, stateFile} {
		if err := os.Link(filepath.Join(from, f), filepath.Join(tmp, f)); err != nil {
			return errors.Join(err, os.RemoveAll(tmp))
		}
	}
	return os.Rename(tmp, to)
}

// ReadArchive lists the snapshots of an archive by index. A directory that is
// not there holds none.
func ReadArchive(dir string) ([]Snapshot, error) {
	list, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []Snapshot
	for _, e := range list {
		node, _, ok := strings.Cut(e.Name(), "_")
		if !ok || strings.HasSuffix(e.Name(), ".part") {
			continue
		}
		s := Snapshot{Node: node, Path: filepath.Join(dir, e.Name())}
		data, err := os.ReadFile(filepath.Join(s.Path, metaFile))
		if err != nil {
			return nil, err
		}
		var meta struct{ Index, Term uint64 }
		if err := json.Unmarshal(data, &meta); err != nil {
			return nil, fmt.Errorf("snapshot %s: %w", e.Name(), err)
		}
		s.Index, s.Term = meta.Index, meta.Term
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b Snapshot) int { return int(int64(a.Index) - int64(b.Index)) })
	return all, nil
}

// Restore returns the state machine that a snapshot holds.
func (s Snapshot) Restore() (*fsm.Machine, error) {
	f, err := os.Open(filepath.Join(s.Path, stateFile))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return restore(f)
}

func restore(r io.Reader) (*fsm.Machine, error) {
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	return fsm.Restore(z)
}
