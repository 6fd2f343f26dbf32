package transport

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/hashicorp/raft"
)

// PeerState is what gossip thinks of a node.
type PeerState int

const (
	PeerAlive   PeerState = iota
	PeerSuspect           // alive, but it has not answered this node's own probes for two rounds
	PeerDead              // the nodes agreed that it does not answer
	PeerLeft              // it said that it was shutting down
)

func (s PeerState) String() string {
	return [...]string{"alive", "suspect", "dead", "left"}[s]
}

// A Peer is a node of the cluster as gossip knows it.
type Peer struct {
	ID      string
	State   PeerState
	Since   time.Time // when it came or went, by this node's clock
	Address string    // of its gossip
	NodeInfo
}

// Present reports whether the node takes part in gossip.
func (p Peer) Present() bool { return p.State == PeerAlive || p.State == PeerSuspect }

// A Gossip finds the other nodes of the cluster and carries what they tell of
// themselves. All of it is hints, late and possibly wrong: it proposes members,
// addresses and times, and decides nothing.
//
// Methods may be called at once. Run must be called for the node to join others
// and to publish what changes.
type Gossip struct {
	cfg   GossipConfig
	log   *slog.Logger
	quiet *complainer
	list  *memberlist.Memberlist
	probe time.Duration // how often memberlist probes one node
	dirty chan struct{} // holds a token while info is to be published

	address string // of our gossip
	opened  time.Time

	met     chan struct{} // see Met
	metOnce sync.Once

	// life holds a token while the list is told something, which takes its time;
	// it guards left and closed.
	life   chan struct{}
	left   bool
	closed bool

	mu       sync.Mutex             // guards the rest; never held while calling into list
	info     NodeInfo               // our own
	peers    map[string]*peerRecord // others only
	changed  chan struct{}          // closed at the next change
	expelled time.Time              // see Expelled
}

// A peerRecord is what is remembered of another node.
type peerRecord struct {
	Peer
	node     memberlist.Node // where to send to
	heard    time.Time       // last direct sign of life
	stranger bool            // its newest metadata was refused; the rest is what it said before
}

// maxGone bounds the dead and left nodes that are remembered; beyond it the one
// that is gone longest is forgotten.
const maxGone = 64

// OpenGossip starts listening. Nobody is contacted before Run. Close undoes it.
func OpenGossip(cfg GossipConfig, log *slog.Logger) (*Gossip, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	g := &Gossip{
		cfg: cfg, log: log, quiet: newComplainer(log), info: cfg.info(), opened: time.Now(),
		dirty:   make(chan struct{}, 1),
		life:    make(chan struct{}, 1),
		met:     make(chan struct{}),
		peers:   map[string]*peerRecord{},
		changed: make(chan struct{}),
	}
	mc, err := g.listConfig()
	if err != nil {
		return nil, err
	}
	g.probe = mc.ProbeInterval
	if g.list, err = memberlist.Create(mc); err != nil {
		return nil, fmt.Errorf("listen for gossip on %s: %w", cfg.Bind, err)
	}
	g.address = g.list.LocalNode().Address()
	return g, nil
}

// Address returns the host:port that other nodes gossip with this one at.
func (g *Gossip) Address() string { return g.address }

// Members returns this node and all others that are known, by id: those present
// and those that went. Nodes of other clusters are not among them.
func (g *Gossip) Members() []Peer {
	slowness := g.slowness()
	g.mu.Lock()
	defer g.mu.Unlock()
	all := []Peer{g.self()}
	silence := g.silence(slowness)
	for _, r := range g.peers {
		if !r.stranger {
			all = append(all, r.seen(silence))
		}
	}
	slices.SortFunc(all, func(a, b Peer) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

// Peer returns the node with an id, if it is known.
func (g *Gossip) Peer(id string) (Peer, bool) {
	slowness := g.slowness()
	g.mu.Lock()
	defer g.mu.Unlock()
	if id == g.cfg.NodeID {
		return g.self(), true
	}
	r, ok := g.peers[id]
	if !ok || r.stranger {
		return Peer{}, false
	}
	return r.seen(g.silence(slowness)), true
}

// ServerAddr implements raft.ServerAddressProvider: where a server is now, which
// may be elsewhere than when it was added to the cluster. It is an error if the
// server was never heard of; raft then uses the address in its configuration.
func (g *Gossip) ServerAddr(id raft.ServerID) (raft.ServerAddress, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if string(id) == g.cfg.NodeID {
		return raft.ServerAddress(g.info.RaftAddress), nil
	}
	if r, ok := g.peers[string(id)]; ok && !r.stranger {
		return raft.ServerAddress(r.RaftAddress), nil
	}
	return "", fmt.Errorf("server %s: %w", id, ErrUnknownMember)
}

// self is this node as Members shows it. mu is held.
func (g *Gossip) self() Peer {
	p := Peer{ID: g.cfg.NodeID, Since: g.opened, Address: g.address, NodeInfo: g.info}
	if p.Leaving {
		p.State = PeerLeft
	}
	return p
}

// slowness is how much memberlist stretches its intervals because this node is
// slow itself. NB: mu must not be held, since memberlist calls us with its locks.
func (g *Gossip) slowness() int { return 1 + g.list.GetHealthScore() }

// silence is how long a node that is well may go without answering a probe. In
// two rounds each is probed twice, one per interval, in a random order. mu is
// held.
func (g *Gossip) silence(slowness int) time.Duration {
	present := 1
	for _, r := range g.peers {
		if r.Present() {
			present++
		}
	}
	return g.probe * time.Duration(slowness*(2*present+1))
}

func (r *peerRecord) seen(silence time.Duration) Peer {
	p := r.Peer
	if p.Present() && time.Since(r.heard) > silence {
		p.State = PeerSuspect
	}
	return p
}

// Changed returns a channel that is closed at the next change after this call:
// a node came, went, or tells something else of itself. Take the channel first
// and look at Members then.
func (g *Gossip) Changed() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.changed
}

// Met returns a channel that is closed once this node has met another, or has
// found that it was given no seed but itself. Before that, knowing of nobody
// means nothing.
func (g *Gossip) Met() <-chan struct{} { return g.met }

// notify wakes those who wait for Changed. mu is held.
func (g *Gossip) notify() {
	close(g.changed)
	g.changed = make(chan struct{})
}

// Leave tells the others that the node goes on purpose, for at most timeout. It
// stays reachable until Close. A restart should leave too: leaving does not remove
// the node from the cluster.
func (g *Gossip) Leave(timeout time.Duration) error {
	g.edit(func(n *NodeInfo) { n.Leaving = true })
	g.life <- struct{}{}
	defer func() { <-g.life }()
	if g.left || g.closed {
		return nil
	}
	g.left = true
	// NB: memberlist tells its event delegate the same of a node that left and of
	// one that died; the metadata tells them apart, if it arrives first. So each
	// node is told on a connection of its own.
	err := g.list.UpdateNode(timeout / 3)
	g.sayGoodbye(timeout / 3)
	return errors.Join(err, g.list.Leave(timeout/3))
}

// sayGoodbye exchanges state with all that are present.
func (g *Gossip) sayGoodbye(timeout time.Duration) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		var all sync.WaitGroup
		for _, p := range g.Members() {
			if p.Present() {
				all.Go(func() { _, _ = g.list.Join([]string{p.Address}) }) // who does not answer is told by gossip
			}
		}
		all.Wait()
	}()
	select {
	case <-done:
	case <-time.After(timeout): // the attempts end by themselves
	}
}

// Close stops gossip. A node that did not Leave is found dead by the others. It
// may be called twice. Run must have returned.
func (g *Gossip) Close() error {
	g.life <- struct{}{}
	defer func() { <-g.life }()
	if g.closed {
		return nil
	}
	g.closed = true
	return g.list.Shutdown()
}

// Run joins the seeds, returns to nodes that were lost, and publishes changes,
// until ctx ends; then it returns nil.
func (g *Gossip) Run(ctx context.Context) error {
	var both sync.WaitGroup
	both.Go(func() { g.keepJoined(ctx) })
	both.Go(func() { g.keepPublished(ctx) })
	both.Wait()
	return nil
}
