// Package raftlog recovers the committed log of a run from what its nodes left
// behind: their log stores once they have stopped, and links to the snapshots
// that they made on the way.
//
// Nodes compact their logs, so none of them need have all entries. What one has
// dropped another may still hold, and a snapshot bridges what all have dropped.
package raftlog

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"github.com/hashicorp/raft"
)

// An Entry is one entry of raft's log. Only commands carry data.
type Entry struct {
	Index, Term uint64
	Type        raft.LogType
	Wall        int64 // when the leader appended it, by the machine's wall clock, Unix ns
	Data        []byte
}

// Command reports whether the state machine applies the entry.
func (e *Entry) Command() bool { return e.Type == raft.LogCommand }

// A Snapshot is one snapshot file of one node.
type Snapshot struct {
	Node        string
	Index, Term uint64 // of the last entry it covers
	Path        string // of the directory with its files
}

// A Log is the committed log of a run, as far as it can be known.
type Log struct {
	// Committed is the index up to which entries are known to be committed.
	// What nodes hold beyond it is left out.
	Committed uint64
	Entries   []Entry    // by index, each once
	Snapshots []Snapshot // by index
	// Conflicts describes entries at or below Committed on which nodes disagree:
	// that must never happen.
	Conflicts []string
}

// A NodeLog is what one node holds.
type NodeLog struct {
	Node    string
	Entries []Entry
}

// maxConflicts bounds the list of a Log.
const maxConflicts = 20

// Merge joins what nodes hold up to an index that is known to be committed.
func Merge(nodes []NodeLog, snapshots []Snapshot, committed uint64) *Log {
	l := &Log{Committed: committed, Snapshots: slices.Clone(snapshots)}
	slices.SortStableFunc(l.Snapshots, func(a, b Snapshot) int { return cmp.Compare(a.Index, b.Index) })
	type held struct {
		node  string
		entry *Entry
	}
	known := make(map[uint64]held)
	for _, n := range nodes {
		for i := range n.Entries {
			e := &n.Entries[i]
			if e.Index > committed {
				continue
			}
			first, ok := known[e.Index]
			if !ok {
				known[e.Index] = held{n.Node, e}
				l.Entries = append(l.Entries, *e)
				continue
			}
			if !same(first.entry, e) && len(l.Conflicts) < maxConflicts {
				l.Conflicts = append(l.Conflicts, fmt.Sprintf("entry %d: %s holds %v of term %d (%d bytes), %s holds %v of term %d (%d bytes)",
					e.Index, first.node, first.entry.Type, first.entry.Term, len(first.entry.Data), n.Node, e.Type, e.Term, len(e.Data)))
			}
		}
	}
	slices.SortFunc(l.Entries, func(a, b Entry) int { return cmp.Compare(a.Index, b.Index) })
	return l
}

func same(a, b *Entry) bool {
	return a.Term == b.Term && a.Type == b.Type && bytes.Equal(a.Data, b.Data)
}

// A Gap is a range of indexes, both included, that no node holds.
type Gap struct{ From, To uint64 }

// Gaps returns what is missing between 1 and Committed.
func (l *Log) Gaps() []Gap {
	var gaps []Gap
	next := uint64(1)
	for i := range l.Entries {
		if at := l.Entries[i].Index; at > next {
			gaps = append(gaps, Gap{next, at - 1})
		}
		next = l.Entries[i].Index + 1
	}
	if next <= l.Committed {
		gaps = append(gaps, Gap{next, l.Committed})
	}
	return gaps
}

// Bridge returns the oldest snapshot that leads over a gap: it covers the last
// missing entry, or one so near to it that the log goes on from there.
func (l *Log) Bridge(g Gap) (Snapshot, bool) {
	for _, s := range l.Snapshots {
		if s.Index >= g.To {
			return s, true
		}
	}
	return Snapshot{}, false
}
