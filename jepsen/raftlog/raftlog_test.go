package raftlog

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"github.com/klauspost/compress/zstd"
	"github.com/tkcoord/tkcoord/fsm"
)

func entry(index, term uint64, data string) Entry {
	e := Entry{Index: index, Term: term, Wall: int64(index) * 1000}
	if data != "" {
		e.Data = []byte(data)
	}
	return e
}

func indexes(l *Log) []uint64 {
	var got []uint64
	for _, e := range l.Entries {
		got = append(got, e.Index)
	}
	return got
}

func TestMerge(t *testing.T) {
	a := NodeLog{"a", []Entry{entry(1, 1, "x"), entry(2, 1, "y"), entry(3, 2, "z"), entry(4, 2, "only here")}}
	b := NodeLog{"b", []Entry{entry(3, 2, "z"), entry(4, 3, "other"), entry(6, 3, "w")}}
	l := Merge([]NodeLog{a, b}, []Snapshot{{Index: 9}, {Index: 5}}, 3)
	if got := indexes(l); !slices.Equal(got, []uint64{1, 2, 3}) || len(l.Conflicts) != 0 {
		t.Errorf("up to 3 the log has %v, conflicts %v", got, l.Conflicts)
	}
	l = Merge([]NodeLog{b, a}, []Snapshot{{Index: 9}, {Index: 5}}, 8)
	if got := indexes(l); !slices.Equal(got, []uint64{1, 2, 3, 4, 6}) {
		t.Errorf("up to 8 the log has %v", got)
	}
	if len(l.Conflicts) != 1 {
		t.Errorf("conflicts are %v, want one about entry 4", l.Conflicts)
	}
	if got := l.Gaps(); !slices.Equal(got, []Gap{{5, 5}, {7, 8}}) {
		t.Errorf("Gaps() = %v", got)
	}
	if s, ok := l.Bridge(Gap{5, 5}); !ok || s.Index != 5 {
		t.Errorf("the gap at 5 is bridged by %v, %v", s, ok)
	}
	if s, ok := l.Bridge(Gap{7, 8}); !ok || s.Index != 9 {
		t.Errorf("the gap at 7 is bridged by %v, %v", s, ok)
	}
	if _, ok := l.Bridge(Gap{7, 10}); ok {
		t.Error("a gap beyond all snapshots is bridged")
	}
}

func TestReadNode(t *testing.T) {
	dir := t.TempDir()
	if n, err := ReadNode("a", dir); err != nil || len(n.Entries) != 0 {
		t.Fatalf("a node that wrote nothing: %v, %v", n, err)
	}
	path := filepath.Join(dir, storeFile)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	s, err := raftboltdb.New(raftboltdb.Options{Path: path, MsgpackUseNewTimeFormat: true})
	if err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1_800_000_000, 123)
	err = s.StoreLogs([]*raft.Log{
		{Index: 5, Term: 2, Type: raft.LogCommand, Data: []byte("cmd"), AppendedAt: at},
		{Index: 6, Term: 2, Type: raft.LogConfiguration, Data: []byte("servers")},
		{Index: 7, Term: 3, Type: raft.LogNoop},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	n, err := ReadNode("a", dir)
	want := []Entry{{Index: 5, Term: 2, Wall: at.UnixNano(), Data: []byte("cmd")}, {Index: 6, Term: 2, Type: raft.LogConfiguration}, {Index: 7, Term: 3, Type: raft.LogNoop}}
	if err != nil || !reflect.DeepEqual(n.Entries, want) {
		t.Errorf("ReadNode() = %+v, %v", n.Entries, err)
	}
}

func TestSaveAndLoad(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "log.zst")
	want := &Log{Committed: 9, Conflicts: []string{"entry 2"}, Entries: []Entry{entry(1, 1, "x"), entry(2, 1, ""), {Index: 3, Term: 1, Type: raft.LogNoop}}}
	if err := want.Save(path); err != nil {
		t.Fatal(err)
	}
	got, err := Load(path, filepath.Join(dir, "none"))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("Load() = %+v, %v", got, err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 3, len(data) - 5} {
		if err := os.WriteFile(path, data[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		if l, err := Load(path, dir); err == nil {
			t.Errorf("the first %d bytes are taken for a log of %d entries", n, len(l.Entries))
		}
	}
}

func TestArchiveOutlivesReaping(t *testing.T) {
	data, into := t.TempDir(), filepath.Join(t.TempDir(), "archive")
	m := fsm.New()
	var b fsm.Batch
	b.Add(fsm.Genesis{ClusterID: "c", Settings: fsm.DefaultSettings()})
	if _, err := m.Apply(4, b.Seal(1000, 1), false); err != nil {
		t.Fatal(err)
	}
	snap := filepath.Join(data, snapshotsDir, "2-4-1000")
	if err := os.MkdirAll(snap, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(snap+".tmp", 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(snap, stateFile))
	if err != nil {
		t.Fatal(err)
	}
	z, err := zstd.NewWriter(f)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Freeze().WriteTo(z); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(snap, metaFile), []byte(`{"Version":1,"ID":"2-4-1000","Index":4,"Term":2,"CRC":"AAAA"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	a, err := NewArchive(into)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := a.Collect("n1", data); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.RemoveAll(data); err != nil {
		t.Fatal(err)
	}
	if err := a.Collect("n1", data); err != nil {
		t.Errorf("a node without snapshots: %v", err)
	}
	list, err := ReadArchive(into)
	if err != nil || len(list) != 1 || list[0].Node != "n1" || list[0].Index != 4 || list[0].Term != 2 {
		t.Fatalf("ReadArchive() = %+v, %v", list, err)
	}
	got, err := list[0].Restore()
	if err != nil || got.Freeze().Digest() != m.Freeze().Digest() {
		t.Errorf("the archived snapshot restores to another state: %v", err)
	}
}
