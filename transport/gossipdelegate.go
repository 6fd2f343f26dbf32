package transport

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/hashicorp/memberlist"
)

// gossipDelegate is what memberlist calls, with its own locks held: it must not
// call back. It keeps the peers, since what memberlist.Members returns is
// written to while one reads.
type gossipDelegate struct{ *Gossip }

// NodeMeta implements memberlist.Delegate.
func (d gossipDelegate) NodeMeta(int) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.info.encode()
}

// NotifyMsg implements memberlist.Delegate: a message for this node alone.
func (d gossipDelegate) NotifyMsg(b []byte) { d.hear(b) }

// GetBroadcasts, LocalState and MergeRemoteState belong to application messages
// for all nodes, of which there are none.
func (gossipDelegate) GetBroadcasts(int, int) [][]byte { return nil }
func (gossipDelegate) LocalState(bool) []byte          { return nil }
func (gossipDelegate) MergeRemoteState([]byte, bool)   {}

// NotifyAlive implements memberlist.AliveDelegate: it decides whether a message
// about a node counts.
func (d gossipDelegate) NotifyAlive(n *memberlist.Node) error {
	if n.Name == d.cfg.NodeID {
		return nil // about us, or about an impostor: then NotifyConflict
	}
	info, err := d.vet(n)
	if err != nil {
		d.refuse(n, err)
	} else if info.Leaving {
		d.farewell(n.Name)
	}
	return err
}

// vet reads what a node says of itself, and whether it may be here at all.
func (d gossipDelegate) vet(n *memberlist.Node) (NodeInfo, error) {
	info, err := decodeNodeInfo(n.Meta)
	if err != nil {
		return NodeInfo{}, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return info, d.belongs(info)
}

// farewell notes that a node said that it leaves, when the word came after the
// news that it was gone. memberlist then takes it for old.
func (d gossipDelegate) farewell(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if r, ok := d.peers[id]; ok && r.State == PeerDead {
		r.State = PeerLeft
		d.notify()
	}
}

func (d gossipDelegate) refuse(n *memberlist.Node, err error) {
	d.quiet.complain(slog.LevelWarn, "refused "+n.Name+" "+err.Error(), "gossip: node refused", "peer", n.Name, "address", n.Address(), "err", err)
	d.mu.Lock()
	defer d.mu.Unlock()
	// NB: an older, acceptable message about it may still come by; only one that
	// memberlist takes for news, see learn, undoes this.
	if r, ok := d.peers[n.Name]; ok && !r.stranger {
		r.stranger = true
		d.notify()
	}
}

// NotifyMerge implements memberlist.MergeDelegate: it refuses to exchange state
// with a node that mixes with strangers.
func (d gossipDelegate) NotifyMerge(nodes []*memberlist.Node) error {
	for _, n := range nodes {
		if n.State != memberlist.StateAlive || n.Name == d.cfg.NodeID {
			continue
		}
		if _, err := d.vet(n); err != nil {
			d.refuse(n, err)
			return fmt.Errorf("node %s: %w", n.Name, err)
		}
	}
	return nil
}

// NotifyConflict implements memberlist.ConflictDelegate. memberlist keeps the
// existing node. Raft's voters are told apart by id alone, so two of one name
// could vote twice.
func (d gossipDelegate) NotifyConflict(existing, other *memberlist.Node) {
	d.quiet.complain(slog.LevelError, "conflict "+other.Name+" "+other.Address(),
		"gossip: two nodes have one id, the second is refused: stop one of them, and never copy a data directory",
		"peer", other.Name, "address", existing.Address(), "refused", other.Address(),
		"hint", "if the node has only moved, this ends when its old address is found dead")
}

// NotifyJoin implements memberlist.EventDelegate.
func (d gossipDelegate) NotifyJoin(n *memberlist.Node) {
	if d.learn(n) {
		d.log.Info("gossip: node joined", "peer", n.Name, "address", n.Address())
	}
}

// NotifyUpdate implements memberlist.EventDelegate.
func (d gossipDelegate) NotifyUpdate(n *memberlist.Node) { d.learn(n) }

// learn records what an accepted message says of another node.
func (d gossipDelegate) learn(n *memberlist.Node) bool {
	info, err := decodeNodeInfo(n.Meta)
	if n.Name == d.cfg.NodeID || err != nil { // NotifyAlive decoded it already
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	since := now
	if r, ok := d.peers[n.Name]; ok && r.Present() {
		since = r.Since
	}
	d.peers[n.Name] = &peerRecord{
		Peer:  Peer{ID: n.Name, State: PeerAlive, Since: since, Address: n.Address(), NodeInfo: info},
		node:  memberlist.Node{Name: n.Name, Addr: n.Addr, Port: n.Port},
		heard: now,
	}
	d.notify()
	return true
}

// NotifyLeave implements memberlist.EventDelegate: a node left or died.
func (d gossipDelegate) NotifyLeave(n *memberlist.Node) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r, ok := d.peers[n.Name]
	if !ok {
		return
	}
	r.State, r.Since = PeerDead, time.Now()
	if r.Leaving {
		r.State = PeerLeft
	}
	d.log.Info("gossip: node gone", "peer", n.Name, "address", r.Address, "state", r.State.String())
	d.forget()
	d.notify()
}

// forget drops the node that is gone longest if there are too many. mu is held.
func (d gossipDelegate) forget() {
	gone := 0
	var oldest *peerRecord
	for _, r := range d.peers {
		if r.Present() {
			continue
		}
		if gone++; oldest == nil || r.Since.Before(oldest.Since) {
			oldest = r
		}
	}
	if gone > maxGone {
		delete(d.peers, oldest.ID)
	}
}

// AckPayload implements memberlist.PingDelegate.
func (gossipDelegate) AckPayload() []byte { return nil }

// NotifyPingComplete implements memberlist.PingDelegate: n answered a probe.
func (d gossipDelegate) NotifyPingComplete(n *memberlist.Node, _ time.Duration, _ []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if r, ok := d.peers[n.Name]; ok {
		r.heard = time.Now()
	}
}
