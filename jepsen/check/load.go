package check

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/tkcoord/tkcoord/jepsen/history"
	"github.com/tkcoord/tkcoord/jepsen/raftlog"
)

// Where a run keeps what it leaves behind, in its directory.
const (
	MetaFile     = "run.json"
	EventsFile   = "events.jsonl"
	LogFile      = "log.zst"
	ClientsDir   = "clients"
	SnapshotsDir = "snapshots"
	// HostsDir has a directory for each host, with its output in OutputFile.
	HostsDir   = "hosts"
	OutputFile = "output.log"
)

// Load reads the directory of a run.
func Load(dir string) (*Case, error) {
	var m Meta
	data, err := os.ReadFile(filepath.Join(dir, MetaFile))
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("%s: %w", MetaFile, err)
	}
	h, err := history.ReadDir(filepath.Join(dir, ClientsDir))
	if err != nil {
		return nil, err
	}
	l, err := raftlog.Load(filepath.Join(dir, LogFile), filepath.Join(dir, SnapshotsDir))
	if err != nil {
		return nil, err
	}
	events, err := ReadEvents(filepath.Join(dir, EventsFile))
	if err != nil {
		return nil, err
	}
	lines, err := scanLogs(filepath.Join(dir, HostsDir))
	if err != nil {
		return nil, err
	}
	return NewCase(m, h, l, Pair(events), lines), nil
}

func scanLogs(dir string) ([]LogLine, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*", OutputFile))
	if err != nil {
		return nil, err
	}
	slices.Sort(files)
	var all []LogLine
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		lines, err := ScanLog(filepath.Base(filepath.Dir(name)), f)
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
		all = append(all, lines...)
	}
	return all, nil
}

// ReadEvents reads what the nemeses did. A run without faults has no file.
func ReadEvents(path string) ([]Event, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []Event
	in := bufio.NewScanner(bytes.NewReader(data))
	for n := 1; in.Scan(); n++ {
		var e Event
		if err := json.Unmarshal(in.Bytes(), &e); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", filepath.Base(path), n, err)
		}
		all = append(all, e)
	}
	return all, in.Err()
}
