package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/policy"
	"github.com/tkcoord/tkcoord/transport"
)

// Admin serves tkcoord.v1.Admin.
type Admin struct {
	tkcoordv1.UnimplementedAdminServer
	node    *transport.Node
	forward *Forwarder
	log     *slog.Logger
}

// passOn tries a call here and, if this node does not lead, at the leader.
func passOn[R any](ctx context.Context, a *Admin, here func() (R, error), there func(context.Context, tkcoordv1.AdminClient) (R, error)) (R, error) {
	res, err := here()
	if !errors.Is(err, transport.ErrNotLeader) {
		return res, toStatus(err, a.leader(), a.log)
	}
	fctx, conn, ferr := a.forward.Leader(ctx)
	if ferr != nil {
		return res, toStatus(err, a.leader(), a.log)
	}
	res, err = there(fctx, tkcoordv1.NewAdminClient(conn))
	return res, toStatus(passedOn(err), a.leader(), a.log)
}

func (a *Admin) leader() string {
	l, _ := a.node.Leader()
	return l.Address
}

// Status describes this node, and the cluster as it sees it.
func (a *Admin) Status(context.Context, *tkcoordv1.StatusRequest) (*tkcoordv1.StatusResponse, error) {
	s := a.node.Status()
	res := &tkcoordv1.StatusResponse{
		NodeId: s.ID, Cluster: s.Cluster, Region: s.Region, Version: s.Version,
		Leader: wireLeader(a.node), Term: s.Term, RaftState: s.RaftState,
		LastIndex: s.LastIndex, CommitIndex: s.CommitIndex, AppliedIndex: s.AppliedIndex,
		ClockMs: int64(s.Clock), WallMs: int64(s.Wall), MedianLagMs: int64(s.MedianLag),
		Elections: s.Elections, Serving: s.NotServing == nil,
	}
	if s.NotServing != nil {
		res.NotServingReason = s.NotServing.Error()
	}
	a.node.Replica().Query(func(m *fsm.Machine) {
		res.ClusterId, res.PolicyVersion = m.ClusterID(), m.PolicyVersion()
		budgets, edges := m.Sizes()
		res.Budgets, res.Edges = int64(budgets), int64(edges)
		for _, al := range m.Alarms() {
			res.Alarms = append(res.Alarms, &tkcoordv1.Alarm{Kind: al.Kind, NodeId: al.Node, Detail: al.Detail, RaisedAtMs: int64(al.At)})
		}
	})
	for _, m := range a.node.Members() {
		res.Members = append(res.Members, &tkcoordv1.Member{
			NodeId: m.ID, Region: m.Region, RaftAddress: m.RaftAddress, GrpcAddress: m.GRPCAddress, HttpAddress: m.HTTPAddress,
			Version: m.Version, Voter: m.Voter, Leader: m.Leader, Gossip: m.Gossip, Lag: m.Lag,
			WallOffsetMs: m.WallOffset, Healthy: m.Healthy, LogVersion: m.LogVersion,
		})
	}
	return res, nil
}

// GetPolicies returns policies with their counters, linearizably: the leader
// makes sure that it still leads.
func (a *Admin) GetPolicies(ctx context.Context, req *tkcoordv1.GetPoliciesRequest) (*tkcoordv1.GetPoliciesResponse, error) {
	return passOn(ctx, a,
		func() (*tkcoordv1.GetPoliciesResponse, error) { return a.getPolicies(ctx, req) },
		func(ctx context.Context, c tkcoordv1.AdminClient) (*tkcoordv1.GetPoliciesResponse, error) {
			return c.GetPolicies(ctx, req)
		})
}

func (a *Admin) getPolicies(ctx context.Context, req *tkcoordv1.GetPoliciesRequest) (*tkcoordv1.GetPoliciesResponse, error) {
	if err := a.node.ReadBarrier(ctx); err != nil {
		return nil, err
	}
	var version uint64
	var all []fsm.PolicyStatus
	a.node.Replica().Query(func(m *fsm.Machine) { version, all = m.Policies() })
	wanted := make(map[string]bool, len(req.Names))
	for _, n := range req.Names {
		wanted[n] = true
	}
	res := &tkcoordv1.GetPoliciesResponse{Version: version}
	for i := range all {
		if len(req.Names) > 0 && !wanted[all[i].Name] {
			continue
		}
		delete(wanted, all[i].Name)
		res.Policies = append(res.Policies, wirePolicyStatus(&all[i]))
	}
	for _, n := range req.Names {
		if wanted[n] {
			return nil, fmt.Errorf("names: %q: %w", n, fsm.ErrUnknownPolicy)
		}
	}
	return res, nil
}

// ApplyPolicies changes policies, all or nothing.
func (a *Admin) ApplyPolicies(ctx context.Context, req *tkcoordv1.ApplyPoliciesRequest) (*tkcoordv1.ApplyPoliciesResponse, error) {
	return passOn(ctx, a,
		func() (*tkcoordv1.ApplyPoliciesResponse, error) { return a.applyPolicies(ctx, req) },
		func(ctx context.Context, c tkcoordv1.AdminClient) (*tkcoordv1.ApplyPoliciesResponse, error) {
			return c.ApplyPolicies(ctx, req)
		})
}

func (a *Admin) applyPolicies(ctx context.Context, req *tkcoordv1.ApplyPoliciesRequest) (*tkcoordv1.ApplyPoliciesResponse, error) {
	cmd := fsm.Policies{Delete: req.Delete, Expect: req.ExpectVersion}
	for i, p := range req.Put {
		q, err := PolicyFromWire(p)
		if err == nil {
			err = q.Validate()
		}
		if err != nil {
			return nil, &fsm.FieldError{Field: fmt.Sprintf("put[%d]", i), Value: p.GetName(), Want: err.Error()}
		}
		cmd.Put = append(cmd.Put, q)
	}
	if n := len(cmd.Put) + len(cmd.Delete); n > policy.MaxPolicies {
		return nil, &fsm.FieldError{Field: "put", Value: fmt.Sprintf("%d changes", n), Want: fmt.Sprintf("at most %d", policy.MaxPolicies)}
	}
	applied, err := a.node.Propose(ctx, cmd)
	if err == nil {
		err = applied.Err
	}
	if errors.Is(err, transport.ErrTooLarge) {
		err = fmt.Errorf("put: %w", err)
	}
	if err != nil {
		return nil, err
	}
	a.log.Info("policies changed", "version", applied.Version, "put", len(cmd.Put), "deleted", len(cmd.Delete))
	return &tkcoordv1.ApplyPoliciesResponse{Version: applied.Version}, nil
}

// TransferLeadership hands leadership to another voter.
func (a *Admin) TransferLeadership(ctx context.Context, req *tkcoordv1.TransferLeadershipRequest) (*tkcoordv1.TransferLeadershipResponse, error) {
	return passOn(ctx, a,
		func() (*tkcoordv1.TransferLeadershipResponse, error) {
			if err := a.node.Transfer(ctx, req.NodeId); err != nil {
				return nil, err
			}
			return &tkcoordv1.TransferLeadershipResponse{Leader: wireLeader(a.node)}, nil
		},
		func(ctx context.Context, c tkcoordv1.AdminClient) (*tkcoordv1.TransferLeadershipResponse, error) {
			return c.TransferLeadership(ctx, req)
		})
}

// RemoveMember takes a node out of the cluster for good.
func (a *Admin) RemoveMember(ctx context.Context, req *tkcoordv1.RemoveMemberRequest) (*tkcoordv1.RemoveMemberResponse, error) {
	return passOn(ctx, a,
		func() (*tkcoordv1.RemoveMemberResponse, error) {
			return &tkcoordv1.RemoveMemberResponse{}, a.node.Remove(ctx, req.NodeId)
		},
		func(ctx context.Context, c tkcoordv1.AdminClient) (*tkcoordv1.RemoveMemberResponse, error) {
			return c.RemoveMember(ctx, req)
		})
}

// Digest compares the digests of all replicas at one index.
func (a *Admin) Digest(ctx context.Context, req *tkcoordv1.DigestRequest) (*tkcoordv1.DigestResponse, error) {
	return passOn(ctx, a,
		func() (*tkcoordv1.DigestResponse, error) {
			report, err := a.node.CompareDigests(ctx)
			if err != nil {
				return nil, err
			}
			res := &tkcoordv1.DigestResponse{Index: report.Index, Equal: report.Equal}
			for _, n := range report.Nodes {
				d := &tkcoordv1.NodeDigest{NodeId: n.ID, Digest: n.Digest}
				if n.Err != nil {
					d.Error = n.Err.Error()
				}
				res.Nodes = append(res.Nodes, d)
			}
			return res, nil
		},
		func(ctx context.Context, c tkcoordv1.AdminClient) (*tkcoordv1.DigestResponse, error) {
			return c.Digest(ctx, req)
		})
}
