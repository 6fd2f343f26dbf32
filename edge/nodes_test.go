package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/policy"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
)

// A fleet is a cluster of a few nodes in memory, with gRPC between it and edges.
type fleet struct {
	*cluster
	nodes map[string]*node

	mu      sync.Mutex // guards the rest
	leader  string     // named to edges
	refuse  bool       // nodes that do not lead refuse, rather than forward
	changed chan struct{}
	names   []string // policies that changed
}

// A node is one door of the cluster.
type node struct {
	tkcoordv1.UnimplementedEdgeServer
	f      *fleet
	name   string
	lis    *bufconn.Listener
	server *grpc.Server
	calls  int // guarded by f.mu
}

func newFleet(t *testing.T, policies ...policy.Policy) *fleet {
	now := func() clock.Millis { return clock.Millis(time.Now().UnixMilli()) }
	f := &fleet{cluster: newCluster(t, now, fsm.DefaultSettings(), policies...), nodes: map[string]*node{}, changed: make(chan struct{})}
	for i := range 3 {
		n := &node{f: f, name: fmt.Sprint("n", i+1), lis: bufconn.Listen(1 << 16), server: grpc.NewServer()}
		tkcoordv1.RegisterEdgeServer(n.server, n)
		f.nodes[n.name] = n
		var serving sync.WaitGroup
		serving.Go(func() { _ = n.server.Serve(n.lis) })
		t.Cleanup(func() {
			n.server.Stop()
			serving.Wait()
		})
	}
	return f
}

// config is that of an edge that knows the nodes with these names.
func (f *fleet) config(names ...string) Config {
	cfg := quietConfig()
	cfg.Addresses = names
	cfg.DialOptions = []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, name string) (net.Conn, error) {
		n := f.nodes[name]
		if n == nil {
			return nil, fmt.Errorf("no route to %s", name)
		}
		return n.lis.DialContext(ctx)
	})}
	return cfg
}

// lead names another leader.
func (f *fleet) lead(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.leader = name
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *fleet) calls(name string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.nodes[name].calls
}

func (n *node) Exchange(ctx context.Context, req *tkcoordv1.ExchangeRequest) (*tkcoordv1.ExchangeResponse, error) {
	n.f.mu.Lock()
	n.calls++
	leader, refuse := n.f.leader, n.f.refuse
	n.f.mu.Unlock()
	if refuse && leader != n.name {
		s, err := status.New(codes.Unavailable, "not the leader").WithDetails(&errdetails.ErrorInfo{
			Reason: "NOT_LEADER", Domain: domain, Metadata: map[string]string{"leader": leader},
		})
		if err != nil {
			return nil, err
		}
		return nil, s.Err()
	}
	if leader != "" {
		_ = grpc.SetHeader(ctx, metadata.Pairs(leaderHeader, leader))
	}
	return n.f.exchange(ctx, req)
}

func (n *node) Watch(_ *tkcoordv1.WatchRequest, stream grpc.ServerStreamingServer[tkcoordv1.WatchResponse]) error {
	for {
		n.f.mu.Lock()
		changed := n.f.changed
		m := &tkcoordv1.WatchResponse{Leader: &tkcoordv1.Leader{Address: n.f.leader}, ChangedPolicies: n.f.names}
		n.f.mu.Unlock()
		n.f.cluster.mu.Lock()
		m.PolicyVersion = n.f.m.PolicyVersion()
		n.f.cluster.mu.Unlock()
		if err := stream.Send(m); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-stream.Context().Done():
			return nil
		}
	}
}

func openEdge(t *testing.T, cfg Config) *Edge {
	t.Helper()
	e, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return e
}

func TestFollowsTheLeader(t *testing.T) {
	for _, refuse := range []bool{false, true} {
		t.Run(fmt.Sprint("refuse=", refuse), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(t, perWindow("p", 1000, time.Hour))
				f.leader, f.refuse = "n2", refuse
				l := openEdge(t, f.config("n1")).Limiter("p") // hears of the others from n1
				for i := range 10 {
					if d, err := l.Check(t.Context(), fmt.Sprint("k", i), 1); err != nil || !d.Allowed {
						t.Fatalf("check %d: %+v, %v", i, d, err)
					}
				}
				if f.calls("n2") < 9 || f.calls("n1") > 2 {
					t.Errorf("%d calls to n1 and %d to the leader n2", f.calls("n1"), f.calls("n2"))
				}
				f.lead("n3")
				synctest.Wait()
				if d, err := l.Check(t.Context(), "other", 1); err != nil || !d.Allowed || f.calls("n3") != 1 {
					t.Errorf("%+v, %v, %d calls to the new leader", d, err, f.calls("n3"))
				}
			})
		})
	}
}

// TestNodesFail: the edge goes on with whichever node answers, and does not
// believe in a leader that only nodes can reach.
func TestNodesFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, perWindow("p", 1000, time.Hour))
		f.leader = "10.0.0.1:7700" // unreachable from here
		f.nodes["n1"].server.Stop()
		f.nodes["n3"].server.Stop()
		e := openEdge(t, f.config("n1", "n2", "n3"))
		for i := range 10 {
			if d, err := e.Limiter("p").Check(t.Context(), fmt.Sprint("k", i), 1); err != nil || !d.Allowed {
				t.Fatalf("check %d: %+v, %v", i, d, err)
			}
		}
		if s := e.Stats(); s.Failures > 10 || s.Away {
			t.Errorf("%+v, want few failures", s)
		}
	})
}

// TestSilentNode: a node that takes connections and says nothing costs one
// attempt.
func TestSilentNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, perWindow("p", 1000, time.Hour))
		cfg := f.config("n1", "n2")
		cfg.DialOptions = []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, name string) (net.Conn, error) {
			if name == "n1" {
				here, there := net.Pipe()
				t.Cleanup(func() { _ = there.Close() })
				return here, nil
			}
			return f.nodes[name].lis.DialContext(ctx)
		})}
		e := openEdge(t, cfg)
		if e.Stats().Failures == 0 { // it began with n2
			e.nodes.mu.Lock()
			e.nodes.next, e.nodes.leader = 0, ""
			e.nodes.mu.Unlock()
		}
		start := time.Now()
		if d, err := e.Limiter("p").Check(t.Context(), "k", 1); err != nil || !d.Allowed || time.Since(start) > 2*cfg.AttemptTimeout {
			t.Errorf("%+v, %v after %v", d, err, time.Since(start))
		}
		if s := e.Stats(); s.Failures == 0 || s.Away {
			t.Errorf("%+v, want a failure", s)
		}
	})
}

// TestWatchTellsOfPolicies: a refusal is forgotten when the policy changes, though
// the edge did not ask.
func TestWatchTellsOfPolicies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, perWindow("p", 1, time.Hour))
		f.leader = "n1"
		l := openEdge(t, f.config("n1")).Limiter("p")
		for _, want := range []bool{true, false} {
			if d, err := l.Check(t.Context(), "k", 1); err != nil || d.Allowed != want {
				t.Fatalf("%+v, %v, want allowed %v", d, err, want)
			}
		}
		f.apply(t, fsm.Policies{Put: []policy.Policy{perWindow("p", 5, time.Hour)}})
		f.names = []string{"p"}
		if d, err := l.Check(t.Context(), "k", 1); err != nil || d.Allowed || d.Source != FromRefusal {
			t.Fatalf("before the edge hears of the change: %+v, %v", d, err)
		}
		f.lead("n1")
		synctest.Wait()
		if d, err := l.Check(t.Context(), "k", 1); err != nil || !d.Allowed {
			t.Errorf("after the change: %+v, %v", d, err)
		}
	})
}

// TestOpenWithoutCoordinator: it is no error, and Open does not wait for long.
func TestOpenWithoutCoordinator(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		cfg := f.config("nowhere")
		start := time.Now()
		e := openEdge(t, cfg)
		if took := time.Since(start); took > cfg.AttemptTimeout {
			t.Errorf("Open took %v", took)
		}
		time.Sleep(3 * time.Second)
		if !e.Stats().Away {
			t.Error("the coordinator does not count as away")
		}
	})
}

// TestNodesAreBounded: leaders of the past are forgotten.
func TestNodesAreBounded(t *testing.T) {
	cfg := quietConfig()
	cfg.TLS = &tls.Config{MinVersion: tls.VersionTLS13}
	cfg.Addresses = []string{"dns:///a:1", "b:1"}
	n := newNodes(cfg)
	for i := range 100 {
		n.hint(fmt.Sprint("leader-", i))
		if at, _, err := n.pick(); err != nil || at != n.leader {
			t.Fatalf("pick() = %q, %v after %q was named", at, err, n.leader)
		}
		if len(n.conns) > maxConns {
			t.Fatalf("%d connections", len(n.conns))
		}
	}
	if err := n.close(); err != nil || len(n.conns) != 0 {
		t.Errorf("close: %v, %d connections are left", err, len(n.conns))
	}
	if _, _, err := n.pick(); !errors.Is(err, ErrClosed) {
		t.Errorf("pick() after close: %v", err)
	}
}
