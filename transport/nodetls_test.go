package transport

import (
	"log/slog"
	"maps"
	"testing"

	"github.com/tkcoord/tkcoord/fsm"
)

// A changed certificate ends the raft connections that were made with the old
// one, and the cluster goes on with new ones.
func TestNodeFollowsCertificates(t *testing.T) {
	t.Parallel() // it mostly waits
	dir := t.TempDir()
	c := newTestNodes(t, 2, func(cfg *NodeConfig) {
		var err error
		if cfg.TLS, err = issueNode(t, dir, cfg.ID).Open(slog.New(slog.DiscardHandler)); err != nil {
			t.Fatal(err)
		}
	})
	n := c.ready()
	streams := func() map[*stream]struct{} {
		n.stream.mu.Lock()
		defer n.stream.mu.Unlock()
		return maps.Clone(n.stream.streams)
	}
	c.must(fsm.Digest{})
	old := streams()
	if len(old) == 0 {
		t.Fatal("the leader has no connection")
	}
	issueNode(t, dir, n.cfg.ID)
	eventually(t, "the old connections end", func() bool {
		for s := range streams() {
			if _, ok := old[s]; ok {
				return false
			}
		}
		return true
	})
	c.ready()
	c.must(fsm.Digest{})
}
