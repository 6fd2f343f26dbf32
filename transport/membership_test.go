package transport

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

func TestMembershipOfOne(t *testing.T) {
	t.Parallel() // it mostly waits
	c := newClub(t)
	c.founded(1)
	n := c.leader() // for ever: nobody else votes
	if err := n.Remove(t.Context(), n.id()); !errors.Is(err, ErrQuorum) {
		t.Errorf("Remove of the only voter = %v, want %v", err, ErrQuorum)
	}
	if err := n.Transfer(t.Context(), ""); !errors.Is(err, ErrQuorum) {
		t.Errorf("Transfer by the only voter = %v, want %v", err, ErrQuorum)
	}
	// A second one would make two voters, which is worse than one.
	c.start("n1", 0, "n1")
	c.become("n0 (n1)")
	c.poll("n1 is well", func() bool { return n.Health()["n1"].Healthy })
	c.stays("n0 (n1)", 300*time.Millisecond)
	if n.Removed() {
		t.Error("removed")
	}
}

// Three nodes form a cluster; those that come later are told to expect three as
// well, and join it.
func TestMembershipForms(t *testing.T) {
	t.Parallel() // it mostly waits
	c := newClub(t)
	c.start("n0", 3, "n0")
	c.start("n1", 3, "n1")
	for _, n := range c.nodes {
		c.poll("waits for the third", func() bool { return n.gossip.lines.count("2 nodes of the 3 expected") == 1 })
	}
	c.start("n2", 3, "n2")
	c.become("n0 n1 n2")
	c.poll("nobody promises any more", func() bool {
		return !slices.ContainsFunc(c.nodes["n0"].gossip.Members(), func(p Peer) bool { return p.Founding != 0 })
	})
	c.start("n3", 3, "n3")
	c.become("n0 n1 n2 (n3)")
	c.start("n4", 0, "n4")
	c.become("n0 n1 n2 n3 n4")
	c.start("n5", 0, "n5")
	c.become("n0 n1 n2 n3 n4 (n5)")
	c.poll("n5 is well", func() bool { return c.leader().Health()["n5"].Healthy })
	c.stays("n0 n1 n2 n3 n4 (n5)", 300*time.Millisecond)
	// A voter dies for good, and the spare takes its place.
	victim := "n0"
	if c.leader().id() == "n0" {
		victim = "n1"
	}
	c.nodes[victim].stop()
	rest := slices.DeleteFunc([]string{"n0", "n1", "n2", "n3", "n4", "n5"}, func(s string) bool { return s == victim })
	c.become(strings.Join(rest, " "))
}

// A node loses its disk and comes back, still told to form a cluster of three.
// Its raft address is the old one, its id is new.
func TestMembershipWiped(t *testing.T) {
	t.Parallel() // it mostly waits
	c := newClub(t)
	c.founded(3)
	c.leader()
	victim := "n0"
	if c.leader().id() == "n0" {
		victim = "n1"
	}
	c.nodes[victim].stop()
	again := c.start(victim+"again", 3, victim)
	all := []string{"n0", "n1", "n2"}
	all[slices.Index(all, victim)] = victim + "again"
	c.become(strings.Join(all, " "))
	if n := again.gossip.lines.count("a cluster exists"); n != 1 {
		t.Errorf("said %d times that a cluster exists", n)
	}
	if again.gossip.lines.count(`msg="cluster formed"`) != 0 {
		t.Error("formed a cluster")
	}
}

// All others are gone when a wiped node comes back: it waits.
func TestMembershipWipedAlone(t *testing.T) {
	t.Parallel() // it mostly waits
	c := newClub(t)
	c.founded(3)
	c.leader()
	for _, id := range []string{"n0", "n1"} {
		c.nodes[id].stop()
	}
	c.start("n0again", 3, "n0")
	c.start("n1again", 3, "n1")
	for _, id := range []string{"n0again", "n1again"} {
		n := c.nodes[id]
		c.poll("it gives up", func() bool { return n.gossip.lines.count("a cluster exists") == 1 })
	}
	for end := time.Now().Add(200 * time.Millisecond); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		for _, id := range []string{"n0again", "n1again"} {
			if n := c.nodes[id]; n.hasState() {
				t.Fatalf("%s holds state: %v", id, shape(n.configuration()))
			}
		}
	}
}

func TestMembershipMoves(t *testing.T) {
	t.Parallel() // it mostly waits
	c := newClub(t)
	c.founded(3)
	for _, id := range []string{"n0", "n1", "n2"} { // one of them leads
		n := c.nodes[id]
		c.leave(n) // or its new self is an impostor until the old is found dead
		n.stop()
		c.restart(n, id+"-elsewhere")
		c.poll(id+" is found elsewhere", func() bool {
			for _, n := range c.nodes {
				if s, ok := findServer(n.configuration(), raft.ServerID(id)); !ok || s.Address != raft.ServerAddress(id+"-elsewhere") || s.Suffrage != raft.Voter {
					return false
				}
			}
			return true
		})
	}
	c.become("n0 n1 n2")
}

// A server is dead only if neither gossip nor raft hears of it, for long enough.
func TestMembershipGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLeadership(slog.New(slog.DiscardHandler))
		v := clusterView{conf: raft.Configuration{Servers: []raft.Server{{ID: "a"}, {ID: "b"}}}}
		here := []Peer{{ID: "a"}, {ID: "b", State: PeerSuspect}}
		left := []Peer{{ID: "a"}, {ID: "b", State: PeerLeft}}
		silent := func() {
			l.contact.observe(&raft.Observation{Data: raft.FailedHeartbeatObservation{PeerID: "b", LastContact: time.Now()}})
		}
		answers := func() { l.contact.observe(&raft.Observation{Data: raft.ResumedHeartbeatObservation{PeerID: "b"}}) }
		after := func(peers []Peer, seconds int) bool {
			for range seconds {
				v.peers = peers
				l.watch(v)
				if l.contact.lostFor("b") > 0 {
					silent() // again
				}
				time.Sleep(time.Second)
			}
			return l.gone("b", 5*time.Second)
		}
		for _, step := range []struct {
			name    string
			before  func()
			peers   []Peer
			seconds int
			gone    bool
		}{
			{"well", func() {}, here, 10, false},
			{"silent to raft only", silent, here, 10, false},
			{"leaves gossip too", func() {}, left, 4, false},
			{"for long enough", func() {}, left, 1, true},
			{"answers raft only", answers, left, 10, false},
			{"silent again", silent, left, 4, false},
			{"for long enough again", func() {}, nil, 1, true}, // forgotten by gossip
			{"seen again", func() {}, here, 1, false},
			{"leaves again", func() {}, left, 4, false},
		} {
			step.before()
			if got := after(step.peers, step.seconds); got != step.gone {
				t.Errorf("%s: gone is %v, want %v", step.name, got, step.gone)
			}
		}
		// It is removed, and comes back with and without its state.
		v.conf.Servers = v.conf.Servers[:1]
		l.watch(v)
		if len(l.absent) != 0 || l.backFor("b") != 0 {
			t.Errorf("remembers %v and %v, which are no servers", l.absent, l.back)
		}
		here[1].HasState = true
		after(here, 3)
		if got := l.backFor("b"); got != 3*time.Second || l.backFor("a") != 0 {
			t.Errorf("back for %v, want 3s", got)
		}
		here[1].HasState = false
		after(here, 3)
		if got := l.backFor("b"); got != 0 {
			t.Errorf("back for %v without state", got)
		}
	})
}

func TestMembershipDead(t *testing.T) {
	t.Parallel() // it mostly waits
	c := newClub(t)
	c.founded(3)
	c.start("n3", 0, "n3")
	c.become("n0 n1 n2 (n3)")

	first := c.follower()
	c.leave(first)
	first.stop()
	rest := slices.Sorted(maps.Keys(c.nodes))
	c.become(strings.Join(rest, " ")) // the spare votes in its place

	// One more is not given up: it would leave fewer than three.
	second := c.follower()
	second.stop()
	c.stays(strings.Join(rest, " "), 1500*time.Millisecond)

	// The first comes back to life. Nobody meant to remove it, so it is added
	// again, and the second can be spared.
	c.restart(first, string(first.id()))
	c.become(strings.Join(slices.Sorted(maps.Keys(c.nodes)), " "))
}

func TestMembershipRemove(t *testing.T) {
	t.Parallel() // it mostly waits
	c := newClub(t)
	c.founded(3)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := c.follower().Remove(ctx, "n0"); !errors.Is(err, ErrNotLeader) {
		t.Errorf("Remove at a follower = %v, want %v", err, ErrNotLeader)
	}
	if err := c.asLeader(func(l *clubNode) error { return l.Remove(ctx, "stranger") }); !errors.Is(err, ErrUnknownMember) {
		t.Errorf("Remove of a stranger = %v, want %v", err, ErrUnknownMember)
	}

	// The leader hands over and is removed by its successor.
	var first *clubNode
	c.poll("handed over", func() bool {
		first = c.leader()
		err := first.Remove(ctx, first.id())
		return errors.Is(err, ErrNotLeader) && strings.Contains(err.Error(), "led until now") // not a timeout
	})
	if err := c.asLeader(func(l *clubNode) error { return l.Remove(ctx, first.id()) }); err != nil {
		t.Fatalf("Remove at the next leader = %v", err)
	}
	c.poll("it knows", first.Removed)
	rest := slices.DeleteFunc([]string{"n0", "n1", "n2"}, func(s string) bool { return s == string(first.id()) })
	c.poll("the others know", func() bool { p, _ := c.leader().gossip.Peer(string(first.id())); return p.Removed })
	stays := func() { // not added again
		t.Helper()
		for end := time.Now().Add(300 * time.Millisecond); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			if got := shape(c.leader().configuration()); got != strings.Join(rest, " ") {
				t.Fatalf("the leader has %s, want %v", got, rest)
			}
		}
	}
	stays()
	if err := c.asLeader(func(l *clubNode) error { return l.Transfer(ctx, "stranger") }); !errors.Is(err, ErrUnknownMember) {
		t.Errorf("Transfer to a stranger = %v, want %v", err, ErrUnknownMember)
	}
	// Nor by another leader, since it says itself that it was removed.
	if err := c.asLeader(func(l *clubNode) error { return l.Transfer(ctx, "") }); err != nil {
		t.Fatal(err)
	}
	stays()

	// Added again on request.
	c.poll("added", func() bool {
		err := c.asLeader(func(l *clubNode) error { return l.Add(ctx, first.id()) })
		return err == nil // gossip may have taken it for dead
	})
	c.become("n0 n1 n2") // promoted: three are odd
	c.poll("it knows", func() bool { return !first.Removed() })

	// With one of three down, neither of the two others can be spared. The one that
	// is down can.
	down := c.follower()
	c.cut(down)
	c.poll("raft misses it", func() bool { return c.lost(down.id()) })
	for _, n := range c.nodes {
		if n == down {
			continue
		}
		if err := c.asLeader(func(l *clubNode) error { return l.Remove(ctx, n.id()) }); !errors.Is(err, ErrQuorum) {
			t.Errorf("Remove(%s) with %s down = %v, want %v", n.id(), down.id(), err, ErrQuorum)
		}
	}
	if err := c.asLeader(func(l *clubNode) error { return l.Remove(ctx, down.id()) }); err != nil {
		t.Errorf("Remove of the one that is down = %v", err)
	}
	// It cannot get the entry that removes it, and is told.
	c.poll("it knows", down.Removed)
	if got := shape(down.configuration()); got != "n0 n1 n2" {
		t.Errorf("it has %s: it was not down", got)
	}
}

func TestMembershipTransfer(t *testing.T) {
	t.Parallel() // it mostly waits
	c := newClub(t)
	c.founded(3)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := c.asLeader(func(l *clubNode) error { return l.Transfer(ctx, l.id()) }); err != nil {
		t.Errorf("Transfer to itself = %v", err)
	}
	to := c.follower()
	var l *clubNode
	if err := c.asLeader(func(n *clubNode) error { l = n; return n.Transfer(ctx, to.id()) }); err != nil {
		t.Fatalf("Transfer = %v", err)
	}
	c.poll("it leads", func() bool { return c.leader() == to })
	if err := l.Transfer(ctx, to.id()); !errors.Is(err, ErrNotLeader) {
		t.Errorf("Transfer at a follower = %v, want %v", err, ErrNotLeader)
	}
	c.poll("only the leader knows how others are", func() bool { return l.Health() == nil })
}

// A successor that is down does not take over, which is nobody's mistake.
func TestMembershipTransferToDead(t *testing.T) {
	t.Parallel() // it mostly waits
	c := newClub(t)
	c.founded(3)
	dead := c.follower()
	dead.stop()
	if err := c.asLeader(func(n *clubNode) error { return n.Transfer(t.Context(), dead.id()) }); !errors.Is(err, ErrNotHandedOver) {
		t.Errorf("Transfer to a dead node = %v, want %v", err, ErrNotHandedOver)
	}
}

func TestMembershipPromote(t *testing.T) {
	t.Parallel() // it mostly waits
	c := newClub(t)
	c.founded(1)
	l := c.leader()
	c.start("n1", 0, "n1")
	c.become("n0 (n1)")
	if err := l.Promote(t.Context(), "n1"); err != nil {
		t.Fatal(err)
	}
	c.become("n0 n1")
	if err := l.Promote(t.Context(), "n1"); err != nil {
		t.Error(err)
	}
	if err := l.Promote(t.Context(), "stranger"); !errors.Is(err, ErrUnknownMember) {
		t.Errorf("Promote of a stranger = %v", err)
	}
}

func TestMembershipConfigValidate(t *testing.T) {
	c := quickMembership()
	c.ID, c.Stats = "a", newClub(t).stats
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	err := MembershipConfig{MaxVoters: 4, BootstrapExpect: 5, MinServers: -1}.Validate()
	for _, want := range []string{"no server id", "max voters 4", "bootstrap-expect 5", "min servers -1", "durations", "no way to ask"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Validate() = %v, lacks %q", err, want)
		}
	}
	if _, err := NewMembership(MembershipConfig{}, nil, nil, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("made without configuration")
	}
}
