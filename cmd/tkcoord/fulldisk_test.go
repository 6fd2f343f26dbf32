package main

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tkcoord/tkcoord/api/tkcoordv1"
)

const fullDiskPolicies = `version: 1
limiters:
  p: {strategy: fixedWindow, limit: 1000, period: 1h}
`

// fill writes about a MiB to the log through one node, and reports whether that
// node still answers.
func fill(t testing.TB, c tkcoordv1.EdgeClient, seq *uint64) bool {
	t.Helper()
	for range 4 {
		*seq++
		req := &tkcoordv1.ExchangeRequest{EdgeId: "filler", Incarnation: 1, Seq: *seq}
		for i := range 256 {
			key := fmt.Sprintf("%01000d", i)
			req.Asks = append(req.Asks, &tkcoordv1.Ask{Policy: "p", Key: key, Want: 1})
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		_, err := c.Exchange(ctx, req)
		cancel()
		if err != nil {
			return false
		}
	}
	return true
}

// A node whose disk is full stops, as leader and as follower, and says why in
// one line; the others go on granting. With room again it rejoins from its disk.
func TestFullDisk(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	for _, role := range []string{"leader", "follower"} {
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			c := startChildren(t, []string{"a", "b", "c"}, fullDiskPolicies)
			admin := newAdmins(t, c)
			full := c.named(t, "b")
			full.kill()
			full.env = []string{fileSize + "=600000"}
			full.start()
			c.waitReady(t)
			to := map[string]string{"leader": "b", "follower": "a"}[role]
			within(t, "node "+to+" leads", func() bool {
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				defer cancel()
				_, _ = admin.clients["c"].TransferLeadership(ctx, &tkcoordv1.TransferLeadershipRequest{NodeId: to})
				return admin.leader(t) == to
			})
			var edges []tkcoordv1.EdgeClient
			for _, conn := range c.dial(t) {
				edges = append(edges, tkcoordv1.NewEdgeClient(conn))
			}
			seq := uint64(0)
			within(t, "the disk is full", func() bool {
				for _, e := range edges {
					if full.gone() || fill(t, e, &seq) {
						break
					}
				}
				return full.gone()
			})
			if code := full.wait(); code != exitFailed {
				t.Errorf("exit code %d, want %d", code, exitFailed)
			}
			var said []string
			for line := range strings.Lines(full.out.String()) {
				if strings.Contains(line, "level=ERROR") || strings.Contains(line, "panic") || strings.Contains(line, "goroutine") {
					said = append(said, line)
				}
			}
			if len(said) != 1 || !strings.Contains(said[0], "node stops for good") || !strings.Contains(said[0], "file too large") {
				t.Errorf("it said:\n%s\nwant one line that says why", full.out)
			}
			within(t, "the others go on", func() bool { return fill(t, edges[0], &seq) })
			full.env = nil
			full.start()
			c.waitReady(t)
			d, err := admin.clients[admin.leader(t)].Digest(t.Context(), &tkcoordv1.DigestRequest{})
			if err != nil || !d.Equal || len(d.Nodes) != 3 || d.Nodes[1].Error != "" {
				t.Errorf("digests %v, %v; want three equal ones", d, err)
			}
		})
	}
}

// A node that finds no room at all does not start.
func TestFullDiskAtStart(t *testing.T) {
	n := &child{t: t, name: "a", args: []string{"--data", t.TempDir()}, env: []string{fileSize + "=1000"}}
	n.run()
	if code := n.wait(); code != exitFailed {
		t.Errorf("exit code %d, want %d", code, exitFailed)
	}
	if out := n.out.String(); strings.Count(out, "\n") != 1 || !strings.HasPrefix(out, "tkcoord: serve: ") || !strings.Contains(out, "file too large") {
		t.Errorf("it said:\n%s\nwant one line that says why", out)
	}
}
