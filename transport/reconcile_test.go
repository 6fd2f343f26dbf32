package transport

import (
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
)

func TestReconcileNext(t *testing.T) {
	server := func(id string) raft.Server {
		return raft.Server{ID: raft.ServerID(id), Address: raft.ServerAddress("at-" + id)}
	}
	peer := func(id string, change func(*Peer)) Peer {
		p := Peer{ID: id, NodeInfo: NodeInfo{RaftAddress: "at-" + id, ClusterID: "ours", HasState: true}}
		if change != nil {
			change(&p)
		}
		return p
	}
	fresh := func(id string, change func(*Peer)) Peer {
		p := Peer{ID: id, NodeInfo: NodeInfo{RaftAddress: "at-" + id}}
		if change != nil {
			change(&p)
		}
		return p
	}
	spare := server("c")
	spare.Suffrage = raft.Nonvoter
	for _, tc := range []struct {
		name     string
		servers  []raft.Server // default a, b
		peers    []Peer        // beside a
		unborn   bool          // this cluster's id is not known
		lost     string        // ids that do not answer
		expelled string
		returned string
		want     string // kind, id, address, suffrage
		obstacle string
	}{
		{name: "nothing to do", peers: []Peer{peer("b", nil)}},
		{name: "a server is unknown to gossip"},
		{name: "new node", peers: []Peer{fresh("d", nil)}, want: "add d at-d Nonvoter"},
		{name: "new node before the cluster has its id", unborn: true, peers: []Peer{fresh("d", nil)}},
		{name: "suspect new node", peers: []Peer{fresh("d", func(p *Peer) { p.State = PeerSuspect })}, want: "add d at-d Nonvoter"},
		{name: "dead new node", peers: []Peer{fresh("d", func(p *Peer) { p.State = PeerDead })}},
		{name: "new node that shuts down", peers: []Peer{fresh("d", func(p *Peer) { p.Leaving = true })}},
		{name: "new node without address", peers: []Peer{fresh("d", func(p *Peer) { p.RaftAddress = "" })}},
		{name: "new node that founds", peers: []Peer{fresh("d", func(p *Peer) { p.Founding = 1 })}},
		{name: "known before, and dead then", peers: []Peer{peer("d", nil)}, returned: "d", want: "add d at-d Nonvoter"},
		{name: "known before, and may yet say that it was removed", peers: []Peer{peer("d", nil)}},
		{name: "removed", peers: []Peer{peer("d", func(p *Peer) { p.Removed = true })}, returned: "d"},
		{name: "removed, and does not know", peers: []Peer{peer("d", nil)}, returned: "d", expelled: "d"},
		{name: "of another cluster", peers: []Peer{peer("d", func(p *Peer) { p.ClusterID = "theirs" })}},
		{name: "of nobody knows which", peers: []Peer{peer("d", func(p *Peer) { p.ClusterID = "" })}, obstacle: "does not know of which cluster"},
		{name: "voter moved", peers: []Peer{peer("b", func(p *Peer) { p.RaftAddress = "new" })}, want: "move b new Voter"},
		{name: "non-voter moved", servers: []raft.Server{server("a"), spare}, peers: []Peer{peer("c", func(p *Peer) { p.RaftAddress = "new" })}, want: "move c new Nonvoter"},
		{name: "dead voter was elsewhere", peers: []Peer{peer("b", func(p *Peer) { p.RaftAddress, p.State = "new", PeerDead })}},
		{name: "moved to another's address", peers: []Peer{peer("b", func(p *Peer) { p.RaftAddress = "at-a" })}, obstacle: "b moved to at-a, which is server a's"},
		{name: "took over an address", peers: []Peer{peer("b", func(p *Peer) { p.State = PeerDead }), fresh("d", func(p *Peer) { p.RaftAddress = "at-b" })}, lost: "b", want: "drop b at-b Voter"},
		{name: "took over the address of one unknown to gossip", peers: []Peer{fresh("d", func(p *Peer) { p.RaftAddress = "at-b" })}, lost: "b", want: "drop b at-b Voter"},
		{name: "claims the address of one that answers", peers: []Peer{fresh("d", func(p *Peer) { p.RaftAddress = "at-b" })}, obstacle: "b still answers"},
		{name: "claims the address of one that gossips", peers: []Peer{peer("b", nil), fresh("d", func(p *Peer) { p.RaftAddress = "at-b" })}, lost: "b", obstacle: "server b has its raft address"},
		{name: "an obstacle does not hold up others", peers: []Peer{fresh("d", func(p *Peer) { p.RaftAddress = "at-a" }), fresh("e", nil)}, obstacle: "server a has its raft address", want: "add e at-e Nonvoter"},
		{name: "moves come to pass before the address is taken", peers: []Peer{peer("b", func(p *Peer) { p.RaftAddress = "new" }), fresh("d", func(p *Peer) { p.RaftAddress = "at-b" })}, want: "move b new Voter"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in := func(list string) func(raft.ServerID) bool {
				return func(id raft.ServerID) bool { return slices.Contains(strings.Fields(list), string(id)) }
			}
			v := clusterView{
				conf:  raft.Configuration{Servers: []raft.Server{server("a"), server("b")}},
				peers: append([]Peer{peer("a", nil)}, tc.peers...), clusterID: "ours",
				lost: in(tc.lost), expelled: in(tc.expelled), returned: in(tc.returned),
			}
			if tc.servers != nil {
				v.conf.Servers = tc.servers
			}
			if tc.unborn {
				v.clusterID = ""
			}
			c, obstacles := v.next()
			got := ""
			if c.kind != noChange {
				got = strings.Join([]string{c.kind.String(), string(c.server.ID), string(c.server.Address), c.server.Suffrage.String()}, " ")
			}
			if got != tc.want || (len(obstacles) > 0) != (tc.obstacle != "") || tc.obstacle != "" && !strings.Contains(obstacles[0], tc.obstacle) {
				t.Errorf("next() = %q, obstacles %q, want %q, %q", got, obstacles, tc.want, tc.obstacle)
			}
		})
	}
}

func TestReconcileBound(t *testing.T) {
	v := clusterView{clusterID: "ours", expelled: func(raft.ServerID) bool { return false }}
	for i := range maxServers {
		id := string(rune('a' + i))
		v.conf.Servers = append(v.conf.Servers, raft.Server{ID: raft.ServerID(id), Address: raft.ServerAddress(id)})
	}
	v.peers = []Peer{{ID: "z", NodeInfo: NodeInfo{RaftAddress: "z"}}}
	c, obstacles := v.next()
	if c.kind != noChange || len(obstacles) != 1 || !strings.Contains(obstacles[0], "15 servers already") {
		t.Errorf("next() = %v, %q", c, obstacles)
	}
}
