package main

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tkcoord/tkcoord/api/throttlekitv1"
	"github.com/tkcoord/tkcoord/edge"
)

const tiers = `version: 2
limiters:
  leased:
    strategy: quota
    limit: 300
    resetCadence: calendar-month
    twoTier: {batch: 20}
  paced:
    strategy: gcra
    limit: 1
    period: 1h
    burst: 100
    twoTier: {batch: 10}
  shared:
    strategy: quota
    limit: 100
    resetCadence: fixed
    period: 365d
    federated: {batch: 16}
  slow:
    strategy: tokenBucket
    capacity: 5
    refillPerSec: 0.001
    twoTier: {mode: cached-deny}
`

// TestNodesDecide: over three real nodes, two-tier and federated checks are
// decided by the node that is asked, a batch is one entry of the log, and all nodes
// together admit what the limit says.
func TestNodesDecide(t *testing.T) {
	c := startReal(t, 3, tiers)
	c.knows("leased")
	var rates []throttlekitv1.RateLimiterClient
	for _, m := range c.members {
		rates = append(rates, throttlekitv1.NewRateLimiterClient(dialPlain(t, m.addresses().GRPC)))
	}
	check := func(node int, policy, key string, cost int64) *throttlekitv1.Decision {
		t.Helper()
		res, err := rates[node].Check(t.Context(), &throttlekitv1.CheckRequest{Policy: policy, Key: key, Cost: cost})
		if err != nil {
			t.Fatal(err)
		}
		return res.Decision
	}

	for node := range rates {
		for i := range int64(25) {
			if d := check(node, "leased", "a", 1); !d.Allowed || d.Limit != 300 || d.Remaining != (39-i)%20 || d.ResetAt == 0 {
				t.Fatalf("check %d at node %d: %v", i, node, d)
			}
		}
	}
	before := c.applied()
	for range 15 {
		check(1, "leased", "a", 1)
	}
	if n := c.applied() - before; n > 7 { // those of the leader itself
		t.Errorf("%d entries for 15 checks from credits", n)
	}

	for _, tt := range []struct {
		policy string
		want   int64
	}{{"leased", 300}, {"paced", 100}} {
		var admitted atomic.Int64
		var work sync.WaitGroup
		for node := range rates {
			for range 4 {
				work.Go(func() {
					for {
						res, err := rates[node].Check(t.Context(), &throttlekitv1.CheckRequest{Policy: tt.policy, Key: "b"})
						if err != nil {
							t.Error(err)
							return
						}
						if !res.Decision.Allowed {
							return
						}
						admitted.Add(1)
					}
				})
			}
		}
		work.Wait()
		if n := admitted.Load(); n != tt.want {
			t.Errorf("%s: %d admitted, want %d", tt.policy, n, tt.want)
		}
	}

	fleet := throttlekitv1.NewFleetClient(dialPlain(t, c.members[2].addresses().GRPC))
	reserve := func(wants int64) int64 {
		t.Helper()
		res, err := fleet.Reserve(t.Context(), &throttlekitv1.ReserveRequest{Policy: "shared", Caller: &throttlekitv1.Caller{Domain: "d"}, Wants: wants})
		if err != nil {
			t.Fatal(err)
		}
		return res.Lease.Capacity
	}
	if d := check(0, "shared", "d", 1); !d.Allowed || d.Remaining != 15 {
		t.Errorf("federated: %v, want 15 of 16 left at this node", d)
	}
	if n := reserve(70); n != 70 {
		t.Errorf("reserved %d of 70", n)
	}
	if d := check(1, "shared", "d", 1); !d.Allowed || d.Remaining != 13 {
		t.Errorf("federated: %v, want 13 of the last 14 left", d)
	}
	if n := reserve(1); n != 0 {
		t.Errorf("reserved %d of nothing", n)
	}
	if d := check(2, "shared", "d", 1); d.Allowed || d.Remaining != 0 || d.RetryAfterMs <= 0 {
		t.Errorf("federated, nothing left: %v", d)
	}

	for range 5 {
		check(0, "slow", "e", 1)
	}
	first := check(0, "slow", "e", 1)
	before = c.applied()
	for range 20 {
		if d := check(0, "slow", "e", 1); d.Allowed || d.ResetAt != first.ResetAt || d.RetryAfterMs > first.RetryAfterMs {
			t.Errorf("%v, want the denial %v again", d, first)
		}
	}
	if n := c.applied() - before; n > 10 {
		t.Errorf("%d entries for 20 denials that are remembered", n)
	}
}

// knows waits until every node has a policy. Before, a node leaves its checks to the
// leader.
func (c *realCluster) knows(policy string) {
	c.t.Helper()
	for _, m := range c.members {
		within(c.t, m.id+" to have the policies", func() bool {
			m.mu.Lock()
			defer m.mu.Unlock()
			return m.proc.server.Configured(policy)
		})
	}
}

// applied returns the newest index that some node has applied.
func (c *realCluster) applied() (index uint64) {
	for _, m := range c.members {
		m.mu.Lock()
		index = max(index, m.proc.node.Status().AppliedIndex)
		m.mu.Unlock()
	}
	return index
}

// TestNodesDecideThroughFailover: a node spends what it holds while nobody leads,
// and what a node held that stopped in good order can be spent elsewhere.
func TestNodesDecideThroughFailover(t *testing.T) {
	c := startReal(t, 3, tiers)
	c.knows("leased")
	lead := c.leader()
	var other *devMember
	for _, m := range c.members {
		if m != lead {
			other = m
		}
	}
	here := throttlekitv1.NewRateLimiterClient(dialPlain(t, other.addresses().GRPC))
	check := func(key string) (*throttlekitv1.Decision, error) {
		res, err := here.Check(t.Context(), &throttlekitv1.CheckRequest{Policy: "leased", Key: key})
		return res.GetDecision(), err
	}
	if d, err := check("a"); err != nil || !d.Allowed {
		t.Fatal(d, err)
	}
	there := throttlekitv1.NewRateLimiterClient(dialPlain(t, lead.addresses().GRPC))
	if res, err := there.Check(t.Context(), &throttlekitv1.CheckRequest{Policy: "leased", Key: "b", Cost: 150}); err != nil || !res.Decision.Allowed {
		t.Fatal(res, err)
	}
	if err := c.kill(lead); err != nil {
		t.Fatal(err)
	}
	for i := range 19 {
		if d, err := check("a"); err != nil || !d.Allowed || d.ResetAt == 0 {
			t.Errorf("check %d, with credits, after the leader was killed: %v, %v", i, d, err)
		}
	}
	if d, err := check("a"); err != nil || !d.Allowed || d.ResetAt == 0 {
		t.Errorf("without credits, once there is a leader: %v, %v", d, err)
	}
	if err := c.start(lead); err != nil {
		t.Fatal(err)
	}
}

// TestMeterOverNodes: meters of two processes stop at one budget, over the public
// door of any node, also one that is killed meanwhile.
func TestMeterOverNodes(t *testing.T) {
	c := startReal(t, 3, "version: 2\nlimiters:\n  tokens:\n    tokenBudget: {budget: 1000, windowMs: 31536000000}\n")
	var admitted atomic.Int64
	var work sync.WaitGroup
	for i := range 2 {
		cfg := edge.DefaultConfig()
		cfg.EdgeID, cfg.Logger, cfg.Patience = fmt.Sprint("edge-", i), slog.New(slog.DiscardHandler), 10*time.Second
		for _, m := range c.members {
			cfg.Addresses = append(cfg.Addresses, m.addresses().GRPC)
		}
		e, err := edge.Open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = e.Close() })
		m := e.Meter("tokens")
		if err := m.SetBatch(edge.MeterBatch{Size: 10, MaxAge: time.Second}); err != nil {
			t.Fatal(err)
		}
		work.Go(func() {
			for {
				d, err := m.Debit(t.Context(), "k", 3)
				switch {
				case errors.Is(err, edge.ErrUnavailable):
					continue // it may have been counted
				case err != nil:
					t.Error(err)
					return
				case !d.Allowed:
					return
				}
				admitted.Add(3)
			}
		})
	}
	within(t, "some of the budget to be used", func() bool { return admitted.Load() > 300 })
	lead := c.leader()
	if err := c.kill(lead); err != nil {
		t.Fatal(err)
	}
	work.Wait()
	if n := admitted.Load(); n > 1000+2*9+2 || n < 900 {
		t.Errorf("%d admitted of 1000 in batches of 10", n)
	}
	if err := c.start(lead); err != nil {
		t.Fatal(err)
	}
}

// TestNodeGivesBack: a node that stops in good order gives its credits back.
func TestNodeGivesBack(t *testing.T) {
	c := startReal(t, 3, tiers)
	c.knows("leased")
	m := c.members[0]
	at := throttlekitv1.NewRateLimiterClient(dialPlain(t, m.addresses().GRPC))
	if res, err := at.Check(t.Context(), &throttlekitv1.CheckRequest{Policy: "leased", Key: "a"}); err != nil || !res.Decision.Allowed {
		t.Fatal(res, err)
	}
	m.cancel()
	<-m.ended
	elsewhere := throttlekitv1.NewRateLimiterClient(dialPlain(t, c.members[1].addresses().GRPC))
	res, err := elsewhere.Check(t.Context(), &throttlekitv1.CheckRequest{Policy: "leased", Key: "a", Cost: 299})
	if err != nil || !res.Decision.Allowed || res.Decision.Remaining != 0 {
		t.Errorf("%v, %v: want the other 299 of 300", res, err)
	}
}
