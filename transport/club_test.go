package transport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
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
