package main

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tkcoord/tkcoord/api"
	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// A realNode is what `tkcoord serve` runs, in this process, on free ports.
type realNode struct {
	*process
	t    testing.TB
	log  *output
	cfg  processConfig
	quit func() // returns when Run has
	stop func() // quits and closes
}

// newNode returns a node that has not started. It joins the others through one
// of them.
func newNode(t testing.TB, id, cluster string, expect int, join ...*realNode) *realNode {
	t.Helper()
	o := defaultServeOptions()
	o.nodeID, o.cluster, o.data, o.expect = id, cluster, t.TempDir(), expect
	o.grpc, o.raft, o.gossip, o.http = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	o.tuning.Gossip.Timing, o.tuning.Gossip.JoinRetry = loopbackTiming, 50*time.Millisecond
	for _, n := range join {
		o.join = append(o.join, n.node.Addresses().Gossip)
	}
	n := &realNode{t: t, log: &output{}}
	var err error
	if n.cfg, err = o.processConfig(textLog(n.log)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("node %s said:\n%s", id, n.log)
		}
	})
	return n
}

// start opens the node, at the ports that it had before, and runs it.
func (n *realNode) start() *realNode {
	n.t.Helper()
	var err error
	if n.process, err = openProcess(n.cfg); err != nil {
		n.t.Fatal(err)
	}
	at := n.node.Addresses()
	n.cfg.grpc, n.cfg.raft, n.cfg.http, n.cfg.node.Gossip.Bind = at.GRPC, at.Raft, at.HTTP, at.Gossip
	p, ended := n.process, make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { ended <- p.Run(ctx) }()
	n.quit = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			n.t.Errorf("run: %v", err)
		}
	})
	quit := n.quit
	n.stop = sync.OnceFunc(func() {
		quit()
		if err := p.Close(); err != nil {
			n.t.Errorf("close: %v", err)
		}
	})
	n.t.Cleanup(n.stop)
	return n
}

func (n *realNode) status() *tkcoordv1.StatusResponse {
	n.t.Helper()
	s, err := tkcoordv1.NewAdminClient(dialPlain(n.t, n.cfg.grpc)).Status(n.t.Context(), &tkcoordv1.StatusRequest{})
	if err != nil {
		n.t.Fatal(err)
	}
	return s
}

// startAlone starts one of several nodes and returns its HTTP address.
func startAlone(t testing.TB, expect int) string {
	t.Helper()
	return newNode(t, "alone", "e2e", expect).start().cfg.http
}

func stopAll(nodes []*realNode) {
	var all sync.WaitGroup
	for _, n := range nodes {
		n.Kill() // nobody is left to hand over to
		all.Go(n.stop)
	}
	all.Wait()
}

// voters returns the names of the members that vote, and of those that do not.
func votersOf(s *tkcoordv1.StatusResponse) (voters, others string) {
	var v, o []string
	for _, m := range s.Members {
		if m.Voter {
			v = append(v, m.NodeId)
		} else {
			o = append(o, m.NodeId)
		}
	}
	slices.Sort(v)
	return strings.Join(v, " "), strings.Join(o, " ")
}

// Five nodes that know one of them form one cluster. A sixth is added and does not
// vote. Each of the six answers edges and operators and says who leads. A node
// that restarts is the member that it was.
func TestSixNodes(t *testing.T) {
	nodes := []*realNode{newNode(t, "n1", "e2e", 5).start()}
	for _, id := range []string{"n2", "n3", "n4", "n5"} {
		nodes = append(nodes, newNode(t, id, "e2e", 5, nodes[0]).start())
	}
	t.Cleanup(func() { stopAll(nodes) })
	ready := func() {
		t.Helper()
		for _, n := range nodes {
			within(t, "all are ready", func() bool { return n.node.Ready() == nil })
		}
	}
	ready()
	id := nodes[0].status().ClusterId
	nodes = append(nodes, newNode(t, "n6", "e2e", 5, nodes[3]).start()) // told to found a cluster, which there is already
	ready()
	for _, n := range nodes {
		within(t, "all see the six", func() bool {
			s := n.status()
			if s.ClusterId != id {
				t.Fatalf("%s is of cluster %q, others of %q", s.NodeId, s.ClusterId, id)
			}
			v, o := votersOf(s)
			return v == "n1 n2 n3 n4 n5" && o == "n6" && s.Leader.GetAddress() != ""
		})
	}
	applied, err := tkcoordv1.NewAdminClient(dialPlain(t, nodes[5].cfg.grpc)).ApplyPolicies(t.Context(), &tkcoordv1.ApplyPoliciesRequest{
		Put: []*tkcoordv1.Policy{{Name: "p", Strategy: "fixedWindow", Limit: 1000, MaxKeys: 10, Cadence: &tkcoordv1.Cadence{Kind: "fixed", PeriodMs: 7 * 86_400_000}}},
	})
	if err != nil {
		t.Fatalf("apply policies at the sixth: %v", err)
	}
	everyNodeAnswers(t, nodes, applied.Version, 0)

	leader := slices.IndexFunc(nodes, (*realNode).leads)
	for _, n := range []*realNode{nodes[5], nodes[0], nodes[max(leader, 1)]} { // the first was told of no other
		n.stop()
		n.start()
		ready()
	}
	for _, n := range nodes {
		within(t, "the six are as they were", func() bool {
			s := n.status()
			v, o := votersOf(s)
			return s.ClusterId == id && v == "n1 n2 n3 n4 n5" && o == "n6"
		})
	}
	everyNodeAnswers(t, nodes, applied.Version, 6)
}

func (n *realNode) leads() bool { return n.node.Status().Leading }

// everyNodeAnswers asks each node for one credit more than the last was granted.
// A question that an election swallowed is put again.
func everyNodeAnswers(t *testing.T, nodes []*realNode, version uint64, granted int64) {
	t.Helper()
	for _, n := range nodes {
		conn := dialPlain(t, n.cfg.grpc)
		granted++
		within(t, n.cfg.node.ID+" answers an edge and names the leader", func() bool {
			var header metadata.MD
			res, err := tkcoordv1.NewEdgeClient(conn).Exchange(t.Context(), &tkcoordv1.ExchangeRequest{
				EdgeId: "e", Incarnation: 1, Seq: uint64(granted), Asks: []*tkcoordv1.Ask{{Policy: "p", Key: "k", Need: granted, Want: granted}},
			}, grpc.Header(&header))
			if err == nil && res.Answers[0].Granted != granted {
				t.Fatalf("%v at %s, want %d granted", res, n.cfg.node.ID, granted)
			}
			leader := slices.IndexFunc(nodes, (*realNode).leads)
			return err == nil && leader >= 0 && slices.Equal(header.Get(api.LeaderHeader), []string{nodes[leader].cfg.grpc})
		})
		within(t, n.cfg.node.ID+" answers an operator", func() bool {
			p, err := tkcoordv1.NewAdminClient(conn).GetPolicies(t.Context(), &tkcoordv1.GetPoliciesRequest{})
			if err == nil && (p.Version < version || p.Policies[0].Counters.GrantedTotal != granted) {
				t.Fatalf("policies at %s: %v; want version %d with %d granted", n.cfg.node.ID, p, version, granted)
			}
			return err == nil
		})
	}
}

// Nodes of another cluster, by name or by identity, stay strangers, and both
// sides say why.
func TestStrangersStayOut(t *testing.T) {
	ours := newNode(t, "n1", "ours", 1).start()
	within(t, "it is ready", func() bool { return ours.node.Ready() == nil })
	t.Run("name", func(t *testing.T) {
		theirs := newNode(t, "n2", "theirs", 0, ours).start()
		within(t, "it says why", func() bool {
			return strings.Contains(theirs.log.String(), "do cluster name and secret key agree?")
		})
		if code, _ := httpGet(t, theirs.cfg.http, "/readyz"); code != http.StatusServiceUnavailable {
			t.Errorf("/readyz of the stranger: %d", code)
		}
	})
	t.Run("identity", func(t *testing.T) {
		theirs := newNode(t, "n3", "ours", 1).start() // founds a cluster of the same name
		within(t, "it is ready", func() bool { return theirs.node.Ready() == nil })
		theirs.stop()
		theirs.cfg.node.Gossip.Join = []string{ours.node.Addresses().Gossip}
		theirs.start()
		for _, n := range []*realNode{ours, theirs} {
			within(t, n.cfg.node.ID+" says why", func() bool {
				return strings.Contains(n.log.String(), "another cluster of the same name")
			})
			within(t, n.cfg.node.ID+" goes on alone", func() bool { return n.node.Ready() == nil && len(n.status().Members) == 1 })
		}
	})
	if v, o := votersOf(ours.status()); v != "n1" || o != "" {
		t.Errorf("members %q and %q, want n1 alone", v, o)
	}
}
