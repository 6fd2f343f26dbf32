package transport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	autopilot "github.com/hashicorp/raft-autopilot"
)

// raftServer is what membership asks of *raft.Raft.
type raftServer interface {
	autopilot.Raft
	BootstrapCluster(raft.Configuration) raft.Future
	CurrentTerm() uint64
	LastContact() time.Time
	LeadershipTransfer() raft.Future
	RegisterObserver(*raft.Observer)
	DeregisterObserver(*raft.Observer)
}

// roster is what membership asks of *Gossip.
type roster interface {
	Members() []Peer
	Peer(id string) (Peer, bool)
	Changed() <-chan struct{}
	Met() <-chan struct{}
	SetRaftState(hasState, removed bool)
	SetFounding(set uint64)
	Expel(id string) error
	Expelled() time.Time
}

// A Membership keeps the configuration of the raft cluster in step with the
// nodes that there are. Gossip proposes; what happens is decided by the leader
// and committed by raft.
//
// Run is for every node, Lead for the leader. The methods that change something
// may be called by anyone at any time; they fail with ErrNotLeader unless Lead
// runs.
type Membership struct {
	cfg     MembershipConfig
	raft    raftServer
	roster  roster
	log     *slog.Logger
	founder *founder // nil if there is nothing to found
	started time.Time

	// For Run's goroutine only.
	wasMember bool // the configuration contained this node once
	stands    standing
	waiting   string // for what, before there is a cluster

	removed atomic.Bool
	lead    atomic.Pointer[leadership] // nil unless Lead runs
	turn    chan struct{}              // holds a token while somebody changes the configuration
}

// NewMembership returns the membership of a node.
func NewMembership(cfg MembershipConfig, r *raft.Raft, g *Gossip, log *slog.Logger) (*Membership, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return newMembership(cfg, r, g, log), nil
}

func newMembership(cfg MembershipConfig, r raftServer, g roster, log *slog.Logger) *Membership {
	m := &Membership{cfg: cfg, raft: r, roster: g, log: log, started: time.Now(), turn: make(chan struct{}, 1)}
	m.wasMember = m.hasState()
	if cfg.BootstrapExpect > 0 && !m.hasState() {
		m.founder = &founder{id: string(cfg.ID), expect: uint32(cfg.BootstrapExpect)}
	}
	return m
}

// Run forms the cluster, if that is still to be done, and tells the others how
// this node stands with it, until ctx ends; then it returns nil. Any other end
// means that raft could not be bootstrapped.
func (m *Membership) Run(ctx context.Context) error {
	t := time.NewTicker(m.cfg.Every)
	defer t.Stop()
	met := m.roster.Met()
	for {
		changed := m.roster.Changed()
		m.assess()
		if err := m.found(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("bootstrap: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-met:
			met = nil
		case <-changed:
		case <-t.C:
		}
	}
}

// hasState reports whether raft holds anything on this node.
func (m *Membership) hasState() bool { return m.raft.LastIndex() > 0 || m.raft.CurrentTerm() > 0 }

func (m *Membership) configuration() raft.Configuration {
	return m.raft.GetConfiguration().Configuration()
}

// assess finds out whether this node is still a server of the cluster, and
// tells the others.
//
// It is not if no leader minds it, and its configuration contained it and no
// longer does, or a leader told it that it was removed. Neither would do alone:
// entries that bring a new server up to date pass through configurations without
// it; one that was never committed may have taken it out; and who was removed may
// have been added again. Only what a leader told says that it was meant: a server
// may also be taken out because it was away, and is then added again.
func (m *Membership) assess() {
	conf := m.configuration()
	_, member := findServer(conf, m.cfg.ID)
	m.wasMember = m.wasMember || member
	heard := m.raft.LastContact()
	told := m.roster.Expelled().After(heard)
	out := told || len(conf.Servers) > 0 && !member && m.wasMember
	if heard.Before(m.started) {
		heard = m.started
	}
	removed := out && time.Since(heard) > m.cfg.RemovedAfter && m.raft.State() != raft.Leader
	if now := (standing{removed, told}); now != m.stands {
		m.stands = now
		now.log(m.log)
	}
	m.removed.Store(removed)
	m.roster.SetRaftState(m.hasState(), told)
}

// A standing is how a node stands with its cluster.
type standing struct{ removed, told bool }

func (s standing) log(log *slog.Logger) {
	switch {
	case s.removed && s.told:
		log.Error("this node was removed from the cluster: stop it, or clear its data directory to have it join anew")
	case s.removed:
		log.Warn("this node is no longer in the cluster, perhaps because it was away: waiting to be added again")
	case !s.told:
		log.Info("this node is in the cluster again")
	}
}

// Removed reports whether this node was taken out of the cluster, for whatever
// reason. It then neither votes nor receives entries, and must not serve.
func (m *Membership) Removed() bool { return m.removed.Load() }

// found takes part in forming a cluster until this node holds state. What it
// promised is taken back once the cluster has an id, by which its nodes know each
// other from then on.
func (m *Membership) found(ctx context.Context) error {
	if m.founder == nil {
		return nil
	}
	if m.hasState() { // bootstrapped, or added to a cluster
		if self, _ := m.roster.Peer(string(m.cfg.ID)); self.ClusterID != "" {
			m.roster.SetFounding(0)
			m.founder = nil
		}
		return nil
	}
	met := false
	select {
	case <-m.roster.Met():
		met = true
	default:
	}
	f := m.founder.step(m.roster.Members(), met)
	m.roster.SetFounding(f.promise)
	if !f.ready {
		if f.waits != m.waiting {
			m.waiting = f.waits
			m.log.Info("no cluster formed yet", "why", f.waits)
		}
		return nil
	}
	err := awaitCall(ctx, func() error { return m.raft.BootstrapCluster(f.servers).Error() })
	if err != nil && !errors.Is(err, raft.ErrCantBootstrap) { // a leader was faster
		return err
	}
	m.log.Info("cluster formed", "servers", f.servers.Servers)
	m.assess()
	return nil
}

func findServer(conf raft.Configuration, id raft.ServerID) (raft.Server, bool) {
	i := slices.IndexFunc(conf.Servers, func(s raft.Server) bool { return s.ID == id })
	if i < 0 {
		return raft.Server{}, false
	}
	return conf.Servers[i], true
}

func voters(conf raft.Configuration) []raft.Server {
	var v []raft.Server
	for _, s := range conf.Servers {
		if s.Suffrage == raft.Voter {
			v = append(v, s)
		}
	}
	return v
}
