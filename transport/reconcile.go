package transport

import (
	"fmt"

	"github.com/hashicorp/raft"
)

// maxServers bounds the servers of a cluster, non-voters included: the leader
// sends each of them every entry. Nodes beyond it are not added by themselves.
const maxServers = 15

// A clusterView is what the leader compares: the configuration, and the nodes
// that gossip shows.
type clusterView struct {
	conf      raft.Configuration
	peers     []Peer
	clusterID string
	lost      func(raft.ServerID) bool // the server does not answer raft
	expelled  func(raft.ServerID) bool // somebody removed it
	returned  func(raft.ServerID) bool // it has been back for long enough to say that it was removed on purpose
}

// A serverChange is one step that brings the configuration closer to the nodes
// that there are. The zero value is none.
type serverChange struct {
	kind   changeKind
	server raft.Server
	why    string
}

type changeKind int

const (
	noChange changeKind = iota
	addServer
	moveServer
	dropServer
)

func (k changeKind) String() string { return [...]string{"none", "add", "move", "drop"}[k] }

// next returns the first step to take, and what prevents others, as sentences
// for the log.
func (v clusterView) next() (c serverChange, obstacles []string) {
	for _, p := range v.peers {
		if !p.Present() || p.RaftAddress == "" {
			continue
		}
		var obstacle string
		if s, ok := findServer(v.conf, raft.ServerID(p.ID)); ok {
			c, obstacle = v.moved(s, p)
		} else if obstacle = v.unplaced(p); obstacle == "" && v.mayJoin(p) {
			c, obstacle = v.joins(p)
		}
		if c.kind != noChange {
			return c, obstacles
		}
		if obstacle != "" {
			obstacles = append(obstacles, obstacle)
		}
	}
	return serverChange{}, obstacles
}

// moved handles a server that is at another address than the configuration says.
func (v clusterView) moved(s raft.Server, p Peer) (serverChange, string) {
	to := raft.ServerAddress(p.RaftAddress)
	if s.Address == to {
		return serverChange{}, ""
	}
	if other, ok := v.at(to); ok {
		return serverChange{}, fmt.Sprintf("server %s moved to %s, which is server %s's address", s.ID, to, other.ID)
	}
	why := fmt.Sprintf("it moved from %s", s.Address)
	s.Address = to
	return serverChange{moveServer, s, why}, ""
}

// unplaced returns why a node that nobody removed is not added, if somebody should
// know: it holds state of some cluster, and cannot tell of which.
func (v clusterView) unplaced(p Peer) string {
	if p.HasState && p.ClusterID == "" && !p.Removed && p.Founding == 0 {
		return fmt.Sprintf("node %s is not added: it holds raft state and does not know of which cluster; clear its data directory if it shall join", p.ID)
	}
	return ""
}

// mayJoin reports whether an unknown node is to be added: one that is new, or one
// of ours that was removed because it was dead. One that was removed on purpose
// says so, or this leader remembers; one that is about to found a cluster will see
// this one and give up.
func (v clusterView) mayJoin(p Peer) bool {
	id := raft.ServerID(p.ID)
	ours := v.clusterID != "" && (p.ClusterID == v.clusterID || p.ClusterID == "")
	return ours && !p.Removed && !p.Leaving && p.Founding == 0 && !v.expelled(id) && (!p.HasState || v.returned(id))
}

// joins handles a new node. Where another server has its address, that one has
// lost its disk and become this one, or gossip is wrong.
func (v clusterView) joins(p Peer) (serverChange, string) {
	s := raft.Server{Suffrage: raft.Nonvoter, ID: raft.ServerID(p.ID), Address: raft.ServerAddress(p.RaftAddress)}
	other, taken := v.at(s.Address)
	switch {
	case taken && v.present(other.ID):
		return serverChange{}, fmt.Sprintf("node %s is not added: server %s has its raft address %s", s.ID, other.ID, s.Address)
	case taken && !v.lost(other.ID):
		return serverChange{}, fmt.Sprintf("node %s is not added: server %s still answers at its raft address %s", s.ID, other.ID, s.Address)
	case taken:
		return serverChange{dropServer, other, fmt.Sprintf("node %s is at its address now", s.ID)}, ""
	case len(v.conf.Servers) >= maxServers:
		return serverChange{}, fmt.Sprintf("node %s is not added: there are %d servers already", s.ID, maxServers)
	}
	return serverChange{addServer, s, "it is new"}, ""
}

// at returns the server that the configuration has at an address.
func (v clusterView) at(a raft.ServerAddress) (raft.Server, bool) {
	for _, s := range v.conf.Servers {
		if s.Address == a {
			return s, true
		}
	}
	return raft.Server{}, false
}

func (v clusterView) present(id raft.ServerID) bool {
	for _, p := range v.peers {
		if p.ID == string(id) {
			return p.Present()
		}
	}
	return false
}
