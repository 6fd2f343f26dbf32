package transport

import (
	"context"

	"github.com/hashicorp/raft"
)

// await returns what a future of raft's answers, or ctx's error. It may be
// called once for a future.
//
// Raft's futures know no context, and those that are on their way when raft
// shuts down may never be answered (hashicorp/raft#498), whatever timeout they
// were made with: that one ends when raft has accepted the request. So another
// goroutine waits for the future, and it is that one which may wait for ever,
// until the process ends. There is one for each call, so it is for callers to
// bound how many they have under way.
//
// ctx's error says nothing about the request, which may still succeed.
func await(ctx context.Context, f raft.Future) error { return awaitCall(ctx, f.Error) }

// awaitCall is await for calls that may block, such as making a future.
func awaitCall(ctx context.Context, call func() error) error {
	answer := make(chan error, 1)
	go func() { answer <- call() }()
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
