package transport

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/hashicorp/raft"
	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/fsm/clock"
)

// Leader names the node that leads.
type Leader struct {
	ID      string
	Address string // gRPC; empty while gossip has not told it
	Term    uint64
}

// Leader returns the leader as this node knows it, and false while it knows
// none. The leader may already have been replaced.
func (n *Node) Leader() (Leader, bool) {
	_, id := n.raft.LeaderWithID()
	if id == "" {
		return Leader{}, false
	}
	l := Leader{ID: nodeName(id), Term: n.raft.CurrentTerm()}
	if id == n.id {
		l.Address = n.cfg.GRPCAddress
		return l, n.leading.Load()
	}
	if p, ok := n.gossip.Load().Peer(string(id)); ok {
		l.Address = p.GRPCAddress
	}
	return l, true
}

// LeaderChanged returns a channel that is closed at the next change of leader
// after this call.
func (n *Node) LeaderChanged() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.leaderChanged
}

func (n *Node) notifyLeader() {
	n.mu.Lock()
	defer n.mu.Unlock()
	close(n.leaderChanged)
	n.leaderChanged = make(chan struct{})
}

// watchLeader counts leaders and tells those who wait for a new one.
func (n *Node) watchLeader(ctx context.Context) error {
	news := make(chan raft.Observation, 64)
	o := raft.NewObserver(news, false, func(o *raft.Observation) bool {
		_, ok := o.Data.(raft.LeaderObservation)
		return ok
	})
	n.raft.RegisterObserver(o)
	defer n.raft.DeregisterObserver(o)
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-news:
			if l := e.Data.(raft.LeaderObservation); l.LeaderID != "" {
				n.elections.Add(1)
				n.log.Info("leader elected", "leader", string(l.LeaderID), "term", n.raft.CurrentTerm())
			}
			n.notifyLeader()
		}
	}
}

// watchBirth tells strangers from kin once the cluster has its identity: streams
// and gossip then refuse nodes of another one, even of the same name.
func (n *Node) watchBirth(ctx context.Context) error {
	for {
		changed := n.replica.Changed()
		id := ""
		n.replica.Query(func(m *fsm.Machine) { id = m.ClusterID() })
		if id != "" {
			return n.born(id)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// born keeps the identity of the cluster, and refuses a log of another one than
// the data directory says.
func (n *Node) born(id string) error {
	if n.kin == "" {
		if err := writeClusterID(n.cfg.DataDir, id); err != nil {
			return fmt.Errorf("keep the cluster's identity: %w", err)
		}
	} else if n.kin != id {
		return fmt.Errorf("the log is of cluster %s, the data directory %s of %s", id, n.cfg.DataDir, n.kin)
	}
	n.stream.SetClusterID(id)
	return n.gossip.Load().SetClusterID(id)
}

// NodeStatus is what a node knows about itself.
type NodeStatus struct {
	ID, Cluster, Region, Version         string
	RaftState                            string
	Term, LastTerm                       uint64
	LastIndex, CommitIndex, AppliedIndex uint64
	Clock, Wall                          clock.Millis
	MedianLag                            clock.Millis // leader only
	Leading                              bool
	Elections                            uint64 // leader changes seen since start
	NotServing                           error  // why it does not serve, or nil
}

// Status describes this node.
func (n *Node) Status() NodeStatus {
	stats := n.raft.Stats()
	lastTerm, _ := strconv.ParseUint(stats["last_log_term"], 10, 64)
	return NodeStatus{
		ID: n.cfg.ID, Cluster: n.cfg.Cluster, Region: n.cfg.Region, Version: n.cfg.Version,
		RaftState: n.raft.State().String(), Term: n.raft.CurrentTerm(), LastTerm: lastTerm,
		LastIndex: n.raft.LastIndex(), CommitIndex: n.raft.CommitIndex(), AppliedIndex: n.raft.AppliedIndex(),
		Clock: n.clock.Now(), Wall: n.cfg.Clocks.Wall(), MedianLag: clock.Millis(n.lag.Load()),
		Leading: n.leading.Load(), Elections: n.elections.Load(), NotServing: n.Ready(),
	}
}

// ClusterTime returns the cluster clock as this node knows it, without waiting for
// an entry that is being applied.
func (n *Node) ClusterTime() clock.Millis { return n.clock.Now() }

// ID returns the node's identity.
func (n *Node) ID() string { return n.cfg.ID }

// Cluster returns the name of the node's cluster.
func (n *Node) Cluster() string { return n.cfg.Cluster }

// Replica returns the node's copy of the state machine.
func (n *Node) Replica() *Replica { return n.replica }

// Reasons for not serving.
var (
	errOddReplica = errors.New("its state differs from the other replicas': replace its disk")
	errRemoved    = errors.New("it was removed from the cluster")
	errUnformed   = errors.New("the cluster has not been formed yet")
	errNobody     = errors.New("no leader is known")
	errNowhere    = errors.New("the leader's address is not known")
	errBehind     = errors.New("it is behind the leader")
)

// Serving reports why this node must not answer edges, or nil.
func (n *Node) Serving() error {
	if err := n.replica.Halted(); err != nil {
		return err
	}
	if n.members.Removed() {
		return errRemoved
	}
	if n.alarmed(AlarmDigest, n.cfg.ID) {
		return errOddReplica
	}
	return nil
}

// readyLag is how many committed entries a ready node may have to apply.
const readyLag = 5000

// Ready reports why this node should not be sent traffic, or nil: it serves, a
// leader is known, and its replica has caught up.
func (n *Node) Ready() error {
	if err := n.Serving(); err != nil {
		return err
	}
	born := false
	n.replica.Query(func(m *fsm.Machine) { born = m.ClusterID() != "" })
	if !born {
		return errUnformed
	}
	if l, ok := n.Leader(); !ok {
		return errNobody
	} else if l.Address == "" { // nothing could be forwarded to it
		return errNowhere
	}
	if !n.current.Load() {
		return errBehind
	}
	if commit, applied := n.raft.CommitIndex(), n.raft.AppliedIndex(); commit > applied+readyLag {
		return fmt.Errorf("%w: %d entries to apply", errBehind, commit-applied)
	}
	return nil
}
