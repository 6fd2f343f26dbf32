package transport

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
	"pgregory.net/rapid"
)

// founderPeer is a node as others see it before there is a cluster.
func founderPeer(id string, expect uint32) Peer {
	return Peer{ID: id, NodeInfo: NodeInfo{Cluster: "c", RaftAddress: "raft-" + id, Expect: expect}}
}

func TestFounderStep(t *testing.T) {
	with := func(p Peer, change func(*Peer)) Peer {
		change(&p)
		return p
	}
	a, b, c := founderPeer("a", 3), founderPeer("b", 3), founderPeer("c", 3)
	abc := setHash([]string{"a", "b", "c"})
	promises := func(p Peer, set uint64) Peer {
		p.Founding = set
		return p
	}
	for _, tc := range []struct {
		name   string
		expect uint32 // 0 means 3
		unmet  bool
		peers  []Peer
		waits  string // "" means ready
		gaveUp bool
	}{
		{name: "alone", peers: []Peer{a}, waits: "1 nodes of the 3 expected are here: a"},
		{name: "alone, and enough", expect: 1, peers: []Peer{founderPeer("a", 1)}},
		{name: "alone, enough, and seeds are silent", expect: 1, unmet: true, peers: []Peer{founderPeer("a", 1)}, waits: "no seed has answered"},
		{name: "nobody promised yet", peers: []Peer{a, b, c}, waits: "1 of 3 nodes agree"},
		{name: "all promised", peers: []Peer{a, promises(b, abc), promises(c, abc)}},
		{name: "one is a suspect", peers: []Peer{a, promises(b, abc), with(promises(c, abc), func(p *Peer) { p.State = PeerSuspect })}},
		{name: "one promised another set", peers: []Peer{a, promises(b, abc), promises(c, 7)}, waits: "2 of 3 nodes agree"},
		{name: "too many", peers: []Peer{a, b, c, founderPeer("d", 3)}, waits: "4 nodes of the 3 expected"},
		{name: "one only joins", peers: []Peer{a, promises(b, abc), promises(c, abc), founderPeer("d", 0)}},
		{name: "one is dead", peers: []Peer{a, b, with(c, func(p *Peer) { p.State = PeerDead })}, waits: "2 nodes of the 3"},
		{name: "one shuts down", peers: []Peer{a, b, with(c, func(p *Peer) { p.Leaving = true })}, waits: "2 nodes of the 3"},
		{name: "a dead one is not counted", peers: []Peer{a, promises(b, abc), promises(c, abc), with(founderPeer("d", 3), func(p *Peer) { p.State = PeerDead })}},
		{name: "other expectation", peers: []Peer{a, b, founderPeer("c", 5)}, waits: "node c expects 5 nodes, this one 3"},
		{name: "one address", peers: []Peer{a, b, with(c, func(p *Peer) { p.RaftAddress = b.RaftAddress })}, waits: "b and c have one raft address"},
		{name: "one holds state", peers: []Peer{a, b, with(c, func(p *Peer) { p.HasState = true })}, waits: "node c belongs to it", gaveUp: true},
		{name: "one knows a cluster", peers: []Peer{a, b, with(c, func(p *Peer) { p.ClusterID = "x" })}, waits: "node c belongs to it", gaveUp: true},
		{name: "one that died held state", peers: []Peer{a, b, c, with(founderPeer("d", 3), func(p *Peer) { p.HasState, p.State = true, PeerDead })}, waits: "node d belongs to it", gaveUp: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := &founder{id: "a", expect: max(tc.expect, 1)}
			if tc.expect == 0 {
				f.expect = 3
			}
			got := f.step(tc.peers, !tc.unmet)
			if got.ready != (tc.waits == "") || !strings.Contains(got.waits, tc.waits) {
				t.Errorf("step = %+v, want ready or waiting for %q", got, tc.waits)
			}
			if got.ready && len(got.servers.Servers) != int(f.expect) {
				t.Errorf("bootstraps %v", got.servers)
			}
			if (f.gaveUp != "") != tc.gaveUp || tc.gaveUp && got.promise != 0 {
				t.Errorf("gave up: %q, promises %d", f.gaveUp, got.promise)
			}
		})
	}
}

// What a founder has decided stays, whatever it sees later.
func TestFounderRemembers(t *testing.T) {
	a, b, c, d := founderPeer("a", 3), founderPeer("b", 3), founderPeer("c", 3), founderPeer("d", 3)
	abc := setHash([]string{"a", "b", "c"})
	f := &founder{id: "a", expect: 3}
	if got := f.step([]Peer{a, b, c}, true); got.promise != abc {
		t.Fatalf("step = %+v", got)
	}
	// c is replaced by d before it promised: a stays with its word.
	c.State = PeerDead
	if got := f.step([]Peer{a, b, c, d}, true); got.promise != abc || got.ready {
		t.Errorf("step = %+v, want the promise kept", got)
	}
	// b and c went ahead, and a fourth node turned up.
	b.Founding, b.HasState = abc, true
	c.Founding, c.HasState, c.State = abc, true, PeerAlive
	c.RaftAddress = "elsewhere"
	want := []raft.Server{{ID: "a", Address: "raft-a"}, {ID: "b", Address: "raft-b"}, {ID: "c", Address: "elsewhere"}}
	if got := f.step([]Peer{d, c, b, a}, true); !got.ready || !slices.Equal(got.servers.Servers, want) {
		t.Errorf("step = %+v, want %v", got, want)
	}
	// A node of some other cluster.
	d.HasState = true
	if got := f.step([]Peer{a, b, c, d}, true); got.ready || got.promise != 0 {
		t.Errorf("step = %+v, want it to give up", got)
	}
	if got := f.step([]Peer{a, b, c}, true); got.ready || got.promise != 0 {
		t.Errorf("step = %+v, want it to have given up for good", got)
	}
}

func TestSetHash(t *testing.T) {
	sets := [][]string{{"a"}, {"a", "b"}, {"ab"}, {"a", "b", "c"}, {"a", "bc"}, {"ab", "c"}}
	seen := map[uint64][]string{}
	for _, s := range sets {
		h := setHash(s)
		if seen[h] != nil || h == 0 {
			t.Errorf("setHash(%q) = %d, as %q", s, h, seen[h])
		}
		seen[h] = s
	}
}

// A foundingModel runs founders of several machines with the worst gossip that
// there could be: whenever one looks, it sees of each other any of the things
// that one ever told, alive or dead, or nothing.
type foundingModel struct {
	expect   uint32
	machines []*foundingMachine
	formed   map[string][]string // the sets that somebody bootstrapped with, and who
}

type foundingMachine struct {
	id      string
	state   bool // raft's, on disk
	founder *founder
	told    []Peer // all that it ever told of itself
}

func newFoundingModel(machines int, expect uint32) *foundingModel {
	m := &foundingModel{expect: expect, formed: map[string][]string{}}
	for i := range machines {
		m.machines = append(m.machines, &foundingMachine{id: string(rune('a' + i))})
		m.start(i)
	}
	return m
}

// start begins a new life of a machine's process.
func (m *foundingModel) start(i int) {
	f := m.machines[i]
	f.founder = &founder{id: f.id, expect: m.expect}
	f.tell(0)
}

func (f *foundingMachine) tell(promise uint64) {
	p := founderPeer(f.id, f.founder.expect)
	p.Founding, p.HasState = promise, f.state
	f.told = append(f.told, p)
}

func (f *foundingMachine) newest() Peer { return f.told[len(f.told)-1] }

// draw returns something that gossip may show of a machine, or false for nothing.
func (f *foundingMachine) draw(t *rapid.T) (Peer, bool) {
	p := f.newest()
	switch rapid.IntRange(0, 9).Draw(t, "sees of "+f.id) {
	case 0:
		return Peer{}, false
	case 1:
		p = rapid.SampledFrom(f.told).Draw(t, "that it told")
	case 2:
		p = rapid.SampledFrom(f.told).Draw(t, "that it told")
		p.State = PeerDead
	}
	return p, true
}

// act has a machine look at what it sees of others.
func (m *foundingModel) act(i int, others []Peer) {
	f := m.machines[i]
	if f.state {
		return
	}
	got := f.founder.step(append(others, f.newest()), true)
	if got.ready {
		var ids []string
		for _, s := range got.servers.Servers {
			ids = append(ids, string(s.ID))
		}
		set := strings.Join(ids, " ")
		m.formed[set] = append(m.formed[set], f.id)
		f.state = true
	}
	if f.newest().Founding != got.promise || got.ready {
		f.tell(got.promise)
	}
}

func (m *foundingModel) drawAct(t *rapid.T) {
	i := m.drawMachine(t)
	var others []Peer
	for j, other := range m.machines {
		if i != j {
			if p, ok := other.draw(t); ok {
				others = append(others, p)
			}
		}
	}
	m.act(i, others)
}

func (m *foundingModel) drawMachine(t *rapid.T) int {
	var living []int
	for i, f := range m.machines {
		if f.founder != nil {
			living = append(living, i)
		}
	}
	return rapid.SampledFrom(living).Draw(t, "who")
}

func (m *foundingModel) drawStart(t *rapid.T) { m.start(m.drawMachine(t)) }

// drawWipe replaces a machine by one with a new id and no state, if the cluster
// was formed and another machine still holds its state.
func (m *foundingModel) drawWipe(t *rapid.T) {
	i := m.drawMachine(t)
	for j, other := range m.machines {
		if j != i && other.state && other.founder != nil {
			m.machines[i].founder = nil // others may go on hearing of it
			m.machines = append(m.machines, &foundingMachine{id: fmt.Sprint(m.machines[i].id, len(m.machines))})
			m.start(len(m.machines) - 1)
			return
		}
	}
}

// check returns what must never be: two nodes that bootstrapped with sets that
// differ and, if disjoint is true, have a node in common.
func (m *foundingModel) check(disjoint bool) error {
	for s := range m.formed {
		for t := range m.formed {
			common := slices.ContainsFunc(strings.Fields(s), func(id string) bool { return slices.Contains(strings.Fields(t), id) })
			if s != t && (common || !disjoint) {
				return fmt.Errorf("bootstrapped with {%s} at %v and with {%s} at %v", s, m.formed[s], t, m.formed[t])
			}
		}
	}
	return nil
}

// As many machines as are expected form one cluster, whatever they see of each
// other and however often they restart.
func TestFoundingIsUnique(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newFoundingModel(3, 3)
		t.Repeat(map[string]func(*rapid.T){
			"act":     m.drawAct,
			"restart": m.drawStart,
			"": func(t *rapid.T) {
				if err := m.check(false); err != nil {
					t.Fatal(err)
				}
			},
		})
	})
}

// Machines that lose their disks after a cluster was formed come back as new
// nodes, still told to form one of three. While one machine holds the state of
// the old cluster, they never do.
func TestFoundingAfterLoss(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newFoundingModel(3, 3)
		t.Repeat(map[string]func(*rapid.T){
			"act":     m.drawAct,
			"restart": m.drawStart,
			"wipe":    m.drawWipe,
			"": func(t *rapid.T) {
				if err := m.check(false); err != nil {
					t.Fatal(err)
				}
			},
		})
	})
}

// More machines than are expected, told so by mistake, never form two clusters
// that could both claim one node.
func TestFoundingByTooMany(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newFoundingModel(4, 2)
		t.Repeat(map[string]func(*rapid.T){
			"act": m.drawAct,
			"": func(t *rapid.T) {
				if err := m.check(true); err != nil {
					t.Fatal(err)
				}
			},
		})
	})
}

// Good gossip leads to a cluster, after any bad beginning.
func TestFoundingEnds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newFoundingModel(3, 3)
		for range rapid.IntRange(0, 20).Draw(t, "steps") {
			rapid.SampledFrom([]func(*rapid.T){m.drawAct, m.drawStart}).Draw(t, "step")(t)
		}
		for range 3 {
			for i := range m.machines {
				var others []Peer
				for j, other := range m.machines {
					if i != j {
						others = append(others, other.newest())
					}
				}
				m.act(i, others)
			}
		}
		if !slices.ContainsFunc(m.machines, func(f *foundingMachine) bool { return f.state }) {
			t.Fatalf("no cluster after all saw all: %v, %v, %v", m.machines[0].founder, m.machines[1].founder, m.machines[2].founder)
		}
	})
}
