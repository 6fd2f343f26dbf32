package transport

import (
	"context"
	"fmt"
	"time"
)

// SetClusterID tells which cluster the node belongs to, as learnt from the log.
// From then on nodes of any other are refused, and known ones forgotten.
func (g *Gossip) SetClusterID(id string) error {
	if len(id) > maxClusterID {
		return fmt.Errorf("cluster id of %d bytes, at most %d", len(id), maxClusterID)
	}
	g.edit(func(n *NodeInfo) { n.ClusterID = id })
	g.mu.Lock()
	defer g.mu.Unlock()
	for id, r := range g.peers {
		if err := g.belongs(r.NodeInfo); err != nil && !r.stranger {
			r.stranger = true
			g.log.Warn("gossip: node of another cluster", "peer", id, "address", r.Address, "err", err)
		}
	}
	return nil
}

// SetRaftState tells whether raft holds anything on this node, and whether it was
// told that it was removed from the cluster.
func (g *Gossip) SetRaftState(hasState, removed bool) {
	g.edit(func(n *NodeInfo) { n.HasState, n.Removed = hasState, removed })
}

// SetFounding tells which set of nodes this node promised to form a cluster
// with, 0 for none.
func (g *Gossip) SetFounding(set uint64) {
	g.edit(func(n *NodeInfo) { n.Founding = set })
}

func (g *Gossip) edit(change func(*NodeInfo)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	before := g.info
	if change(&g.info); g.info != before {
		g.publishSoon()
		g.notify()
	}
}

func (g *Gossip) publishSoon() {
	select {
	case g.dirty <- struct{}{}:
	default:
	}
}

// belongs reports why a node is not of this cluster, or nil. mu is held.
func (g *Gossip) belongs(n NodeInfo) error {
	switch {
	case n.Cluster != g.info.Cluster:
		return fmt.Errorf("it is of cluster %q, this one of %q", n.Cluster, g.info.Cluster)
	case n.ClusterID != g.info.ClusterID && n.ClusterID != "" && g.info.ClusterID != "":
		return fmt.Errorf("it is of another cluster of the same name: id %s, here %s", n.ClusterID, g.info.ClusterID)
	case n.Region != g.info.Region:
		return fmt.Errorf("it is of region %q, this one of %q: nodes of one cluster share their region", n.Region, g.info.Region)
	}
	return nil
}

func (g *Gossip) keepPublished(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.dirty:
			g.publish()
		}
	}
}

// publish has memberlist send the current metadata to everyone.
func (g *Gossip) publish() {
	g.life <- struct{}{}
	defer func() { <-g.life }()
	if g.left || g.closed {
		return
	}
	if err := g.list.UpdateNode(publishTimeout); err != nil {
		g.log.Debug("gossip: metadata still on its way", "err", err)
	}
}

// publishTimeout bounds the wait for a broadcast, not the broadcast.
const publishTimeout = time.Second
