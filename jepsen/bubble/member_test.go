package bubble

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/hashicorp/raft"
	"github.com/tkcoord/tkcoord/api"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/transport"
	"golang.org/x/sync/errgroup"
)

// A member is one machine of the cluster, with a process or without.
type member struct {
	c    *cluster
	id   string
	ip   string
	dir  string
	wall atomic.Int64 // what its wall clock is off by, ms
	mono *oscillator

	stall atomic.Int64 // what each write takes longer, ns

	mu   sync.Mutex // guards the rest; not held while anything takes its time
	disk *disk
	proc *process // nil while it is down
	busy bool     // one opens or closes its disk; such a process does not crash
}

// A process is one node with its doors.
type process struct {
	m      *member
	host   *host
	disk   *disk
	node   *transport.Node
	cancel context.CancelFunc
	ended  chan error
	clock  clock.Millis // newest that was seen; of the watcher
}

const (
	grpcPort   = "7700"
	raftPort   = "7701"
	gossipPort = "7702"
)

func (c *cluster) newMember(i int) *member {
	m := &member{c: c, id: fmt.Sprintf("n%d", i), ip: memberIP(i), mono: c.newOscillator()}
	m.dir = filepath.Join(c.dir, m.id)
	m.wall.Store(c.draw(100) - 50)
	m.disk = newDisk(m.pace)
	return m
}

func memberIP(i int) string { return fmt.Sprintf("10.0.0.%d", i+1) }

// pace draws how long a write takes, and when in this time it happens. A process
// that starts is not hung up: raft panics there if its store gives up.
func (m *member) pace() (before, after time.Duration) {
	took := time.Duration(m.c.exp(float64(m.c.swarm.fsync)))
	if m.running() != nil {
		took += time.Duration(m.stall.Load())
	}
	before = time.Duration(m.c.draw(int64(took) + 1))
	return before, took - before
}

// running returns the member's process, nil if it is down.
func (m *member) running() *process {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.proc
}

// start starts a process, unless one runs.
func (m *member) start() {
	m.mu.Lock()
	if m.proc != nil || m.busy || m.c.over.Load() {
		m.mu.Unlock()
		return
	}
	m.busy = true
	p := &process{m: m, host: m.c.net.host(m.ip), disk: m.disk, ended: make(chan error, 1)}
	m.mu.Unlock()
	err := p.open()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.busy = false
	if err != nil {
		m.c.violated("%s does not start: %v", m.id, err)
		return
	}
	m.proc = p
	m.c.note("start", m.id)
}

// open opens the node and its doors, and runs them.
func (p *process) open() error {
	m := p.m
	node, err := transport.OpenNode(p.config())
	if err != nil {
		return err
	}
	p.node = node
	server := api.NewServer(api.Config{Listener: p.host.listen(grpcPort), Dial: p.host.dialPatiently, Log: p.logger()}, node)
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	m.c.procs.Add(1)
	go func() {
		g, gctx := errgroup.WithContext(ctx)
		g.Go(func() error { return node.Run(gctx, server.Peers()) })
		g.Go(func() error { return server.Run(gctx, 200*time.Millisecond) })
		p.ended <- g.Wait()
	}()
	return nil
}

func (p *process) logger() *slog.Logger { return p.m.c.log.With("node", p.m.id) }

func (p *process) config() transport.NodeConfig {
	m, s := p.m, &p.m.c.swarm
	cfg := transport.DefaultNodeConfig()
	cfg.ID, cfg.Cluster, cfg.DataDir, cfg.Version = m.id, "bubble", m.dir, "test"
	cfg.RaftListener, cfg.RaftDial, cfg.OpenDisk = p.host.listen(raftPort), p.host.dialFor, p.disk.open
	cfg.GRPCAddress, cfg.RaftAddress, cfg.HTTPAddress = net.JoinHostPort(m.ip, grpcPort), net.JoinHostPort(m.ip, raftPort), ""
	gossip := p.host.openGossip(gossipPort)
	cfg.Gossip.Bind = net.JoinHostPort(m.ip, gossipPort)
	cfg.Gossip.Timing = func() *memberlist.Config {
		mc := memberlist.DefaultLANConfig()
		mc.Transport = gossip
		return mc
	}
	for i := range members {
		cfg.Gossip.Join = append(cfg.Gossip.Join, net.JoinHostPort(memberIP(i), gossipPort))
	}
	cfg.BootstrapExpect = members
	cfg.Settings, cfg.Policies = s.settings, s.policies
	cfg.Heartbeat, cfg.Tick, cfg.DigestEvery, cfg.DeadAfter = s.heartbeat, s.tick, s.digestEvery, 24*time.Hour
	cfg.SnapshotThreshold, cfg.TrailingLogs, cfg.SnapshotInterval = s.threshold, s.trailing, s.interval
	cfg.Proposer.InFlight, cfg.Proposer.MaxCommands = s.inFlight, s.maxBatch
	cfg.Clocks = transport.Clocks{
		Monotonic: m.mono.now,
		Wall:      func() clock.Millis { return clock.Millis(time.Now().UnixMilli() + m.wall.Load()) },
	}
	cfg.Fatal = p.fatal
	cfg.Log = p.logger()
	return cfg
}

// fatal is the end of a process that must not go on: a supervisor starts it
// again.
func (p *process) fatal(err error) {
	if p.host.isDead() {
		return
	}
	p.logger().Error("node stops for good", "err", err)
	p.m.c.count(&p.m.c.stats.Fatal)
	if !errors.Is(err, transport.ErrStoreFailed) && !errors.Is(err, raft.ErrLeadershipTransferInProgress) {
		p.m.c.violated("%s stops for good: %v", p.m.id, err)
	}
	p.abandon()
	p.m.c.after(time.Second, p.m.start)
}

// crash ends the member's process at this instant.
func (m *member) crash() {
	if p := m.running(); p != nil {
		m.c.note("crash", m.id)
		m.c.count(&m.c.stats.Crashes)
		p.abandon()
	}
}

// abandon ends the process at this instant, as far as anyone can see: it is cut
// off, and its disk goes on without it. What remains ends in its own time.
func (p *process) abandon() {
	m := p.m
	m.mu.Lock()
	defer m.mu.Unlock()
	p.host.kill()
	if m.disk == p.disk {
		m.disk = p.disk.crash()
	}
	if m.proc != p { // it is being stopped already
		return
	}
	m.proc = nil
	go func() {
		// What is committed is applied by then. Raft forgets to answer for what is
		// in between, and its callers would wait for ever (hashicorp/raft#498).
		time.Sleep(time.Millisecond)
		p.free()
	}()
}

// stop ends the process in order, as SIGTERM does.
func (m *member) stop() {
	p := m.running()
	if p == nil {
		return
	}
	m.c.note("stop", m.id)
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	if err := p.node.HandOver(ctx); err != nil {
		p.logger().Warn("leadership not handed over", "err", err)
	}
	m.mu.Lock()
	if m.proc != p { // it crashed meanwhile
		m.mu.Unlock()
		return
	}
	m.proc, m.busy = nil, true
	m.mu.Unlock()
	p.free()
	p.host.kill()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.busy = false
}

// free ends what the process runs.
func (p *process) free() {
	p.cancel()
	err := errors.Join(<-p.ended, p.node.Close())
	if err != nil && !p.host.isDead() {
		p.logger().Warn("not stopped in order", "err", err)
	}
	p.m.c.procs.Done()
}
