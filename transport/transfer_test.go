package transport

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// Raft forgets to end a transfer of leadership to a server that it stops
// replicating to, and from then on that node refuses everything, also when it
// leads again. The first transfer leaves a request that replication, which waits
// for an answer, does not take; the second waits for room to leave its own, and
// once leadership is over nobody takes either. Found by clusters in a bubble
// (jepsen/bubble, seed 286). If this fails, raft has been mended and barrier need
// not look for it.
func TestRaftForgetsTransfer(t *testing.T) {
	c := newMemCluster(t, 3, func(_ int, n *memNode) { n.shortTimeouts() })
	old := c.leader(t)
	slow, next := (old+1)%3, (old+2)%3
	release := c[old].trans.hold(t, c[slow].config.LocalID)
	pollUntil(t, "heartbeat and replication wait", func() bool { return c[old].trans.waiting.Load() > 1 })
	c.apply(t, old, 1, "a")
	for range 2 {
		pollUntil(t, "a transfer comes to nothing", func() bool {
			err := c[old].LeadershipTransferToServer(c[slow].config.LocalID, c[slow].address).Error()
			if err == nil {
				t.Fatal("a server that does not answer took leadership over")
			}
			return !errors.Is(err, raft.ErrLeadershipTransferInProgress) // the one before is about to end
		})
	}
	c.elect(t, next)
	pollUntil(t, "the old leader follows", func() bool { return c[old].State() == raft.Follower })
	release()
	c.settle(t)
	_, from := raft.NewInmemTransport("")
	from.Connect(c[old].address, c[old].trans.InmemTransport)
	req := &raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: 3}}
	if err := from.TimeoutNow(c[old].config.LocalID, c[old].address, req, &raft.TimeoutNowResponse{}); err != nil {
		t.Fatal(err)
	}
	pollUntil(t, "it leads again", func() bool { return c[old].State() == raft.Leader })
	for begin := time.Now(); time.Since(begin) < 3*c[old].config.ElectionTimeout; time.Sleep(20 * time.Millisecond) {
		if err := c[old].Barrier(0).Error(); !errors.Is(err, raft.ErrLeadershipTransferInProgress) {
			t.Fatalf("Barrier = %v, want %v", err, raft.ErrLeadershipTransferInProgress)
		}
	}
}

// refusing is a raft that refuses barriers for a while.
type refusing struct{ until time.Time }

func (r refusing) Barrier(time.Duration) raft.Future {
	if time.Now().Before(r.until) {
		return answered{raft.ErrLeadershipTransferInProgress}
	}
	return answered{}
}

type answered struct{ err error }

func (a answered) Error() error { return a.err }

// A transfer that is under way ends within an election timeout. One that does
// not was forgotten, and the node is given up.
func TestBarrierWaitsForTransfer(t *testing.T) {
	for _, tt := range []struct {
		name    string
		refuses time.Duration
		fatal   bool
	}{
		{"under way", 300 * time.Millisecond, false},
		{"forgotten", time.Hour, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var fatal error
				err := barrier(t.Context(), refusing{time.Now().Add(tt.refuses)}, 250*time.Millisecond, func(err error) { fatal = err })
				if (fatal != nil) != tt.fatal || (err != nil) != tt.fatal {
					t.Errorf("barrier = %v, fatal %v; want fatal: %v", err, fatal, tt.fatal)
				}
			})
		})
	}
}
