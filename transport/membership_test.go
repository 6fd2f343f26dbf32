package transport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// A clubNode is a node with everything that membership needs: raft in memory,
// gossip on a loopback port, and a loop that leads while raft does.
type clubNode struct {
	*Membership
	node    *raft.Raft
	config  raft.Config
	store   *raft.InmemStore // log and stable store
	snaps   *raft.InmemSnapshotStore
	trans   *raft.InmemTransport
	address raft.ServerAddress
	gossip  testGossip
	stop    func()
}

func (n *clubNode) id() raft.ServerID { return n.config.LocalID }

// A club is a set of such nodes.
type club struct {
	t     testing.TB
	nodes map[string]*clubNode // those that run

	mu  sync.Mutex                       // guards ids
	ids map[raft.ServerAddress]*clubNode // who is where, as the nodes' goroutines see it
}

func newClub(t testing.TB) *club {
	return &club{t: t, nodes: map[string]*clubNode{}, ids: map[raft.ServerAddress]*clubNode{}}
}

func quickMembership() MembershipConfig {
	c := DefaultMembershipConfig()
	c.Every = 20 * time.Millisecond
	c.StableFor = 100 * time.Millisecond
	c.MaxSilence = 500 * time.Millisecond
	c.DeadAfter = 800 * time.Millisecond
	c.RemovedAfter = 500 * time.Millisecond
	return c
}

// start runs a node with an empty disk, at the raft address, which is usually its
// id.
func (c *club) start(id string, expect int, address string) *clubNode {
	c.t.Helper()
	n := &clubNode{config: *raft.DefaultConfig(), store: raft.NewInmemStore(), snaps: raft.NewInmemSnapshotStore()}
	n.config.LocalID, n.config.ShutdownOnRemove = raft.ServerID(id), false
	n.config.Logger = hclogTo(slog.New(slog.DiscardHandler))
	n.config.HeartbeatTimeout, n.config.ElectionTimeout, n.config.LeaderLeaseTimeout = 250*time.Millisecond, 250*time.Millisecond, 200*time.Millisecond
	n.config.CommitTimeout = 5 * time.Millisecond
	return c.run(n, expect, address)
}

// restart runs a stopped node again, with what it had on disk.
func (c *club) restart(n *clubNode, address string) *clubNode {
	c.t.Helper()
	return c.run(&clubNode{config: n.config, store: n.store, snaps: n.snaps}, 0, address)
}

func (c *club) run(n *clubNode, expect int, address string) *clubNode {
	t := c.t
	t.Helper()
	n.address, n.trans = raft.NewInmemTransport(raft.ServerAddress(address))
	hadState, err := raft.HasExistingState(n.store, n.store, n.snaps)
	if err != nil {
		t.Fatal(err)
	}
	if n.node, err = raft.NewRaft(&n.config, &raft.MockFSM{}, n.store, n.store, n.snaps, clubTransport{n.trans, c}); err != nil {
		t.Fatal(err)
	}
	var seeds []string
	for _, other := range c.nodes {
		seeds = append(seeds, other.gossip.Address())
	}
	gc := testGossipConfig(string(n.id()), seeds...)
	gc.RaftAddress, gc.BootstrapExpect, gc.HasState = address, expect, hadState
	if hadState {
		gc.ClusterID = clubID
	}
	n.gossip = startGossip(t, gc)
	mc := quickMembership()
	mc.ID, mc.BootstrapExpect, mc.Stats = n.id(), expect, c.stats
	if n.Membership, err = NewMembership(mc, n.node, n.gossip.Gossip, n.gossip.lines.logger()); err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	c.ids[n.address] = n
	c.mu.Unlock()
	c.nodes[string(n.id())] = n
	c.heal(n)
	n.stop = c.loops(n)
	t.Cleanup(n.stop)
	return n
}

// cut takes a node's raft links away and leaves gossip.
func (c *club) cut(n *clubNode) {
	n.trans.DisconnectAll()
	for _, other := range c.nodes {
		other.trans.Disconnect(n.address)
	}
}

func (c *club) heal(n *clubNode) {
	for _, other := range c.nodes {
		if other != n {
			n.trans.Connect(other.address, other.trans)
			other.trans.Connect(n.address, n.trans)
		}
	}
}

// A clubTransport makes sure that the right server answers, as StreamLayer does.
type clubTransport struct {
	*raft.InmemTransport
	club *club
}

var errSomebodyElse = errors.New("another server is at that address")

// check finds out who is at an address.
func (t clubTransport) check(id raft.ServerID, at raft.ServerAddress) error {
	t.club.mu.Lock()
	defer t.club.mu.Unlock()
	if n := t.club.ids[at]; n != nil && n.id() != id {
		return errSomebodyElse
	}
	return nil
}

func (t clubTransport) AppendEntries(id raft.ServerID, at raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	if err := t.check(id, at); err != nil {
		return err
	}
	return t.InmemTransport.AppendEntries(id, at, args, resp)
}

func (t clubTransport) AppendEntriesPipeline(raft.ServerID, raft.ServerAddress) (raft.AppendPipeline, error) {
	return nil, raft.ErrPipelineReplicationNotSupported
}

func (t clubTransport) RequestVote(id raft.ServerID, at raft.ServerAddress, args *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	if err := t.check(id, at); err != nil {
		return err
	}
	return t.InmemTransport.RequestVote(id, at, args, resp)
}

func (t clubTransport) RequestPreVote(id raft.ServerID, at raft.ServerAddress, args *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	if err := t.check(id, at); err != nil {
		return err
	}
	return t.InmemTransport.RequestPreVote(id, at, args, resp)
}

// loops runs what a node runs, and returns what stops all of it.
func (c *club) loops(n *clubNode) func() {
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() {
		if err := n.Run(ctx); err != nil {
			c.t.Errorf("Run of %s: %v", n.id(), err)
		}
	})
	all.Go(func() {
		for ctx.Err() == nil {
			if n.node.State() == raft.Leader {
				c.lead(ctx, n)
			}
			if n.node.AppliedIndex() > 1 { // beyond the configuration that all bootstrapped with
				if err := n.gossip.SetClusterID(clubID); err != nil {
					c.t.Error(err)
				}
			}
			time.Sleep(time.Millisecond)
		}
	})
	return sync.OnceFunc(func() {
		cancel()
		all.Wait()
		n.gossip.stop()
		c.cut(n)
		c.mu.Lock()
		delete(c.ids, n.address)
		c.mu.Unlock()
		delete(c.nodes, string(n.id()))
		if err := n.node.Shutdown().Error(); err != nil {
			c.t.Error(err)
		}
		n.trans.Close()
	})
}

// lead leads until raft does not. A leader knows the cluster's id; the others
// need not.
func (c *club) lead(ctx context.Context, n *clubNode) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := n.node.Barrier(time.Second).Error(); err != nil {
		return
	}
	if err := n.gossip.SetClusterID(clubID); err != nil {
		c.t.Error(err)
	}
	go func() {
		for n.node.State() == raft.Leader && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	if err := n.Lead(ctx); err != nil {
		c.t.Errorf("Lead of %s: %v", n.id(), err)
	}
}

// clubID is what the nodes learn from the log as the cluster's id.
const clubID = "club"

var errDown = errors.New("down")

func (c *club) stats(_ context.Context, p Peer) (lastIndex, lastTerm uint64, err error) {
	c.mu.Lock()
	n := c.ids[raft.ServerAddress(p.RaftAddress)]
	c.mu.Unlock()
	if n == nil || string(n.id()) != p.ID {
		return 0, 0, errDown
	}
	var l raft.Log
	lastIndex = n.node.LastIndex()
	err = n.store.GetLog(lastIndex, &l)
	return lastIndex, l.Term, err
}

// poll is pollUntil with the patience that a dozen elections on a busy machine
// need.
func (c *club) poll(what string, cond func() bool) {
	c.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			c.t.Fatalf("not within 30 s: %s", what)
		}
	}
}

// leader waits for a leader among the running nodes.
func (c *club) leader() *clubNode {
	c.t.Helper()
	var found *clubNode
	c.poll("a leader", func() bool {
		for _, n := range c.nodes {
			if n.lead.Load() != nil {
				found = n
				return true
			}
		}
		return false
	})
	return found
}

// shape writes a configuration as ids in order, those of non-voters in
// parentheses.
func shape(conf raft.Configuration) string {
	var ids []string
	for _, s := range conf.Servers {
		id := string(s.ID)
		if s.Suffrage != raft.Voter {
			id = "(" + id + ")"
		}
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b string) int { return strings.Compare(strings.Trim(a, "()"), strings.Trim(b, "()")) })
	return strings.Join(ids, " ")
}

// become waits until the configuration of all running nodes has a shape.
func (c *club) become(want string) {
	c.t.Helper()
	c.poll(want, func() bool {
		for _, n := range c.nodes {
			if shape(n.configuration()) != want {
				return false
			}
		}
		return true
	})
}

// stays makes sure that the configuration keeps a shape for a while.
func (c *club) stays(want string, d time.Duration) {
	c.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		for _, n := range c.nodes {
			if got := shape(n.configuration()); got != want {
				c.t.Fatalf("%s has %s, want %s", n.id(), got, want)
			}
		}
	}
}

func (c *club) founded(n int) {
	c.t.Helper()
	var ids []string
	for i := range n {
		id := fmt.Sprintf("n%d", i)
		c.start(id, n, id)
		ids = append(ids, id)
	}
	c.become(strings.Join(ids, " "))
}

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

// leave says that a node goes. On a busy machine not everybody hears it in time.
func (c *club) leave(n *clubNode) {
	if err := n.gossip.Leave(6 * time.Second); err != nil {
		c.t.Log(err)
	}
}

// asLeader repeats a request at whoever leads, as a client does. A server that is
// no longer there after a removal of unknown outcome was removed.
func (c *club) asLeader(request func(*clubNode) error) error {
	c.t.Helper()
	var err error
	unknown := false
	c.poll("a leader's answer", func() bool {
		err = request(c.leader())
		unknown = unknown || errors.Is(err, ErrOutcomeUnknown)
		return !errors.Is(err, ErrNotLeader) && !errors.Is(err, ErrOutcomeUnknown)
	})
	if unknown && errors.Is(err, ErrUnknownMember) {
		return nil
	}
	return err
}

// follower returns a running voter other than the leader and those named.
func (c *club) follower(except ...string) *clubNode {
	c.t.Helper()
	l := c.leader()
	for id, n := range c.nodes {
		s, _ := findServer(l.configuration(), n.id())
		if n != l && s.Suffrage == raft.Voter && s.ID != "" && !slices.Contains(except, id) {
			return n
		}
	}
	c.t.Fatal("no follower")
	return nil
}

// lost reports whether the leader finds that a server does not answer.
func (c *club) lost(id raft.ServerID) bool {
	for _, n := range c.nodes {
		if l := n.lead.Load(); l != nil {
			return l.contact.lostFor(id) > 0
		}
	}
	return false
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
