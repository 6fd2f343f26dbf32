package transport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/hashicorp/raft"
	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/fsm/clock"
)

// A testNode is a whole node with real stores, streams and gossip on loopback
// ports. Only gRPC is left out: peers ask each other directly.
type testNode struct {
	*Node
	cluster *testNodes
	wall    *atomic.Int64 // added to the wall clock, ms
	out     *lines
	cfg     NodeConfig
	fatal   atomic.Pointer[error]
	halt    func()
}

// calmTiming calls nobody dead who is only slow.
func calmTiming() *memberlist.Config {
	c := memberlist.DefaultLANConfig()
	c.GossipInterval = 20 * time.Millisecond
	c.PushPullInterval = 2 * time.Second
	return c
}

// eventually is pollUntil for whole nodes, which take longer.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !cond(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

// testNodes form one cluster.
type testNodes struct {
	t     testing.TB
	nodes []*testNode

	mu   sync.Mutex // guards the rest
	deaf map[string]bool
}

// newTestNodes starts n nodes and waits until all serve. setup may change the
// configuration of each; it may be nil.
func newTestNodes(t testing.TB, n int, setup func(*NodeConfig)) *testNodes {
	t.Helper()
	c := &testNodes{t: t, deaf: map[string]bool{}}
	dir := t.TempDir() // NB: before the cleanup, so that it is removed after it
	t.Cleanup(c.stop)
	for i := range n {
		id := fmt.Sprintf("n%d", i)
		node := &testNode{cluster: c, wall: &atomic.Int64{}, out: &lines{}, cfg: DefaultNodeConfig()}
		cfg := &node.cfg
		cfg.ID, cfg.Cluster, cfg.DataDir, cfg.GRPCAddress = id, "test", filepath.Join(dir, id), "grpc-"+id
		cfg.BootstrapExpect, cfg.DigestEvery = n, 0
		cfg.Heartbeat = time.Second // the machine may be busy
		cfg.Gossip.Bind, cfg.Gossip.Timing, cfg.Gossip.JoinRetry = "127.0.0.1:0", calmTiming, 20*time.Millisecond
		for _, other := range c.nodes {
			cfg.Gossip.Join = append(cfg.Gossip.Join, other.cfg.Gossip.Bind)
		}
		system := cfg.Clocks.Wall
		cfg.Clocks.Wall = func() clock.Millis { return system() + clock.Millis(node.wall.Load()) }
		cfg.Fatal = func(err error) { node.fatal.Store(&err) }
		cfg.Log = slog.New(slog.NewTextHandler(node.out, nil))
		if setup != nil {
			setup(cfg)
		}
		c.nodes = append(c.nodes, node)
		node.start()
	}
	return c
}

// start opens the node, on the ports and the directory that it had before.
func (n *testNode) start() {
	t := n.cluster.t
	t.Helper()
	at := n.cfg.RaftAddress
	if at == "" {
		at = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	n.cfg.RaftListener, n.cfg.RaftAddress = l, l.Addr().String()
	node, err := OpenNode(n.cfg)
	if err != nil {
		t.Fatal(err)
	}
	n.cluster.mu.Lock()
	n.Node, n.cfg.Gossip.Bind = node, node.Addresses().Gossip
	n.cluster.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- node.Run(ctx, n.cluster) }()
	n.halt = sync.OnceFunc(func() {
		cancel()
		if err := errors.Join(<-ended, node.Close()); err != nil {
			t.Errorf("node %s: %v", n.cfg.ID, err)
		}
	})
}

// stop ends all nodes at once; in a failed test it shows what they said.
func (c *testNodes) stop() {
	var all sync.WaitGroup
	for _, n := range c.nodes {
		all.Go(n.halt)
	}
	all.Wait()
	for _, n := range c.nodes {
		if c.t.Failed() {
			c.t.Logf("%s said:\n%s", n.cfg.ID, n.out)
		}
	}
}

// ready waits until all nodes serve and returns the leader.
func (c *testNodes) ready() *testNode {
	c.t.Helper()
	eventually(c.t, "all nodes serve", func() bool {
		return !slices.ContainsFunc(c.nodes, func(n *testNode) bool { return n.Ready() != nil })
	})
	return c.leader()
}

// leader waits for a node that leads.
func (c *testNodes) leader() (leader *testNode) {
	c.t.Helper()
	eventually(c.t, "a leader", func() bool {
		i := slices.IndexFunc(c.nodes, func(n *testNode) bool { return n.leading.Load() })
		if i >= 0 {
			leader = c.nodes[i]
		}
		return i >= 0
	})
	return leader
}

// followers returns the nodes other than n.
func (c *testNodes) followers(n *testNode) []*testNode {
	return slices.DeleteFunc(slices.Clone(c.nodes), func(o *testNode) bool { return o == n })
}

// must has the leader, whichever it is, apply a command.
func (c *testNodes) must(cmd fsm.Command) (a Applied) {
	c.t.Helper()
	eventually(c.t, "a command is applied", func() bool {
		var err error
		a, err = c.leader().Propose(c.t.Context(), cmd)
		if err == nil && a.Err != nil {
			c.t.Fatal(a.Err)
		}
		return err == nil
	})
	return a
}

// compare has the leader, whichever it is, compare the replicas.
func (c *testNodes) compare() (r DigestReport) {
	c.t.Helper()
	eventually(c.t, "the replicas are compared", func() (ok bool) {
		var err error
		r, err = c.leader().CompareDigests(c.t.Context())
		return err == nil
	})
	return r
}

// silence keeps a node from answering its peers, or not.
func (c *testNodes) silence(n *testNode, deaf bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deaf[n.cfg.GRPCAddress] = deaf
}

func (c *testNodes) at(address string) (*Node, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.nodes {
		if n.cfg.GRPCAddress == address && !c.deaf[address] {
			return n.Node, nil
		}
	}
	return nil, errDown
}

// Stats implements Peers.
func (c *testNodes) Stats(_ context.Context, address string) (PeerStats, error) {
	n, err := c.at(address)
	if err != nil {
		return PeerStats{}, err
	}
	s := n.Status()
	return PeerStats{ID: s.ID, LastTerm: s.LastTerm, LastIndex: s.LastIndex, AppliedIndex: s.AppliedIndex, Wall: s.Wall}, nil
}

// Digest implements Peers.
func (c *testNodes) Digest(_ context.Context, address string, index uint64) (string, error) {
	n, err := c.at(address)
	if err != nil {
		return "", err
	}
	d, _ := n.Replica().DigestAt(index)
	return d, nil
}

// entries returns what the node's log holds for the state machine.
func (n *testNode) entries() (all []fsm.Entry) {
	t := n.cluster.t
	t.Helper()
	last := n.raft.AppliedIndex()
	for i := uint64(1); i <= last; i++ {
		var l raft.Log
		if err := n.stores.Log.GetLog(i, &l); err != nil {
			t.Fatalf("entry %d: %v", i, err)
		}
		if l.Type != raft.LogCommand {
			continue
		}
		e, err := fsm.Decode(l.Data)
		if err != nil {
			t.Fatalf("entry %d: %v", i, err)
		}
		all = append(all, e)
	}
	return all
}

// rewrite replaces the node's state by what its log would have made with some of
// its commands changed, as a bug or a broken memory might have.
func (n *testNode) rewrite(change func(fsm.Command) fsm.Command) {
	t := n.cluster.t
	t.Helper()
	r := n.replica
	r.mu.Lock()
	defer r.mu.Unlock()
	m := fsm.New()
	for i := uint64(1); i <= r.machine.Index(); i++ {
		var l raft.Log
		if err := n.stores.Log.GetLog(i, &l); err != nil {
			t.Fatalf("entry %d: %v", i, err)
		}
		if l.Type != raft.LogCommand {
			continue
		}
		e, err := fsm.Decode(l.Data)
		if err != nil {
			t.Fatalf("entry %d: %v", i, err)
		}
		var b fsm.Batch
		for _, c := range e.Commands {
			b.Add(change(c))
		}
		if _, err := m.Apply(i, b.Seal(e.Stamp, e.Proposer), false); err != nil {
			t.Fatal(err)
		}
	}
	r.machine = m
}
