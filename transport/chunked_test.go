package transport

import (
	"errors"
	"fmt"
	"testing"

	"github.com/hashicorp/raft"
	"pgregory.net/rapid"
)

// A crashingLog checks, after each write, what a crash at that moment leaves.
type crashingLog struct {
	raft.LogStore
	t      *rapid.T
	writes int
	most   uint64 // entries deleted by one write
}

func (l *crashingLog) DeleteRange(low, high uint64) error {
	if err := l.LogStore.DeleteRange(low, high); err != nil {
		return err
	}
	l.writes++
	l.most = max(l.most, high-low+1)
	first, _ := l.FirstIndex()
	last, _ := l.LastIndex()
	for i := first; first > 0 && i <= last; i++ {
		if err := l.GetLog(i, &raft.Log{}); err != nil {
			return fmt.Errorf("a crash after deleting %d to %d leaves %d to %d without %d", low, high, first, last, i)
		}
	}
	return nil
}

// Deleting in pieces comes to the same as deleting at once, takes no more than
// a chunk at a time, and never leaves a hole behind, provided that there would
// be none in the end.
func TestChunkedLogDeletes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		first := rapid.Uint64Range(1, 10).Draw(t, "first")
		last := first + rapid.Uint64Range(0, 40).Draw(t, "more")
		chunk := rapid.Uint64Range(1, 12).Draw(t, "chunk")
		low, high := rapid.Uint64Range(0, last+2).Draw(t, "low"), last
		if rapid.Bool().Draw(t, "from the beginning") {
			low, high = rapid.Uint64Range(0, first).Draw(t, "low"), rapid.Uint64Range(0, last+2).Draw(t, "high")
		}
		whole, pieces := raft.NewInmemStore(), raft.NewInmemStore()
		entries := (&fakeLeader{}).entries(first, last, 1)
		if err := errors.Join(whole.StoreLogs(entries), pieces.StoreLogs(entries)); err != nil {
			t.Fatal(err)
		}
		crash := &crashingLog{LogStore: pieces, t: t}
		if err := (chunkedLog{crash, chunk}).DeleteRange(low, high); err != nil {
			t.Fatal(err)
		}
		if max(low, first) <= min(high, last) { // the in-memory store has its own ideas about empty ranges
			if err := whole.DeleteRange(max(low, first), min(high, last)); err != nil {
				t.Fatal(err)
			}
		}
		for i := first; i <= last; i++ {
			if a, b := whole.GetLog(i, &raft.Log{}), pieces.GetLog(i, &raft.Log{}); a != b {
				t.Fatalf("entry %d: %v in pieces, want %v", i, b, a)
			}
		}
		if crash.most > chunk {
			t.Fatalf("%d entries in one write, want at most %d", crash.most, chunk)
		}
	})
}

// Appends get their turn between the pieces.
func TestChunkedLogLetsAppendsThrough(t *testing.T) {
	inner := raft.NewInmemStore()
	if err := inner.StoreLogs((&fakeLeader{}).entries(1, 100, 1)); err != nil {
		t.Fatal(err)
	}
	next := uint64(101)
	l := chunkedLog{appendingLog{inner, &next}, 10}
	if err := l.DeleteRange(1, 90); err != nil {
		t.Fatal(err)
	}
	if next < 105 {
		t.Errorf("%d appends got through, want one per piece", next-101)
	}
}

// An appendingLog appends an entry after each write, as raft's main goroutine
// does while another one compacts.
type appendingLog struct {
	raft.LogStore
	next *uint64
}

func (l appendingLog) DeleteRange(low, high uint64) error {
	if err := l.LogStore.DeleteRange(low, high); err != nil {
		return err
	}
	*l.next++
	return l.StoreLog(&raft.Log{Index: *l.next - 1, Term: 1})
}
