package transport

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	autopilot "github.com/hashicorp/raft-autopilot"
)

// A leadership is what the leader's part of membership remembers. It begins
// empty with each term, so that nothing a former leader saw counts.
type leadership struct {
	contact *contact
	pilot   *autopilot.Autopilot
	quiet   *complainer
	dead    chan raft.ServerID // one server for which autopilot wants removal

	index uint64 // of the newest configuration, 0 if not known; for who has the turn

	mu       sync.Mutex                  // guards the rest
	absent   map[raft.ServerID]time.Time // servers that gossip does not show, since when
	back     map[raft.ServerID]time.Time // nodes with state that are no servers, since when gossip shows them
	expelled map[raft.ServerID]bool      // removed on purpose under this leader
}

func newLeadership(log *slog.Logger) *leadership {
	return &leadership{
		contact: newContact(), quiet: newComplainer(log), dead: make(chan raft.ServerID, 1),
		absent: map[raft.ServerID]time.Time{}, back: map[raft.ServerID]time.Time{}, expelled: map[raft.ServerID]bool{},
	}
}

// maxExpelled bounds the servers that are remembered as removed on purpose.
// Beyond it all are forgotten; those that know it say so themselves.
const maxExpelled = 64

// Lead adds, moves, promotes and retires servers until ctx ends, which must be
// when leadership does; then it returns nil. The barrier of the term must have
// been applied.
func (m *Membership) Lead(ctx context.Context) error {
	l := newLeadership(m.log)
	observer := raft.NewObserver(nil, false, l.contact.observe)
	m.raft.RegisterObserver(observer)
	defer m.raft.DeregisterObserver(observer)

	l.pilot = m.newAutopilot(ctx, l)
	l.pilot.Start(ctx)
	defer func() { <-l.pilot.Stop() }()

	m.lead.Store(l)
	defer m.lead.Store(nil)
	t := time.NewTicker(m.cfg.Every)
	defer t.Stop()
	for {
		changed := m.roster.Changed()
		m.reconcile(ctx, l)
		m.tell(l)
		select {
		case <-ctx.Done():
			return nil
		case id := <-l.dead:
			m.retire(ctx, l, id)
		case <-changed:
		case <-t.C:
		}
	}
}

// reconcile takes steps until there is none left, or one fails; the next round
// tries again.
func (m *Membership) reconcile(ctx context.Context, l *leadership) {
	if m.take(ctx) != nil {
		return
	}
	defer m.release()
	for range maxServers {
		v := m.view(l)
		l.watch(v)
		c, obstacles := v.next()
		for _, o := range obstacles {
			l.quiet.complain(slog.LevelWarn, o, "membership: "+o)
		}
		if c.kind == noChange {
			return
		}
		if err := m.step(ctx, l, v, c); err != nil {
			if ctx.Err() == nil {
				l.quiet.complain(slog.LevelWarn, string(c.server.ID)+err.Error(), "membership: step not taken", "step", c.kind.String(), "server", c.server.ID, "err", err)
			}
			return
		}
	}
}

func (m *Membership) view(l *leadership) clusterView {
	self, _ := m.roster.Peer(string(m.cfg.ID))
	return clusterView{
		conf: m.configuration(), peers: m.roster.Members(), clusterID: self.ClusterID,
		lost:     func(id raft.ServerID) bool { return l.contact.lostFor(id) > 0 },
		expelled: l.isExpelled,
		returned: func(id raft.ServerID) bool { return l.backFor(id) > patience*m.cfg.RemovedAfter },
	}
}

// patience is for how many times RemovedAfter a node that holds the cluster's
// state waits to be added again. A new leader does not know who was removed on
// purpose; who was does, and gossip has to tell.
const patience = 2

// step carries out one change. The caller has the turn.
func (m *Membership) step(ctx context.Context, l *leadership, v clusterView, c serverChange) error {
	s := c.server
	switch {
	case c.kind == dropServer:
		if err := m.spare(v.conf, s.ID, l); err != nil {
			return err
		}
		return m.drop(ctx, l, s.ID, c.why)
	case s.Suffrage == raft.Voter:
		return m.change(ctx, l, "voter moved", s, c.why, func(prev uint64) raft.IndexFuture {
			return m.raft.AddVoter(s.ID, s.Address, prev, enqueueTimeout)
		})
	default:
		return m.change(ctx, l, "non-voter set", s, c.why, func(prev uint64) raft.IndexFuture {
			return m.raft.AddNonvoter(s.ID, s.Address, prev, enqueueTimeout)
		})
	}
}

// retire removes a server that is dead, if it still is and can be spared.
func (m *Membership) retire(ctx context.Context, l *leadership, id raft.ServerID) {
	if m.take(ctx) != nil {
		return
	}
	defer m.release()
	conf := m.configuration()
	if _, ok := findServer(conf, id); !ok || !l.gone(id, m.cfg.DeadAfter) {
		return
	}
	err := m.spare(conf, id, l)
	if err == nil {
		err = m.drop(ctx, l, id, fmt.Sprintf("dead for %v", m.cfg.DeadAfter))
	}
	if err != nil && ctx.Err() == nil {
		l.quiet.complain(slog.LevelWarn, "retire "+string(id), "membership: dead server not removed", "server", id, "err", err)
	}
}

// tell lets servers that were removed on purpose know, until they say so
// themselves.
func (m *Membership) tell(l *leadership) {
	conf := m.configuration()
	for _, p := range m.roster.Members() {
		id := raft.ServerID(p.ID)
		if _, server := findServer(conf, id); server || !p.Present() || p.Removed || !l.isExpelled(id) {
			continue
		}
		if err := m.roster.Expel(p.ID); err != nil {
			l.quiet.complain(slog.LevelWarn, "tell "+p.ID, "membership: server does not know yet that it was removed", "server", id, "err", err)
		}
	}
}

// watch notes which servers gossip does not show, and which nodes it shows that
// once were servers.
func (l *leadership) watch(v clusterView) {
	l.mu.Lock()
	defer l.mu.Unlock()
	absent, back := map[raft.ServerID]time.Time{}, map[raft.ServerID]time.Time{}
	keep := func(to, from map[raft.ServerID]time.Time, id raft.ServerID) {
		to[id] = time.Now()
		if since, ok := from[id]; ok {
			to[id] = since
		}
	}
	for _, s := range v.conf.Servers {
		if !v.present(s.ID) {
			keep(absent, l.absent, s.ID)
		}
	}
	for _, p := range v.peers {
		if _, ok := findServer(v.conf, raft.ServerID(p.ID)); !ok && p.Present() && p.HasState {
			keep(back, l.back, raft.ServerID(p.ID))
		}
	}
	l.absent, l.back = absent, back
}

// backFor returns how long gossip has shown a node that holds state and is no
// server, 0 for others.
func (l *leadership) backFor(id raft.ServerID) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if since, ok := l.back[id]; ok {
		return max(time.Since(since), 1)
	}
	return 0
}

// gone reports whether a server has been away for d in both ways. Gossip alone
// is fooled by a network that loses UDP, raft's contact alone by one that is cut
// in one direction; and a machine may be paused for seconds.
func (l *leadership) gone(id raft.ServerID, d time.Duration) bool {
	l.mu.Lock()
	since, absent := l.absent[id]
	l.mu.Unlock()
	return absent && time.Since(since) >= d && l.contact.lostFor(id) >= d
}

func (l *leadership) isExpelled(id raft.ServerID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.expelled[id]
}

func (l *leadership) expel(id raft.ServerID, on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !on {
		delete(l.expelled, id)
		return
	}
	if len(l.expelled) >= maxExpelled {
		clear(l.expelled)
	}
	l.expelled[id] = true
}
