package transport

import (
	"context"
	"sync"
)

// An appliedIndex is the index of the newest entry that the state machine
// holds. It only grows. Raft's own AppliedIndex is that of the newest entry
// that was queued for the state machine, which is not the same.
//
// The zero value is an empty state machine. Safe for concurrent use.
type appliedIndex struct {
	mu    sync.Mutex // guards the rest
	index uint64
	moved chan struct{} // closed at the next advance; nil if nobody waits
}

// advance says that entry to has been applied, or restored with a snapshot.
func (a *appliedIndex) advance(to uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.index = max(a.index, to)
	if a.moved != nil {
		close(a.moved)
		a.moved = nil
	}
}

// load returns the index, 0 if nothing was applied.
func (a *appliedIndex) load() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.index
}

// wait returns when entry index has been applied, or with ctx's error.
func (a *appliedIndex) wait(ctx context.Context, index uint64) error {
	for {
		a.mu.Lock()
		if a.index >= index {
			a.mu.Unlock()
			return nil
		}
		if a.moved == nil {
			a.moved = make(chan struct{})
		}
		moved := a.moved
		a.mu.Unlock()
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-moved:
		}
	}
}
