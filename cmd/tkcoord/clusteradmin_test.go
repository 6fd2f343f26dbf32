package main

import (
	"context"
	"slices"

	"github.com/tkcoord/tkcoord/api"
	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"github.com/tkcoord/tkcoord/fsm"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func (n *testNode) Status(context.Context, *tkcoordv1.StatusRequest) (*tkcoordv1.StatusResponse, error) {
	c := n.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	budgets, edges := c.machine.Sizes()
	res := &tkcoordv1.StatusResponse{
		NodeId: n.id, Cluster: "demo", ClusterId: c.machine.ClusterID(), Region: "eu-1", Version: "v0.1.0", Term: 3, RaftState: "Follower",
		LastIndex: c.index, CommitIndex: c.index, AppliedIndex: c.index, ClockMs: int64(c.machine.Now()), WallMs: int64(c.now) + 12,
		PolicyVersion: c.machine.PolicyVersion(), Elections: 1, Edges: int64(edges), Budgets: int64(budgets), Serving: true,
	}
	if c.leader >= 0 {
		res.Leader = &tkcoordv1.Leader{NodeId: c.nodes[c.leader].id, Address: c.nodes[c.leader].addr, Term: 3}
	}
	if c.leader == n.at {
		res.RaftState, res.MedianLagMs = "Leader", 7
	}
	for _, a := range c.machine.Alarms() {
		res.Alarms = append(res.Alarms, &tkcoordv1.Alarm{Kind: a.Kind, NodeId: a.Node, Detail: a.Detail, RaisedAtMs: int64(a.At)})
	}
	for i, m := range c.nodes {
		lag := int64(-1)
		if c.leader == n.at {
			lag = int64(i)
		}
		res.Members = append(res.Members, &tkcoordv1.Member{
			NodeId: m.id, Region: "eu-1", RaftAddress: "10.0.0.1:7701", GrpcAddress: m.addr, HttpAddress: "10.0.0.1:7703", Version: "v0.1.0",
			Voter: i < 3, Leader: i == c.leader, Gossip: "alive", Lag: lag, WallOffsetMs: 12, Healthy: true, LogVersion: fsm.Version,
		})
	}
	return res, nil
}

func (n *testNode) GetPolicies(_ context.Context, req *tkcoordv1.GetPoliciesRequest) (*tkcoordv1.GetPoliciesResponse, error) {
	if err := n.take("GetPolicies"); err != nil {
		return nil, err
	}
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	version, all := n.cluster.machine.Policies()
	res := &tkcoordv1.GetPoliciesResponse{Version: version}
	found := 0
	for _, p := range all {
		if len(req.Names) > 0 && !slices.Contains(req.Names, p.Name) {
			continue
		}
		found++
		k := p.Counters
		res.Policies = append(res.Policies, &tkcoordv1.PolicyStatus{Policy: api.PolicyToWire(p.Policy), Counters: &tkcoordv1.PolicyCounters{
			LiveKeys: k.LiveKeys, LiveCapacity: int64(k.LiveCapacity), LiveOut: int64(k.LiveOut), LiveUsed: int64(k.LiveUsed),
			GrantedTotal: int64(k.GrantedTotal), ReturnedTotal: int64(k.ReturnedTotal), UsedTotal: int64(k.Used),
			RefusedTotal: k.Refused, WorstOvershoot: int64(k.WorstOvershoot),
		}})
	}
	if found < len(req.Names) {
		return nil, wireError(fsm.ErrUnknownPolicy)
	}
	return res, nil
}

func (n *testNode) ApplyPolicies(_ context.Context, req *tkcoordv1.ApplyPoliciesRequest) (*tkcoordv1.ApplyPoliciesResponse, error) {
	if err := n.take("ApplyPolicies"); err != nil {
		return nil, err
	}
	cmd := fsm.Policies{Delete: req.Delete, Expect: req.ExpectVersion}
	for _, p := range req.Put {
		q, err := api.PolicyFromWire(p)
		if err != nil {
			return nil, wireError(err)
		}
		cmd.Put = append(cmd.Put, q)
	}
	res := n.cluster.apply(cmd)
	return &tkcoordv1.ApplyPoliciesResponse{Version: res.Version}, wireError(res.Err)
}

func (n *testNode) TransferLeadership(_ context.Context, req *tkcoordv1.TransferLeadershipRequest) (*tkcoordv1.TransferLeadershipResponse, error) {
	if err := n.take("TransferLeadership"); err != nil {
		return nil, err
	}
	c := n.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	to := (c.leader + 1) % len(c.nodes)
	if req.NodeId != "" {
		to = slices.IndexFunc(c.nodes, func(n *testNode) bool { return n.id == req.NodeId })
	}
	if to < 0 {
		return nil, status.Errorf(codes.NotFound, "node %q: no such member", req.NodeId)
	}
	c.leader = to
	if n.forgetful {
		return &tkcoordv1.TransferLeadershipResponse{}, nil
	}
	return &tkcoordv1.TransferLeadershipResponse{Leader: &tkcoordv1.Leader{NodeId: c.nodes[to].id, Address: c.nodes[to].addr, Term: 4}}, nil
}

func (n *testNode) RemoveMember(_ context.Context, req *tkcoordv1.RemoveMemberRequest) (*tkcoordv1.RemoveMemberResponse, error) {
	if err := n.take("RemoveMember"); err != nil {
		return nil, err
	}
	c := n.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	at := slices.IndexFunc(c.nodes, func(n *testNode) bool { return n.id == req.NodeId })
	if at < 0 {
		return nil, status.Errorf(codes.NotFound, "node %q: no such member", req.NodeId)
	}
	c.nodes = slices.Delete(slices.Clone(c.nodes), at, at+1)
	return &tkcoordv1.RemoveMemberResponse{}, nil
}

func (n *testNode) Digest(context.Context, *tkcoordv1.DigestRequest) (*tkcoordv1.DigestResponse, error) {
	if err := n.take("Digest"); err != nil {
		return nil, err
	}
	c := n.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	digest := c.machine.Freeze().Digest()
	res := &tkcoordv1.DigestResponse{Index: c.index, Equal: c.odd < 0}
	for i, m := range c.nodes {
		d := &tkcoordv1.NodeDigest{NodeId: m.id, Digest: digest}
		switch {
		case i == c.odd:
			d.Digest = "deadbeef"
		case i == 2:
			d.Digest, d.Error = "", "connection refused"
		}
		res.Nodes = append(res.Nodes, d)
	}
	return res, nil
}
