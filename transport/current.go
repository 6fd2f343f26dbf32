package transport

import (
	"context"
	"time"
)

// stayCurrent finds out, after each change of leader, when the replica holds what
// the new leader held by then. What raft calls the commit index does not tell: a
// follower that has just started, or was cut off, has heard of no newer one.
func (n *Node) stayCurrent(ctx context.Context) error {
	for ctx.Err() == nil {
		changed := n.LeaderChanged()
		n.current.Store(false)
		pause := n.cfg.Tick
		if n.caughtUp(ctx, changed) {
			n.current.Store(true)
			pause = time.Hour
		}
		again := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-changed:
		case <-again.C:
		}
		again.Stop()
	}
	return nil
}

// caughtUp waits until the replica holds what the leader has now. It reports
// false if there is no leader, if it does not answer, or if it changes first.
func (n *Node) caughtUp(ctx context.Context, changed <-chan struct{}) bool {
	if n.leading.Load() {
		return true
	}
	l, ok := n.Leader()
	if !ok || l.Address == "" || l.ID == n.cfg.ID {
		return false
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer cancel()
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}()
	actx, done := context.WithTimeout(ctx, askTimeout)
	defer done()
	s, err := n.peers.Stats(actx, l.Address)
	if err != nil {
		return false
	}
	// NB: the newest entry may be one that the state machine never sees. It sees
	// the next one, which the leader writes within a tick.
	return n.replica.applied.wait(ctx, s.AppliedIndex) == nil
}
