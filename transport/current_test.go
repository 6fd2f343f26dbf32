package transport

import (
	"testing"
	"time"

	"github.com/tkcoord/tkcoord/fsm"
)

// A node that starts again is not ready before it holds what the leader held when
// it started, whatever raft says of its commit index.
func TestNodeReadyOnceCurrent(t *testing.T) {
	t.Parallel() // it mostly waits
	c := newTestNodes(t, 3, nil)
	l := c.ready()
	n := c.followers(l)[0]
	n.halt()
	for range 300 {
		c.must(fsm.Digest{})
	}
	held := l.replica.applied.load()
	n.start()
	for end := time.Now().Add(time.Minute); n.Ready() != nil; time.Sleep(100 * time.Microsecond) {
		if time.Now().After(end) {
			t.Fatalf("not ready: %v", n.Ready())
		}
	}
	if got := n.replica.applied.load(); got < held {
		t.Errorf("ready with entry %d, the leader held %d when it started", got, held)
	}
}
