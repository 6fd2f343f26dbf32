package api

import (
	"bytes"
	"context"
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
	"github.com/tkcoord/tkcoord/api/throttlekitv1"
	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/monitor"
	"github.com/tkcoord/tkcoord/policy"
	"github.com/tkcoord/tkcoord/transport"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
)

// noon is what the clocks of test nodes show at first: 2026-08-01T12:00:00Z. It is
// a boundary of windows of every length that the tests have.
const noon clock.Millis = 1_785_585_600_000

// within waits for something that happens in its own time. On a busy machine that
// can take long: the bound only ends a test that would not end.
func within(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !cond(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

// testNodes form a cluster of whole nodes with their doors, whose clocks stand
// still until they are told otherwise.
type testNodes struct {
	t       testing.TB
	nodes   []*testNode
	elapsed atomic.Int64 // ms since noon
	said    saidLines
}

// A testNode is one of them.
type testNode struct {
	of   *testNodes
	cfg  transport.NodeConfig
	node *transport.Node
	*Server
	conn *grpc.ClientConn
	halt func()
}

// saidLines collects the logs of nodes.
type saidLines struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (s *saidLines) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Write(p)
}

func (s *saidLines) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}

// localTiming calls nobody dead who is only slow.
func localTiming() *memberlist.Config {
	c := memberlist.DefaultLANConfig()
	c.GossipInterval = 20 * time.Millisecond
	return c
}

// startNodes starts n nodes with the policies of a file, and waits until all serve.
// setup may change the doors of each; it may be nil.
func startNodes(t testing.TB, n int, policies string, setup func(*Config)) *testNodes {
	t.Helper()
	f, err := policy.Parse("test", []byte(policies))
	if err != nil {
		t.Fatal(err)
	}
	c := &testNodes{t: t}
	dir := t.TempDir() // NB: before the cleanup, so that it is removed after it
	t.Cleanup(c.stop)
	for i := range n {
		cfg := transport.DefaultNodeConfig()
		cfg.ID = fmt.Sprintf("n%d", i+1)
		cfg.Cluster, cfg.DataDir, cfg.BootstrapExpect, cfg.DigestEvery = "test", filepath.Join(dir, cfg.ID), n, 0
		cfg.Heartbeat = 500 * time.Millisecond // the machine may be busy
		cfg.Gossip.Bind, cfg.Gossip.Timing, cfg.Gossip.JoinRetry = "127.0.0.1:0", localTiming, 20*time.Millisecond
		for _, other := range c.nodes {
			cfg.Gossip.Join = append(cfg.Gossip.Join, other.node.Addresses().Gossip)
		}
		cfg.Policies = f.Policies
		cfg.Clocks = transport.Clocks{
			Monotonic: func() clock.Nanos { return clock.Nanos(c.elapsed.Load() * 1_000_000) },
			Wall:      func() clock.Millis { return noon + clock.Millis(c.elapsed.Load()) },
		}
		cfg.Fatal = func(err error) { t.Errorf("node: %v", err) }
		cfg.Log = slog.New(slog.NewTextHandler(&c.said, nil)).With("node", cfg.ID)
		node := &testNode{of: c, cfg: cfg}
		c.nodes = append(c.nodes, node)
		node.start(setup)
	}
	within(t, "all nodes serve, with all policies", func() bool {
		return !slices.ContainsFunc(c.nodes, func(n *testNode) bool {
			return n.node.Ready() != nil || slices.ContainsFunc(f.Policies, func(p policy.Policy) bool { return !n.Configured(p.Name) })
		})
	})
	return c
}

// start opens a node with its doors and runs it.
func (n *testNode) start(setup func(*Config)) {
	t := n.of.t
	t.Helper()
	listen := func(at string) net.Listener {
		if at == "" {
			at = "127.0.0.1:0"
		}
		l, err := net.Listen("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	door := listen(n.cfg.GRPCAddress)
	n.cfg.RaftListener = listen(n.cfg.RaftAddress)
	n.cfg.GRPCAddress, n.cfg.RaftAddress = door.Addr().String(), n.cfg.RaftListener.Addr().String()
	var err error
	if n.node, err = transport.OpenNode(n.cfg); err != nil {
		t.Fatal(err)
	}
	n.cfg.Gossip.Bind = n.node.Addresses().Gossip
	cfg := Config{Listener: door, Log: n.cfg.Log, Monitor: true}
	cfg.Hub = monitor.New(monitor.Config{Now: func() int64 { return int64(n.node.ClusterTime()) }})
	if setup != nil {
		setup(&cfg)
	}
	n.Server = NewServer(cfg, n.node)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := n.node.Run(ctx, n.Peers()); err != nil {
			t.Errorf("node: %v", err)
		}
	})
	running.Go(func() {
		if err := n.Server.Run(ctx, 5*time.Second); err != nil {
			t.Errorf("server: %v", err)
		}
	})
	n.conn, err = grpc.NewClient("passthrough:///"+n.cfg.GRPCAddress, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1, MaxDelay: 20 * time.Millisecond}, MinConnectTimeout: time.Second}))
	if err != nil {
		t.Fatal(err)
	}
	n.halt = sync.OnceFunc(func() {
		n.conn.Close()
		cancel()
		running.Wait()
		if err := n.node.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
}

// crash ends a node without any farewell: connections break, nothing is handed
// over.
func (n *testNode) crash() {
	n.Server.grpc.Stop()
	n.halt()
}

func (c *testNodes) stop() {
	var all sync.WaitGroup
	for _, n := range c.nodes {
		all.Go(n.halt)
	}
	all.Wait()
	if c.t.Failed() {
		c.t.Logf("the nodes said:\n%s", c.said.String())
	}
}

// leader waits for a node that leads.
func (c *testNodes) leader() (lead *testNode) {
	c.t.Helper()
	within(c.t, "a leader", func() bool {
		i := slices.IndexFunc(c.nodes, func(n *testNode) bool { return n.node.Status().Leading })
		if i >= 0 {
			lead = c.nodes[i]
		}
		return i >= 0
	})
	return lead
}

// follower returns a node that does not lead.
func (c *testNodes) follower() *testNode {
	c.t.Helper()
	lead := c.leader()
	for _, n := range c.nodes {
		if n != lead {
			return n
		}
	}
	c.t.Fatal("there is one node only")
	return nil
}

// pass moves all clocks on, and waits until the log has noticed.
func (c *testNodes) pass(d time.Duration) {
	c.t.Helper()
	to := noon + clock.Millis(c.elapsed.Add(d.Milliseconds()))
	within(c.t, "an entry with the new time", func() bool {
		return !slices.ContainsFunc(c.nodes, func(n *testNode) bool { return n.node.Replica().Clock() < to })
	})
}

func (n *testNode) rate() throttlekitv1.RateLimiterClient {
	return throttlekitv1.NewRateLimiterClient(n.conn)
}
func (n *testNode) fleetClient() throttlekitv1.FleetClient {
	return throttlekitv1.NewFleetClient(n.conn)
}
func (n *testNode) adminClient() tkcoordv1.AdminClient { return tkcoordv1.NewAdminClient(n.conn) }

// parseOne returns the only policy of a file.
func parseOne(t testing.TB, file string) policy.Policy {
	t.Helper()
	f, err := policy.Parse("test", []byte(file))
	if err != nil || len(f.Policies) != 1 {
		t.Fatalf("%v, %v; want one policy", f, err)
	}
	return f.Policies[0]
}
