package transport

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/policy"
	"go.uber.org/goleak"
)

// testPolicy has one window that began an hour ago and outlasts any test.
var testPolicy = policy.Policy{
	Name: "p", Strategy: policy.Quota, Limit: 1000, MaxKeys: 100,
	Cadence: escrow.Cadence{Kind: escrow.Fixed, Period: day, Anchor: clock.Millis(time.Now().Add(-time.Hour).UnixMilli()) % day},
}

const day clock.Millis = 86_400_000

// asking is an exchange of an edge that wants credits of the test policy.
func asking(edge string, want escrow.Credits) *fsm.Exchange {
	return &fsm.Exchange{EdgeID: edge, Incarnation: 1, Seq: 1, Asks: []fsm.Ask{{Policy: "p", Key: "k", Need: want, Want: want}}}
}

// The first command of a cluster is its Genesis, however early others try: an
// entry before it would halt every replica.
func TestNodeGenesisComesFirst(t *testing.T) {
	// memberlist does not wait for a probe under way, which ends within seconds.
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent(), goleak.IgnoreAnyFunction("github.com/hashicorp/memberlist.(*Memberlist).probeNode"))
	t.Run("", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var early sync.WaitGroup
		c := newTestNodes(t, 3, nil)
		for _, n := range c.nodes {
			early.Go(func() {
				for ctx.Err() == nil {
					if _, err := n.Propose(ctx, asking("e", 1)); err != nil && !errors.Is(err, ErrNotLeader) && ctx.Err() == nil {
						t.Errorf("Propose = %v", err)
						return
					}
					time.Sleep(time.Millisecond)
				}
			})
		}
		leader := c.ready()
		cancel()
		early.Wait()
		for _, e := range leader.entries() {
			if len(e.Commands) == 0 {
				continue
			}
			if _, ok := e.Commands[0].(fsm.Genesis); !ok {
				t.Errorf("the first command is %+v", e.Commands[0])
			}
			return
		}
		t.Error("no command in the log")
	})
}

// A cluster that was down for an hour steps its clock to the present once. What
// was granted before lives on for what it had left.
func TestNodeStepsOnceAfterRestart(t *testing.T) {
	c := newTestNodes(t, 3, func(cfg *NodeConfig) { cfg.Policies = []policy.Policy{testPolicy} })
	c.ready()
	before := c.must(asking("e", 10))
	c.stop()
	for _, n := range c.nodes {
		n.wall.Store(3_600_000)
		n.start()
	}
	c.ready()
	eventually(t, "the clock steps", func() bool { return c.leader().clock.WallOffset() < 1000 })
	// Each round of steering asks all peers.
	for range 2 {
		forgetHeard(c.leader())
		eventually(t, "another round of steering", func() bool { return len(c.leader().heardStats()) == 2 })
	}
	steps := 0
	for _, e := range c.leader().entries() {
		for _, cmd := range e.Commands {
			// A machine that is busy at the birth of the cluster may see a small one.
			if s, ok := cmd.(fsm.Step); ok && s.To-e.Stamp > 1_800_000 {
				steps++
			}
		}
	}
	if steps != 2 {
		t.Errorf("%d large steps in the log, want one at birth and one after the hour", steps)
	}
	if a := c.must(asking("e", 0)); a.Session != before.Session || a.Answers[0].Granted != 10 {
		t.Errorf("after the step session %d has %+v, want %d with 10", a.Session, a.Answers, before.Session)
	}
}

func forgetHeard(n *testNode) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.heard = nil
}

// The median counts only when a majority of the voters answered.
func TestNodeMedianNeedsMajority(t *testing.T) {
	c := newTestNodes(t, 3, nil)
	leader := c.ready()
	others := c.followers(leader)
	others[0].wall.Store(700) // below a step, so that steering leaves it
	check := func(name string, majority bool) {
		t.Helper()
		got, ok := leader.medianLag(t.Context())
		own := leader.clock.WallOffset()
		if ok != majority || ok && (got < own-300 || got > own+300) {
			t.Errorf("%s: medianLag = %d, %v; want about %d, as two of the clocks say, %v", name, got, ok, own, majority)
		}
	}
	check("all", true)
	c.silence(others[1], true)
	check("two of three, the lower counts", true)
	c.silence(others[0], true)
	check("one of three", false)
}

// A cluster clock far ahead of the wall clocks is never set back: it raises an
// alarm for as long as it is.
func TestNodeClockAheadAlarm(t *testing.T) {
	c := newTestNodes(t, 1, nil)
	n := c.ready()
	now := n.replica.Clock()
	n.wall.Store(-60_000)
	eventually(t, "an alarm", func() bool { return n.alarmed(AlarmClock, "") })
	if after := n.replica.Clock(); after < now {
		t.Errorf("the clock went from %d back to %d", now, after)
	}
	if err := n.Serving(); err != nil {
		t.Errorf("Serving = %v: the alarm is for people", err)
	}
	n.wall.Store(0)
	eventually(t, "the alarm is cleared", func() bool { return !n.alarmed(AlarmClock, "") })
}

// generous is what a replica makes of its log if it believes that one edge asked
// for more than it did.
func generous(c fsm.Command) fsm.Command {
	if x, ok := c.(*fsm.Exchange); ok && x.EdgeID == "e" {
		return asking("e", 77)
	}
	return c
}

// A replica whose state differs is found out, stops serving, and serves again
// once its state was repaired.
func TestNodeOddReplicaStopsServing(t *testing.T) {
	c := newTestNodes(t, 3, func(cfg *NodeConfig) { cfg.Policies = []policy.Policy{testPolicy} })
	leader := c.ready()
	c.must(asking("e", 10))
	if r := c.compare(); !r.Equal || len(r.Nodes) != 3 {
		t.Fatalf("CompareDigests = %+v, want three equal ones", r)
	}
	odd := c.followers(leader)[0]
	odd.rewrite(generous)
	if r := c.compare(); r.Equal {
		t.Fatalf("CompareDigests = %+v, want a difference", r)
	}
	eventually(t, "the odd replica stops serving", func() bool { return errors.Is(odd.Serving(), errOddReplica) })
	for _, n := range c.followers(odd) {
		if err := n.Serving(); err != nil {
			t.Errorf("%s does not serve either: %v", n.cfg.ID, err)
		}
	}
	if !errors.Is(odd.Ready(), errOddReplica) {
		t.Errorf("Ready = %v, want errOddReplica", odd.Ready())
	}
	odd.rewrite(func(c fsm.Command) fsm.Command { return c })
	if r := c.compare(); !r.Equal {
		t.Fatalf("CompareDigests = %+v, want equal ones", r)
	}
	eventually(t, "it serves again", func() bool { return odd.Serving() == nil })
}

// An odd replica that leads hands leadership over: the others' answers are right,
// and nobody else could give them.
func TestNodeOddLeaderStepsDown(t *testing.T) {
	c := newTestNodes(t, 3, func(cfg *NodeConfig) { cfg.Policies = []policy.Policy{testPolicy} })
	odd := c.ready()
	c.must(asking("e", 10))
	odd.rewrite(generous)
	if r := c.compare(); r.Equal {
		t.Fatalf("CompareDigests = %+v, want a difference", r)
	}
	eventually(t, "another node leads", func() bool {
		l, ok := odd.Leader()
		return ok && l.ID != odd.cfg.ID && c.leader() != odd
	})
	a := c.must(asking("e", 10))
	if len(a.Answers) != 1 || a.Answers[0].Granted != 10 {
		t.Errorf("granted %+v, want 10", a.Answers)
	}
	if !errors.Is(odd.Serving(), errOddReplica) {
		t.Errorf("Serving = %v, want errOddReplica", odd.Serving())
	}
}

// A leader that cannot found its cluster does not sit there and lead: it gives
// leadership up, says why, and the next one tries again.
func TestNodeFoundingFails(t *testing.T) {
	c := newTestNodes(t, 1, func(cfg *NodeConfig) {
		cfg.Policies = []policy.Policy{testPolicy, testPolicy} // refused: each name once
	})
	n := c.nodes[0]
	eventually(t, "it says why, and tries again", func() bool {
		return n.out.count("could not lead", "found the cluster", "each policy once") >= 2
	})
	if n.leading.Load() {
		t.Error("it leads all the same")
	}
}

// A restarted node has what it had.
func TestNodeRestartKeepsGrants(t *testing.T) {
	c := newTestNodes(t, 1, func(cfg *NodeConfig) { cfg.Policies = []policy.Policy{testPolicy} })
	c.ready()
	before := c.must(asking("e", 10))
	c.stop()
	c.nodes[0].start()
	c.ready()
	after := c.must(asking("e", 0))
	if after.Session != before.Session || len(after.Answers) != 1 || after.Answers[0].Granted != 10 {
		t.Errorf("after the restart session %d with %+v, want %d with 10", after.Session, after.Answers, before.Session)
	}
}

// A node that left and restarts finds the others again, also if it was the one
// that they were told to join: nobody looks for a node that said that it leaves.
func TestNodeFindsOthersAgain(t *testing.T) {
	c := newTestNodes(t, 3, nil)
	c.ready()
	first := c.nodes[0]
	if len(first.cfg.Gossip.Join) != 0 {
		t.Fatalf("the first node joins %v, want nobody", first.cfg.Gossip.Join)
	}
	if err := first.HandOver(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it has left", func() bool {
		return !slices.ContainsFunc(c.followers(first), func(n *testNode) bool {
			p, _ := n.gossip.Load().Peer(string(first.id))
			return p.Present()
		})
	})
	first.halt()
	first.start()
	c.ready()
	for _, n := range c.nodes {
		for _, m := range n.Members() {
			eventually(t, n.cfg.ID+" sees "+m.ID, func() bool {
				p, _ := n.gossip.Load().Peer(m.ServerID)
				return p.Present()
			})
		}
	}
}

// Members are shown with what gossip and, on the leader, their answers say.
func TestNodeMembers(t *testing.T) {
	c := newTestNodes(t, 3, nil)
	c.ready()
	eventually(t, "the leader has heard from all", func() bool {
		all := c.leader().Members()
		return len(all) == 3 && !slices.ContainsFunc(all, func(m MemberStatus) bool { return m.Lag < 0 || !m.Healthy })
	})
	eventually(t, "each node shows all members", func() bool {
		leader := c.leader().cfg.ID
		for _, n := range c.nodes {
			var ids []string
			for _, m := range n.Members() {
				if m.Voter && m.Gossip == "alive" && m.GRPCAddress == "grpc-"+m.ID && m.Leader == (m.ID == leader) && m.LogVersion == fsm.Version {
					ids = append(ids, m.ID)
				}
			}
			if !slices.Equal(ids, []string{"n0", "n1", "n2"}) {
				return false
			}
		}
		return true
	})
}
