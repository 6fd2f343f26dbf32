package transport

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// ErrAmbiguous says that several servers have the name: a node that lost its disk came back as a
// new server while the old one is still in the cluster.
var ErrAmbiguous = errors.New("several servers of that name")

// A MemberStatus is one server of the cluster as this node sees it.
type MemberStatus struct {
	ID       string // name of the node
	ServerID string // name/incarnation, its raft id
	Region   string
	Version  string

	RaftAddress, GRPCAddress, HTTPAddress string

	Voter, Leader bool
	Gossip        string // alive, suspect, dead, left or unknown
	Lag           int64  // entries that it has not applied; -1 unless this node leads and has heard
	WallOffset    int64  // its wall clock minus the cluster clock in ms, when last heard
	Healthy       bool   // it gossips and, as far as the leader knows, keeps up
	LogVersion    uint32
}

// Members returns the servers of the cluster by id.
func (n *Node) Members() []MemberStatus {
	_, leader := n.raft.LeaderWithID()
	heard := n.heardStats()
	var all []MemberStatus
	for _, s := range n.raft.GetConfiguration().Configuration().Servers {
		m := MemberStatus{
			ID: nodeName(s.ID), ServerID: string(s.ID), RaftAddress: string(s.Address),
			Voter: s.Suffrage == raft.Voter, Leader: s.ID == leader, Gossip: "unknown", Lag: -1,
		}
		if p, ok := n.gossip.Load().Peer(string(s.ID)); ok {
			m.Region, m.Version, m.Gossip, m.LogVersion = p.Region, p.Version, p.State.String(), p.LogVersion
			m.RaftAddress, m.GRPCAddress, m.HTTPAddress = p.RaftAddress, p.GRPCAddress, p.HTTPAddress
			m.Healthy = p.State == PeerAlive
		}
		if st, ok := heard[string(s.ID)]; ok {
			m.Lag, m.WallOffset = max(0, int64(n.raft.AppliedIndex())-int64(st.AppliedIndex)), int64(st.offset)
			m.Healthy = m.Healthy && m.Lag <= readyLag
		}
		if s.ID == n.id {
			m.WallOffset = int64(n.clock.WallOffset())
			if n.leading.Load() {
				m.Lag = 0
			}
		}
		all = append(all, m)
	}
	return all
}

// voters returns how many voters there are, and those other than this node.
func (n *Node) voters() (count int, others []MemberStatus) {
	for _, m := range n.Members() {
		if !m.Voter {
			continue
		}
		count++
		if m.ServerID != string(n.id) {
			others = append(others, m)
		}
	}
	return count, others
}

// Addresses are where a node can be reached.
type Addresses struct{ GRPC, Raft, Gossip, HTTP string }

// Addresses returns where others reach this node.
func (n *Node) Addresses() Addresses {
	return Addresses{GRPC: n.cfg.GRPCAddress, Raft: n.cfg.RaftAddress, Gossip: n.gossip.Load().Address(), HTTP: n.cfg.HTTPAddress}
}

// server returns the raft id of a member named by its node or by its server id.
func (n *Node) server(name string) (raft.ServerID, error) {
	var found []raft.ServerID
	for _, m := range n.Members() {
		if m.ServerID == name {
			return raft.ServerID(name), nil
		}
		if m.ID == name {
			found = append(found, raft.ServerID(m.ServerID))
		}
	}
	switch len(found) {
	case 0:
		return "", fmt.Errorf("node_id: %q: %w", name, ErrUnknownMember)
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("node_id: %q: %w: %v: name one of them", name, ErrAmbiguous, found)
}

// Remove takes a server out of the cluster, for good. Only the leader can.
func (n *Node) Remove(ctx context.Context, name string) error {
	if !n.leading.Load() {
		return ErrNotLeader
	}
	id, err := n.server(name)
	if err != nil {
		return err
	}
	return n.members.Remove(ctx, id)
}

// Transfer hands leadership to a voter, or to the most up-to-date one if name is
// empty. Only the leader can.
func (n *Node) Transfer(ctx context.Context, name string) error {
	if !n.leading.Load() {
		return ErrNotLeader
	}
	var id raft.ServerID
	if name != "" {
		var err error
		if id, err = n.server(name); err != nil {
			return err
		}
	}
	settling, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	defer n.proposer.resume()
	if err := n.proposer.pause(settling); err != nil {
		n.log.Warn("leadership is handed over with commands under way", "err", err)
	}
	return n.members.Transfer(ctx, id)
}

// settleTime is how long a transfer of leadership waits for commands under way.
const settleTime = 500 * time.Millisecond

// HandOver makes another node lead, if this one does and another can, waits until
// that one does, and tells the others that this one goes. Call it before a planned
// stop.
func (n *Node) HandOver(ctx context.Context) error {
	return errors.Join(n.yield(ctx), n.gossip.Load().Leave(leaveTime))
}

const (
	leaveTime  = time.Second
	yieldAgain = 50 * time.Millisecond
)

// yield hands leadership over until another node has it: the first that is asked
// may be too busy to win an election in time.
func (n *Node) yield(ctx context.Context) error {
	if count, _ := n.voters(); count < 2 || !n.leading.Load() {
		return nil
	}
	var last error
	for {
		changed := n.LeaderChanged()
		if l, ok := n.Leader(); ok && l.ID != n.cfg.ID {
			return nil
		}
		if n.leading.Load() {
			last = n.Transfer(ctx, "")
		}
		select {
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), last)
		case <-changed:
		case <-time.After(yieldAgain):
		}
	}
}
