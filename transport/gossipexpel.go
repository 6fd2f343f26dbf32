package transport

import (
	"bytes"
	"fmt"
	"time"

	"github.com/hashicorp/memberlist"
)

// expelMessage begins the only message that nodes send each other: the cluster's
// id and the id of the node follow, with a zero byte between.
const expelMessage = 'x'

func encodeExpel(clusterID, id string) []byte {
	return fmt.Append([]byte{expelMessage}, clusterID, "\x00", id)
}

// Expel tells a node that it is no longer a server of the cluster. Raft makes one
// attempt to send a server the entry that removes it; one that missed it would go
// on thinking that it belongs.
func (g *Gossip) Expel(id string) error {
	g.mu.Lock()
	r, ok := g.peers[id]
	var to memberlist.Node
	if ok {
		to = r.node
	}
	clusterID := g.info.ClusterID
	g.mu.Unlock()
	if !ok {
		return fmt.Errorf("tell %s that it was removed: %w", id, ErrUnknownMember)
	}
	return g.list.SendReliable(&to, encodeExpel(clusterID, id))
}

// Expelled returns when this node was last told that it was removed, the zero
// time if never. It is a hint: a leader that still sends it entries knows better.
func (g *Gossip) Expelled() time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.expelled
}

// hear takes a message of another node. What it does not know comes from a later
// version, or is for another node that was at this address.
func (g *Gossip) hear(b []byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.info.ClusterID != "" && bytes.Equal(b, encodeExpel(g.info.ClusterID, g.cfg.NodeID)) {
		g.expelled = time.Now()
		g.notify()
	}
}
