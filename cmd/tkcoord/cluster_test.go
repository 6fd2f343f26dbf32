package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"

	"github.com/tkcoord/tkcoord/api"
	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/policy"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// noon is what the clocks of a test cluster show: 2026-08-01T12:00:00Z.
const noon clock.Millis = 1_785_585_600_000

const onePolicy = `version: 2
limiters:
  api:
    strategy: fixedWindow
    limit: 100
    period: 1m
`

const twoPolicies = `version: 2
limiters:
  api:
    strategy: fixedWindow
    limit: 200
    period: 1m
  exports:
    strategy: quota
    limit: 10
    resetCadence: calendar-day
`

// A testCluster is nodes on the loopback that share one state machine, the real
// one, and apply commands to it without raft. Fields may be set before a call.
type testCluster struct {
	t     testing.TB
	nodes []*testNode

	mu      sync.Mutex // guards the rest
	machine *fsm.Machine
	index   uint64
	now     clock.Millis
	leader  int // index of the node that leads, -1 for none
	odd     int // index of the node whose digest differs, -1 for none
}

// A testNode is the doors of one node.
type testNode struct {
	tkcoordv1.UnimplementedAdminServer
	tkcoordv1.UnimplementedEdgeServer
	cluster   *testCluster
	server    *grpc.Server
	id        string
	at        int
	addr      string
	calls     int  // of Admin and Edge, Status excepted; guarded by cluster.mu
	forgetful bool // does not say at once whom it handed leadership to
	// before runs before each call that the node takes; may be nil.
	before func(method string)
}

// startCluster starts n nodes; the first leads.
func startCluster(t testing.TB, n int, opts ...grpc.ServerOption) *testCluster {
	t.Helper()
	c := &testCluster{t: t, machine: fsm.New(), now: noon, odd: -1}
	c.must(fsm.Genesis{ClusterID: "c0ffee", Settings: fsm.DefaultSettings()})
	for i := range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		node := &testNode{cluster: c, id: fmt.Sprintf("n%d", i+1), at: i, addr: l.Addr().String(), server: grpc.NewServer(opts...)}
		tkcoordv1.RegisterAdminServer(node.server, node)
		tkcoordv1.RegisterEdgeServer(node.server, node)
		c.nodes = append(c.nodes, node)
		go node.server.Serve(l)
		t.Cleanup(node.server.Stop)
	}
	return c
}

// withPolicies puts the policies of a file into the cluster.
func (c *testCluster) withPolicies(file string) *testCluster {
	c.t.Helper()
	f, err := policy.Parse("test", []byte(file))
	if err != nil {
		c.t.Fatal(err)
	}
	c.must(fsm.Policies{Put: f.Policies})
	return c
}

// must applies a command that is not refused.
func (c *testCluster) must(cmd fsm.Command) {
	c.t.Helper()
	if res := c.apply(cmd); res.Err != nil {
		c.t.Fatal(res.Err)
	}
}

func (c *testCluster) apply(cmd fsm.Command) fsm.Result {
	c.mu.Lock()
	defer c.mu.Unlock()
	var b fsm.Batch
	b.Add(cmd)
	c.index++
	out, err := c.machine.Apply(c.index, b.Seal(c.now, 1), true)
	if err != nil {
		c.t.Errorf("Apply: %v", err)
		return fsm.Result{Err: err}
	}
	return out.Results[0]
}

// set changes the cluster between calls.
func (c *testCluster) set(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

func (c *testCluster) addrs() (all []string) {
	for _, n := range c.nodes {
		all = append(all, n.addr)
	}
	return all
}

// take admits a call at the leader and refuses it elsewhere.
func (n *testNode) take(method string) error {
	c := n.cluster
	c.mu.Lock()
	n.calls++
	leader, before := c.leader, n.before
	c.mu.Unlock()
	if before != nil {
		before(method)
	}
	if leader == n.at {
		return nil
	}
	info := &errdetails.ErrorInfo{Reason: api.ReasonNotLeader, Domain: api.Domain}
	if leader >= 0 {
		info.Metadata = map[string]string{"leader": c.nodes[leader].addr}
	}
	return withDetail(codes.Unavailable, "not the leader", info)
}

func withDetail(code codes.Code, text string, info *errdetails.ErrorInfo) error {
	s, err := status.New(code, text).WithDetails(info)
	if err != nil {
		return err
	}
	return s.Err()
}

// wireError translates a refusal of the state machine.
func wireError(err error) error {
	if err == nil {
		return nil
	}
	for _, e := range []struct {
		err    error
		code   codes.Code
		reason string
	}{
		{fsm.ErrVersion, codes.FailedPrecondition, api.ReasonVersion},
		{fsm.ErrUnknownPolicy, codes.NotFound, api.ReasonUnknownPolicy},
		{fsm.ErrSession, codes.Aborted, api.ReasonSessionEnded},
	} {
		if errors.Is(err, e.err) {
			return withDetail(e.code, err.Error(), &errdetails.ErrorInfo{Reason: e.reason, Domain: api.Domain})
		}
	}
	return status.Error(codes.InvalidArgument, err.Error())
}

func (n *testNode) Exchange(_ context.Context, req *tkcoordv1.ExchangeRequest) (*tkcoordv1.ExchangeResponse, error) {
	if err := n.take("Exchange"); err != nil {
		return nil, err
	}
	cmd := &fsm.Exchange{EdgeID: req.EdgeId, Incarnation: req.Incarnation, Session: escrow.HolderID(req.Session), Seq: req.Seq}
	for _, a := range req.Asks {
		cmd.Asks = append(cmd.Asks, fsm.Ask{
			Policy: a.Policy, Key: a.Key, Window: clock.Millis(a.WindowStartMs), Used: escrow.Credits(a.Used),
			Returned: escrow.Credits(a.Returned), Need: escrow.Credits(a.Need), Want: escrow.Credits(a.Want),
		})
	}
	if err := cmd.Validate(); err != nil {
		return nil, wireError(err)
	}
	applied := n.cluster.apply(cmd)
	if applied.Err != nil {
		return nil, wireError(applied.Err)
	}
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	res := &tkcoordv1.ExchangeResponse{
		Session: uint64(applied.Session), ClockMs: int64(n.cluster.machine.Now()), Index: n.cluster.index, PolicyVersion: n.cluster.machine.PolicyVersion(),
	}
	for _, a := range applied.Answers {
		res.Answers = append(res.Answers, wireAnswer(a))
	}
	return res, nil
}

// Watch tells who leads and then nothing.
func (n *testNode) Watch(_ *tkcoordv1.WatchRequest, stream grpc.ServerStreamingServer[tkcoordv1.WatchResponse]) error {
	res := &tkcoordv1.WatchResponse{}
	n.cluster.set(func() {
		res.PolicyVersion = n.cluster.machine.PolicyVersion()
		if n.cluster.leader >= 0 {
			res.Leader = &tkcoordv1.Leader{NodeId: n.id, Address: n.cluster.nodes[n.cluster.leader].addr, Term: 3}
		}
	})
	if err := stream.Send(res); err != nil {
		return err
	}
	<-stream.Context().Done()
	return nil
}

func wireAnswer(a fsm.Answer) *tkcoordv1.Answer {
	if a.Err != nil {
		p := &tkcoordv1.Problem{Reason: tkcoordv1.Reason_REASON_INVALID, Message: a.Err.Error()}
		if errors.Is(a.Err, fsm.ErrUnknownPolicy) {
			p.Reason = tkcoordv1.Reason_REASON_UNKNOWN_POLICY
		}
		return &tkcoordv1.Answer{Problem: p}
	}
	return &tkcoordv1.Answer{
		WindowStartMs: int64(a.Window.Start), WindowEndMs: int64(a.Window.End), Granted: int64(a.Granted), TtlMs: int64(a.TTL),
		Limit: int64(a.Limit), Left: int64(a.Left), RetryAfterMs: int64(a.Retry), WindowMs: int64(a.Length),
	}
}
