package transport

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	autopilot "github.com/hashicorp/raft-autopilot"
)

// reconcileEvery is how many updates of the servers' health there are between
// two rounds of autopilot's promotions and removals.
const reconcileEvery = 5

// newAutopilot returns the autopilot of one leadership. It works until ctx ends.
func (m *Membership) newAutopilot(ctx context.Context, l *leadership) *autopilot.Autopilot {
	return autopilot.New(
		pilotRaft{m.raft, m, l, ctx}, pilotDelegate{m, l},
		autopilot.WithLogger(hclogTo(slog.New(asDebug{m.log.Handler()}))),
		autopilot.WithPromoter(promoter{autopilot.DefaultPromoter(), m.cfg.MaxVoters}),
		autopilot.WithUpdateInterval(m.cfg.Every),
		autopilot.WithReconcileInterval(reconcileEvery*m.cfg.Every),
	)
}

// asDebug passes records on at level debug. What autopilot does is logged here,
// where it is done; as errors it reports that a leadership ended.
type asDebug struct{ slog.Handler }

func (h asDebug) Enabled(ctx context.Context, _ slog.Level) bool {
	return h.Handler.Enabled(ctx, slog.LevelDebug)
}

func (h asDebug) Handle(ctx context.Context, r slog.Record) error {
	r.Level = slog.LevelDebug
	return h.Handler.Handle(ctx, r)
}

func (h asDebug) WithAttrs(a []slog.Attr) slog.Handler { return asDebug{h.Handler.WithAttrs(a)} }
func (h asDebug) WithGroup(name string) slog.Handler   { return asDebug{h.Handler.WithGroup(name)} }

// pilotRaft is raft as autopilot sees it. Autopilot waits for raft's futures,
// which know no end, and promotes without comparing the configuration: so the
// promotion goes through the turn. It adds, moves and removes nothing itself.
type pilotRaft struct {
	raftServer
	m   *Membership
	l   *leadership
	ctx context.Context // of the leadership; autopilot.Raft passes none
}

// AddVoter implements autopilot.Raft: it promotes a non-voter, and is done when
// it returns.
func (p pilotRaft) AddVoter(id raft.ServerID, _ raft.ServerAddress, _ uint64, _ time.Duration) raft.IndexFuture {
	err := p.promote(id)
	if err != nil && p.ctx.Err() == nil {
		p.l.quiet.complain(slog.LevelWarn, "promote "+string(id), "membership: server not promoted", "server", id, "err", err)
	}
	return settled{err}
}

func (p pilotRaft) promote(id raft.ServerID) error {
	if err := p.m.take(p.ctx); err != nil {
		return err
	}
	defer p.m.release()
	conf := p.m.configuration()
	s, ok := findServer(conf, id)
	if !ok || s.Suffrage != raft.Nonvoter || len(voters(conf)) >= p.m.cfg.MaxVoters {
		return fmt.Errorf("promote %s: the configuration has changed", id)
	}
	return p.m.change(p.ctx, p.l, "voter set", s, "it keeps up", func(prev uint64) raft.IndexFuture {
		return p.m.raft.AddVoter(id, s.Address, prev, enqueueTimeout)
	})
}

// settled is a future that has its answer.
type settled struct{ err error }

func (s settled) Error() error { return s.err }
func (settled) Index() uint64  { return 0 }

// pilotDelegate tells autopilot what it cannot see itself.
type pilotDelegate struct {
	m *Membership
	l *leadership
}

// AutopilotConfig implements autopilot.ApplicationIntegration.
func (d pilotDelegate) AutopilotConfig() *autopilot.Config {
	c := d.m.cfg
	return &autopilot.Config{
		CleanupDeadServers:      true,
		LastContactThreshold:    c.MaxSilence,
		MaxTrailingLogs:         c.MaxLag,
		MinQuorum:               uint(c.MinServers),
		ServerStabilizationTime: c.StableFor,
	}
}

// NotifyState implements autopilot.ApplicationIntegration.
func (pilotDelegate) NotifyState(*autopilot.State) {}

// KnownServers implements autopilot.ApplicationIntegration. Autopilot removes at
// once what is in the configuration and not known, and what is not alive: so all
// servers are known, and alive until they have been gone for DeadAfter. Whether
// they are well is told by their stats.
func (d pilotDelegate) KnownServers() map[raft.ServerID]*autopilot.Server {
	known := map[raft.ServerID]*autopilot.Server{}
	for _, s := range d.m.configuration().Servers {
		status := autopilot.NodeAlive
		if d.l.gone(s.ID, d.m.cfg.DeadAfter) {
			status = autopilot.NodeFailed
		}
		known[s.ID] = &autopilot.Server{
			ID: s.ID, Name: string(s.ID), Address: s.Address,
			NodeStatus: status, NodeType: autopilot.NodeVoter, // each may become one
			IsLeader: s.ID == d.m.cfg.ID,
		}
	}
	return known
}

// RemoveFailedServer implements autopilot.ApplicationIntegration. It must not
// wait: Lead does it, or autopilot asks again.
func (d pilotDelegate) RemoveFailedServer(s *autopilot.Server) {
	select {
	case d.l.dead <- s.ID:
	default:
	}
}

// FetchServerStats implements autopilot.ApplicationIntegration.
func (d pilotDelegate) FetchServerStats(ctx context.Context, servers map[raft.ServerID]*autopilot.Server) map[raft.ServerID]*autopilot.ServerStats {
	stats := make(map[raft.ServerID]*autopilot.ServerStats, len(servers))
	var all sync.WaitGroup
	for id := range servers {
		s := &autopilot.ServerStats{}
		stats[id] = s
		all.Go(func() { *s = d.fetch(ctx, id) })
	}
	all.Wait()
	return stats
}

// noContact marks a server that did not answer.
const noContact time.Duration = -1

func (d pilotDelegate) fetch(ctx context.Context, id raft.ServerID) autopilot.ServerStats {
	if id == d.m.cfg.ID {
		term, _ := strconv.ParseUint(d.m.raft.Stats()["last_log_term"], 10, 64)
		return autopilot.ServerStats{LastTerm: term, LastIndex: d.m.raft.LastIndex()}
	}
	p, ok := d.m.roster.Peer(string(id))
	if !ok || !p.Present() {
		return autopilot.ServerStats{LastContact: noContact}
	}
	index, term, err := d.m.cfg.Stats(ctx, p)
	if err != nil {
		return autopilot.ServerStats{LastContact: noContact}
	}
	return autopilot.ServerStats{LastContact: d.l.contact.lostFor(id), LastTerm: term, LastIndex: index}
}

// ServerHealth is what the leader knows of how a server does.
type ServerHealth struct {
	Healthy   bool // it gossips, answers raft, and keeps up
	Since     time.Time
	LastIndex uint64 // when last asked
}

// Health returns how the servers do, as of the last Every. It is nil unless Lead
// runs.
func (m *Membership) Health() map[raft.ServerID]ServerHealth {
	l := m.lead.Load()
	if l == nil {
		return nil
	}
	state := l.pilot.GetState()
	health := make(map[raft.ServerID]ServerHealth, len(state.Servers))
	for id, s := range state.Servers {
		health[id] = ServerHealth{s.Health.Healthy, s.Health.StableSince, s.Stats.LastIndex}
	}
	return health
}
