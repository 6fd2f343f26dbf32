package transport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/policy"
	"golang.org/x/sync/errgroup"
)

// NodeConfig describes one node. DefaultNodeConfig fills what has a default.
type NodeConfig struct {
	ID      string // stable: the raft server id
	Cluster string // name; nodes of another cluster are refused
	Region  string
	Version string // of the program, for people

	DataDir      string
	RaftListener net.Listener // owned by the node from Open on
	// RaftDial and OpenDisk are replaced where network and disk are a test's own,
	// see StreamConfig.Dial and StoreConfig.Open.
	RaftDial func(hostport string, timeout time.Duration) (net.Conn, error)
	OpenDisk func(StoreConfig) (Disk, error)
	// Addresses that other nodes reach this one at.
	RaftAddress, GRPCAddress, HTTPAddress string
	// TLS secures the raft connections; nil means plaintext.
	TLS *TLS

	Gossip          GossipConfig // identity and addresses are filled in by Open
	BootstrapExpect int          // nodes that form a new cluster; 0 only joins

	Settings fsm.Settings    // for a cluster that this node founds
	Policies []policy.Policy // applied to a cluster that never had any

	// Heartbeat is how long a follower waits for its leader before it calls an
	// election. A new leader takes over after about twice that. Below 200 ms a
	// stalled disk or a throttled CPU causes elections by itself.
	Heartbeat time.Duration
	// SnapshotThreshold entries since the last snapshot make a new one;
	// TrailingLogs stay in the log after it. A follower that is further behind
	// is sent the whole snapshot.
	SnapshotThreshold, TrailingLogs uint64
	SnapshotInterval                time.Duration
	Proposer                        ProposerConfig
	// Tick is how long the log may stay silent under a leader.
	Tick time.Duration
	// DigestEvery is how often the leader compares all replicas; 0 never does.
	DigestEvery time.Duration
	// DeadAfter is how long a voter must be gone before it is removed.
	DeadAfter time.Duration

	Clocks Clocks
	// Timed makes answers carry a Timing, for traces.
	Timed bool
	// Observe is told how long each write to the log store took; may be nil.
	Observe func(op string, took time.Duration)
	// Delay is the fault suite's seam into the log store; nil otherwise.
	Delay func(op string)
	// Fatal is called once when the node must not go on, with the one reason.
	Fatal func(error)
	Log   *slog.Logger
}

// DefaultNodeConfig returns a configuration that lacks only identity, addresses
// and directories.
func DefaultNodeConfig() NodeConfig {
	return NodeConfig{
		Cluster: "tkcoord", Region: "default",
		RaftDial: DialTCP, OpenDisk: OpenFiles,
		Gossip:    DefaultGossipConfig(),
		Settings:  fsm.DefaultSettings(),
		Heartbeat: 250 * time.Millisecond,
		// A snapshot each 16k entries; one node restart replays at most about
		// that many.
		SnapshotThreshold: 16_384, TrailingLogs: 32_768, SnapshotInterval: 30 * time.Second,
		Proposer:    DefaultProposerConfig(),
		Tick:        500 * time.Millisecond,
		DigestEvery: time.Minute,
		DeadAfter:   5 * time.Minute,
		Clocks:      SystemClocks(),
		Fatal:       func(error) {},
		Log:         slog.New(slog.DiscardHandler),
	}
}

// A Node is one member of a cluster: raft with its stores, the replica, gossip,
// and while it leads the proposer, the cluster clock and the membership.
type Node struct {
	cfg      NodeConfig
	id       raft.ServerID // name/incarnation
	kin      string        // identity of the cluster as the data directory has it, "" if not known yet
	log      *slog.Logger
	stores   *Stores
	stream   *StreamLayer
	trans    *RaftTransport
	raft     *raft.Raft
	gossip   atomic.Pointer[Gossip] // nil until it is open
	hadState bool                   // the log was not empty at start
	members  *Membership
	replica  *Replica
	clock    *ClusterClock
	proposer *Proposer
	loop     *LeadershipLoop
	reads    *ReadIndexer
	peers    Peers

	leading   atomic.Bool   // the term is established: barrier applied, proposals flow
	current   atomic.Bool   // the replica has caught up with this leader
	elections atomic.Uint64 // leader changes seen
	lag       atomic.Int64  // of the cluster clock behind the median, while leading
	closed    atomic.Bool

	mu            sync.Mutex // guards the rest
	leaderChanged chan struct{}
	heard         map[string]heard // what the voters said last; nil unless leading
}

// OpenNode starts raft and gossip on a node's data directory. Close undoes it.
// Run must be called for the node to do anything.
func OpenNode(cfg NodeConfig) (_ *Node, err error) {
	n := &Node{cfg: cfg, log: cfg.Log, leaderChanged: make(chan struct{})}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Close())
		}
	}()
	own := rand.Uint64() | 1
	n.clock = NewClusterClock(cfg.Clocks, cfg.Settings.Rates)
	n.replica = NewReplica(n.log, n.clock, own, cfg.Fatal)
	n.replica.timed = cfg.Timed
	if err := n.openRaft(); err != nil {
		return n, err
	}
	n.proposer = NewProposer(cfg.Proposer, own, n.raft.Apply, n.clock.Stamp)
	n.proposer.guess = n.guess
	if cfg.Timed {
		n.proposer.times = n.replica.timesOf
	}
	if err := n.openGossip(); err != nil {
		return n, err
	}
	mc := DefaultMembershipConfig()
	mc.ID, mc.BootstrapExpect, mc.DeadAfter, mc.Stats = n.id, cfg.BootstrapExpect, cfg.DeadAfter, n.peerLog
	if n.members, err = NewMembership(mc, n.raft, n.gossip.Load(), n.log); err != nil {
		return n, fmt.Errorf("membership: %w", err)
	}
	n.reads = NewReadIndexer(ReadConfig{
		ID: n.id, Raft: n.raft, Log: n.stores.Log, Peers: n.trans, Applied: &n.replica.applied, Timeout: 2 * cfg.Heartbeat,
	})
	return n, nil
}

func (n *Node) openRaft() (err error) {
	c := n.cfg
	if n.id, err = openServerID(c.DataDir, c.ID); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	if n.kin, err = readClusterID(c.DataDir); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	sc := DefaultStoreConfig(filepath.Join(c.DataDir, "raft"), c.Heartbeat)
	sc.Fatal, sc.Observe, sc.Delay, sc.Open, sc.Log = c.Fatal, c.Observe, c.Delay, c.OpenDisk, n.log
	if n.stores, err = OpenStores(sc); err != nil {
		return fmt.Errorf("open stores: %w", err)
	}
	stream := DefaultStreamConfig()
	stream.Listener, stream.Advertise, stream.ID, stream.Cluster, stream.Log = c.RaftListener, c.RaftAddress, n.id, c.Cluster, n.log
	stream.ClusterID, stream.Dial = n.kin, c.RaftDial
	if c.TLS != nil {
		stream.ServerTLS, stream.ClientTLS = c.TLS.ServerConfig(), c.TLS.ClientConfig()
	}
	if n.stream, err = NewStreamLayer(stream); err != nil {
		return fmt.Errorf("raft listener: %w", err)
	}
	n.trans = NewRaftTransport(n.stream, gossipAddresses{n}, n.log)
	rc := n.raftConfig()
	n.loop = NewLeadershipLoop(n.log)
	n.loop.Configure(rc)
	if n.hadState, err = raft.HasExistingState(n.stores.Log, n.stores.Stable, n.stores.Snapshots); err != nil {
		return fmt.Errorf("look at the log: %w", err)
	}
	if n.raft, err = raft.NewRaft(rc, n.replica, n.stores.Log, n.stores.Stable, n.stores.Snapshots, n.trans); err != nil {
		return fmt.Errorf("start raft: %w", err)
	}
	return nil
}

// gossipAddresses tell raft where servers are, by gossip once it runs.
type gossipAddresses struct{ n *Node }

// ServerAddr implements raft.ServerAddressProvider.
func (b gossipAddresses) ServerAddr(id raft.ServerID) (raft.ServerAddress, error) {
	if g := b.n.gossip.Load(); g != nil {
		return g.ServerAddr(id)
	}
	return "", errNoGossip
}

var errNoGossip = errors.New("gossip has not started")

func (n *Node) openGossip() error {
	c := n.cfg.Gossip
	c.NodeID, c.Cluster, c.Region, c.Version = string(n.id), n.cfg.Cluster, n.cfg.Region, n.cfg.Version
	c.RaftAddress, c.GRPCAddress, c.HTTPAddress = n.cfg.RaftAddress, n.cfg.GRPCAddress, n.cfg.HTTPAddress
	c.LogVersion, c.BootstrapExpect, c.HasState = fsm.Version, n.cfg.BootstrapExpect, n.hadState
	c.ClusterID = n.kin
	c.Join = append(slices.Clone(c.Join), readSeeds(n.cfg.DataDir)...)
	g, err := OpenGossip(c, n.log)
	if err != nil {
		return err
	}
	n.gossip.Store(g)
	return nil
}

// raftConfig translates the node's configuration. The reasons for the values
// are in docs/decisions/log-store.md.
func (n *Node) raftConfig() *raft.Config {
	c := n.cfg
	rc := raft.DefaultConfig()
	rc.LocalID = n.id
	rc.HeartbeatTimeout, rc.ElectionTimeout = c.Heartbeat, c.Heartbeat
	rc.LeaderLeaseTimeout = c.Heartbeat / 2
	rc.CommitTimeout = c.Heartbeat / 10
	rc.MaxAppendEntries = 512
	rc.SnapshotThreshold, rc.TrailingLogs, rc.SnapshotInterval = c.SnapshotThreshold, c.TrailingLogs, c.SnapshotInterval
	rc.ShutdownOnRemove = false // a removed node says so instead of going silent
	rc.NoLegacyTelemetry = true
	rc.Logger = hclogTo(c.Log)
	return rc
}

// Run does the node's work until ctx ends, then hands leadership over if it has
// it. It returns after everything it started has ended.
func (n *Node) Run(ctx context.Context, peers Peers) error {
	n.peers = peers
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return n.gossip.Load().Run(gctx) })
	g.Go(func() error { return n.keepSeeds(gctx) })
	g.Go(func() error { return n.watchBirth(gctx) })
	g.Go(func() error { return n.members.Run(gctx) })
	g.Go(func() error { return n.loop.Run(gctx, n.raft, n.lead) })
	g.Go(func() error { return n.watchLeader(gctx) })
	g.Go(func() error { return n.stayCurrent(gctx) })
	if n.cfg.TLS != nil {
		// Connections of raft last: a peer whose authority is no longer believed
		// would stay.
		g.Go(func() error { return n.cfg.TLS.follow(gctx, n.trans.CloseStreams) })
	}
	err := g.Wait()
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return err
}

// lead does a leader's work until ctx ends with its leadership. Failing to
// establish the term, or to go on with it, gives leadership up.
func (n *Node) lead(ctx context.Context, term uint64) error {
	// NB: only after the barrier is the newest applied entry the newest stamped
	// one, which Lemma 1 needs.
	if err := barrier(ctx, n.raft, n.cfg.Heartbeat, n.cfg.Fatal); err != nil {
		return fmt.Errorf("barrier of term %d: %w", term, err)
	}
	n.clock.Lead()
	n.reads.Established(term)
	n.log.Info("leading", "term", term, "clock", int64(n.clock.Now()))
	ctx, cancel := context.WithCancel(ctx)
	var work sync.WaitGroup
	n.proposer.accept(true)
	work.Go(func() { n.proposer.lead(ctx, n.cfg.Tick) })
	defer func() {
		n.leading.Store(false)
		n.notifyLeader()
		cancel()
		work.Wait()
		n.mu.Lock()
		n.heard = nil
		n.mu.Unlock()
		n.clock.Follow()
		n.log.Info("no longer leading", "term", term)
	}()
	if err := n.found(ctx); err != nil {
		return fmt.Errorf("found the cluster: %w", err)
	}
	n.leading.Store(true)
	n.notifyLeader()
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return n.members.Lead(gctx) })
	g.Go(func() error { return n.steer(gctx) })
	g.Go(func() error { return n.compareNowAndThen(gctx) })
	g.Go(func() error { return n.whileServing(gctx) })
	if err := g.Wait(); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}

// whileServing returns why this node must not serve as soon as there is a reason:
// a leader that does not serve would keep the others, which forward to it, from
// serving either.
func (n *Node) whileServing(ctx context.Context) error {
	for {
		changed := n.replica.Changed()
		if err := n.Serving(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// found gives a new cluster its identity, the time, and its first policies. In a
// cluster that has them it does nothing.
func (n *Node) found(ctx context.Context) error {
	var id string
	var version uint64
	n.replica.Query(func(m *fsm.Machine) { id, version = m.ClusterID(), m.PolicyVersion() })
	for _, c := range n.cfg.lacking(id, version) {
		if _, ok := c.(fsm.Step); ok {
			c = fsm.Step{To: n.cfg.Clocks.Wall()} // as it is by now: the identity took a while
		}
		applied, err := n.proposer.Propose(ctx, c)
		if err = errors.Join(err, applied.Err); err != nil {
			return fmt.Errorf("%T: %w", c, err)
		}
		if g, ok := c.(fsm.Genesis); ok {
			n.log.Info("cluster founded", "cluster", n.cfg.Cluster, "cluster_id", g.ClusterID)
		}
	}
	return nil
}

// lacking returns what a cluster still needs to be founded. A leader before may
// have been lost on the way.
//
// The time comes before the first policies, also if the identity is there: with a
// clock that counts from 0 the first windows would begin at 0, which in an ask
// means no window, and edges could not report what they spent of them.
func (c *NodeConfig) lacking(clusterID string, version uint64) (all []fsm.Command) {
	policies := version == 0 && len(c.Policies) > 0
	if clusterID == "" {
		all = append(all, fsm.Genesis{ClusterID: newClusterID(), Settings: c.Settings})
	}
	if clusterID == "" || policies {
		all = append(all, fsm.Step{To: c.Clocks.Wall()})
	}
	if policies {
		all = append(all, fsm.Policies{Put: c.Policies})
	}
	return all
}

// steerEvery is how often the leader compares the cluster clock with the voters'
// wall clocks.
const steerEvery = time.Second

func (n *Node) steer(ctx context.Context) error {
	return n.clock.steer(ctx, steerEvery,
		func() (clock.Millis, bool) {
			lag, ok := n.medianLag(ctx)
			if ok {
				n.lag.Store(int64(lag))
			}
			return lag, ok
		},
		func() (idle bool) {
			n.replica.Query(func(m *fsm.Machine) { idle = m.Idle() })
			return idle
		},
		func(ctx context.Context, to clock.Millis) {
			level, now := slog.LevelWarn, n.clock.Now()
			if to-now <= stepBeyond {
				level = slog.LevelInfo
			}
			n.log.Log(ctx, level, "cluster clock steps forward", "from", int64(now), "to", int64(to))
			if _, err := n.Propose(ctx, fsm.Step{To: to}); err != nil && ctx.Err() == nil {
				n.log.Warn("clock not stepped, will try again", "err", err)
			}
		},
		func(ahead clock.Millis) { n.alarmClock(ctx, ahead) })
}

// alarmClock raises an alarm while the cluster clock is far ahead, and clears it
// when it no longer is.
func (n *Node) alarmClock(ctx context.Context, ahead clock.Millis) {
	raise := ahead > 5*stepBeyond
	if raise == n.alarmed(AlarmClock, "") {
		return
	}
	a := fsm.Alarm{Kind: AlarmClock, Clear: !raise}
	if raise {
		a.Detail = fmt.Sprintf("the cluster clock is %d ms ahead of the voters' median wall clock and is slowed down until they meet", ahead)
		n.log.Error("cluster clock is ahead", "ahead_ms", int64(ahead))
	}
	if _, err := n.Propose(ctx, a); err != nil && ctx.Err() == nil {
		n.log.Warn("alarm not recorded", "err", err)
	}
}

// compareNowAndThen compares the replicas' digests at the configured interval.
func (n *Node) compareNowAndThen(ctx context.Context) error {
	if n.cfg.DigestEvery <= 0 {
		<-ctx.Done()
		return nil
	}
	t := time.NewTicker(n.cfg.DigestEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		if _, err := n.CompareDigests(ctx); err != nil && ctx.Err() == nil {
			n.log.Warn("digests not compared", "err", err)
		}
	}
}

// Propose puts a command through the log, see Proposer.Propose. On a node that
// does not lead it fails with ErrNotLeader at once, and while a voter may not
// know the command, in a rolling upgrade, with ErrOldVoter: it would halt.
func (n *Node) Propose(ctx context.Context, cmd fsm.Command) (Applied, error) {
	if !n.leading.Load() {
		return Applied{}, ErrNotLeader
	}
	if err := n.members.allRead(fsm.Needs(cmd)); err != nil {
		return Applied{}, fmt.Errorf("%T: %w", cmd, err)
	}
	return n.proposer.Propose(ctx, cmd)
}

// ReadBarrier returns once a read of the local replica is linearizable: it sees
// everything that was acknowledged before the call.
func (n *Node) ReadBarrier(ctx context.Context) error {
	_, err := n.reads.Await(ctx)
	return err
}

// Close stops gossip, raft and the stores, in that order, and frees the data
// directory. Run must have returned. It may be called twice.
func (n *Node) Close() error {
	if n.closed.Swap(true) {
		return nil
	}
	var errs []error
	if g := n.gossip.Load(); g != nil {
		errs = append(errs, g.Close())
	}
	if n.raft != nil {
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		errs = append(errs, await(ctx, n.raft.Shutdown()))
	}
	if n.trans != nil {
		errs = append(errs, n.trans.Close())
	}
	if n.stores != nil {
		errs = append(errs, n.stores.Close())
	}
	if n.replica != nil {
		n.replica.Close()
	}
	return errors.Join(errs...)
}

const closeTimeout = 5 * time.Second
