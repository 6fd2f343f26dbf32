package transport

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

type futureFunc func() error

func (f futureFunc) Error() error { return f() }

func TestAwait(t *testing.T) {
	broken := errors.New("broken")
	for _, want := range []error{nil, broken} {
		if err := await(t.Context(), futureFunc(func() error { return want })); err != want {
			t.Errorf("await = %v, want %v", err, want)
		}
	}
	why := errors.New("leadership ended")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	never := make(chan struct{})
	defer close(never)
	if err := await(ctx, futureFunc(func() error { <-never; return nil })); err != why {
		t.Errorf("await = %v, want %v", err, why)
	}
}

// Raft leaves futures unanswered when it shuts down under load
// (hashicorp/raft#498): those of entries that are committed and wait for the
// state machine. Those who wait for them must come free.
func TestAwaitShutdownUnderLoad(t *testing.T) {
	gate := make(chan struct{})
	c := newMemCluster(t, 1, func(_ int, n *memNode) { n.fsm.gate = gate })
	lead := c[0]
	const waiters = 50
	ctx, cancel := context.WithCancel(t.Context())
	answered := make(chan error, waiters)
	for range waiters {
		f := lead.Apply([]byte("x"), time.Second)
		go func() { answered <- await(ctx, f) }()
	}
	pollUntil(t, "all are committed", func() bool { return lead.CommitIndex() >= waiters })
	down := lead.Shutdown()
	close(gate)
	if err := down.Error(); err != nil {
		t.Fatal(err)
	}
	cancel() // as the node does once raft has ended
	lost := 0
	for range waiters {
		select {
		case err := <-answered:
			switch {
			case errors.Is(err, context.Canceled):
				lost++
			case err != nil && !errors.Is(err, raft.ErrRaftShutdown) && !errors.Is(err, raft.ErrLeadershipLost):
				t.Errorf("await = %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("somebody waits for ever")
		}
	}
	t.Logf("raft never answered %d of %d futures", lost, waiters)
}
