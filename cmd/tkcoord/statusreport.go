package main

import (
	"fmt"
	"slices"

	"github.com/tkcoord/tkcoord/api/tkcoordv1"
)

// A statusReport is a cluster as its nodes describe it: facts about the cluster
// from the node that knows most, facts about a node from itself. Its JSON form
// is stable: fields may be added, none goes away.
type statusReport struct {
	Cluster       string         `json:"cluster"`
	ClusterID     string         `json:"cluster_id"`
	Source        string         `json:"source_node_id"` // whose view of the cluster this is
	Leader        *leaderReport  `json:"leader"`         // null while none is known
	Term          uint64         `json:"term"`
	LastIndex     uint64         `json:"last_index"`
	CommitIndex   uint64         `json:"commit_index"`
	AppliedIndex  uint64         `json:"applied_index"`
	ClockMs       int64          `json:"clock_ms"`
	WallMs        int64          `json:"wall_ms"`
	MedianLagMs   *int64         `json:"median_lag_ms"` // null if the leader did not answer
	PolicyVersion uint64         `json:"policy_version"`
	Edges         int64          `json:"edges"`
	Budgets       int64          `json:"budgets"`
	Members       []memberReport `json:"members"`
	Alarms        []alarmReport  `json:"alarms"`
	Problems      []string       `json:"problems"`
}

type leaderReport struct {
	NodeID  string `json:"node_id"`
	Address string `json:"address"`
	Term    uint64 `json:"term"`
}

type memberReport struct {
	NodeID       string `json:"node_id"`
	Region       string `json:"region"`
	Role         string `json:"role"` // leader, voter, non-voter
	RaftAddress  string `json:"raft_address"`
	GRPCAddress  string `json:"grpc_address"`
	HTTPAddress  string `json:"http_address"`
	Version      string `json:"version"`
	LogVersion   uint32 `json:"log_version"`
	Gossip       string `json:"gossip"`
	Healthy      bool   `json:"healthy"`
	Lag          *int64 `json:"lag"` // entries behind the leader, null if unknown
	WallOffsetMs int64  `json:"wall_offset_ms"`

	Error string      `json:"error"` // why it did not answer, empty if it did
	Node  *nodeReport `json:"node"`  // null if it did not answer
}

// A nodeReport is what a node says about itself.
type nodeReport struct {
	Term             uint64 `json:"term"`
	RaftState        string `json:"raft_state"`
	LeaderID         string `json:"leader_node_id"` // whom it takes for the leader
	LastIndex        uint64 `json:"last_index"`
	CommitIndex      uint64 `json:"commit_index"`
	AppliedIndex     uint64 `json:"applied_index"`
	ClockMs          int64  `json:"clock_ms"`
	WallMs           int64  `json:"wall_ms"`
	PolicyVersion    uint64 `json:"policy_version"`
	Elections        uint64 `json:"elections"` // since it started
	Serving          bool   `json:"serving"`
	NotServingReason string `json:"not_serving_reason"`
}

type alarmReport struct {
	Kind       string `json:"kind"`
	NodeID     string `json:"node_id"`
	Detail     string `json:"detail"`
	RaisedAtMs int64  `json:"raised_at_ms"`
}

// newStatusReport puts answers together, of which at least one is there.
func newStatusReport(answers []statusAnswer) *statusReport {
	s := best(answers)
	r := &statusReport{
		Cluster: s.Cluster, ClusterID: s.ClusterId, Source: s.NodeId, Term: s.Term,
		LastIndex: s.LastIndex, CommitIndex: s.CommitIndex, AppliedIndex: s.AppliedIndex,
		ClockMs: s.ClockMs, WallMs: s.WallMs, PolicyVersion: s.PolicyVersion, Edges: s.Edges, Budgets: s.Budgets,
		Members: []memberReport{}, Alarms: []alarmReport{}, Problems: []string{},
	}
	if s.Leader != nil {
		r.Leader = &leaderReport{s.Leader.NodeId, s.Leader.Address, s.Leader.Term}
	}
	if leads(s) {
		r.MedianLagMs = &s.MedianLagMs
	}
	for _, al := range s.Alarms {
		r.Alarms = append(r.Alarms, alarmReport{al.Kind, al.NodeId, al.Detail, al.RaisedAtMs})
	}
	for _, m := range s.Members {
		r.Members = append(r.Members, newMemberReport(m, answers))
	}
	r.judge(answers)
	return r
}

func newMemberReport(m *tkcoordv1.Member, answers []statusAnswer) memberReport {
	r := memberReport{
		NodeID: m.NodeId, Region: m.Region, Role: role(m), RaftAddress: m.RaftAddress, GRPCAddress: m.GrpcAddress,
		HTTPAddress: m.HttpAddress, Version: m.Version, LogVersion: m.LogVersion, Gossip: m.Gossip, Healthy: m.Healthy,
		WallOffsetMs: m.WallOffsetMs,
	}
	if m.Lag >= 0 {
		r.Lag = &m.Lag
	}
	if i := slices.IndexFunc(answers, func(a statusAnswer) bool { return a.res != nil && a.res.NodeId == m.NodeId }); i >= 0 {
		r.Node = newNodeReport(answers[i].res)
		return r
	}
	r.Error = "its address is not known"
	for _, a := range answers {
		switch {
		case a.addr != m.GrpcAddress:
		case a.res != nil:
			r.Error = fmt.Sprintf("node %s answers at its address", a.res.NodeId)
		default:
			r.Error = a.err.Error()
		}
	}
	return r
}

func newNodeReport(s *tkcoordv1.StatusResponse) *nodeReport {
	return &nodeReport{
		Term: s.Term, RaftState: s.RaftState, LeaderID: s.Leader.GetNodeId(), LastIndex: s.LastIndex, CommitIndex: s.CommitIndex,
		AppliedIndex: s.AppliedIndex, ClockMs: s.ClockMs, WallMs: s.WallMs, PolicyVersion: s.PolicyVersion, Elections: s.Elections,
		Serving: s.Serving, NotServingReason: s.NotServingReason,
	}
}

func role(m *tkcoordv1.Member) string {
	switch {
	case m.Leader:
		return "leader"
	case m.Voter:
		return "voter"
	default:
		return "non-voter"
	}
}
