package transport

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// enqueueTimeout bounds the wait for raft to take a change up: it waits for
	// the change before to be committed.
	enqueueTimeout = 5 * time.Second
	// changeTimeout bounds the wait for a change to be committed.
	changeTimeout = 10 * time.Second
)

// Remove takes a server out of the cluster, for good: the leader does not add it
// again, and tells it, upon which it tells everybody else. A server that could not
// be told, or forgot by a restart, is taken by the next leader for one that was
// removed because it was dead, and added again: stop it, or clear its data
// directory.
//
// Fails with ErrUnknownMember, and with ErrQuorum if the remaining voters that
// answer are no majority of those that remain. The leader itself is not removed:
// it hands leadership over and answers ErrNotLeader, and the next leader is to be
// asked.
func (m *Membership) Remove(ctx context.Context, id raft.ServerID) error {
	l, err := m.begin(ctx)
	if err != nil {
		return err
	}
	defer m.release()
	conf := m.configuration()
	if _, ok := findServer(conf, id); !ok {
		return fmt.Errorf("remove %s: %w", id, ErrUnknownMember)
	}
	if err := m.spare(conf, id, l); err != nil {
		return fmt.Errorf("remove %s: %w", id, err)
	}
	if id == m.cfg.ID {
		if err := await(ctx, m.raft.LeadershipTransfer()); err != nil {
			return fmt.Errorf("remove %s, which leads: hand over: %w", id, err)
		}
		return fmt.Errorf("remove %s, which led until now: %w", id, ErrNotLeader)
	}
	l.expel(id, true)
	err = m.drop(ctx, l, id, "asked for")
	switch {
	case err == nil:
		m.tell(l)
	case !errors.Is(err, ErrOutcomeUnknown):
		l.expel(id, false)
	}
	return err
}

// Add adds a node that gossip shows as a non-voter, also one that was removed
// before. New nodes are added without being asked for.
func (m *Membership) Add(ctx context.Context, id raft.ServerID) error {
	l, err := m.begin(ctx)
	if err != nil {
		return err
	}
	defer m.release()
	p, ok := m.roster.Peer(string(id))
	if !ok || !p.Present() {
		return fmt.Errorf("add %s: %w", id, ErrUnknownMember)
	}
	l.expel(id, false)
	if _, ok := findServer(m.configuration(), id); ok {
		return nil
	}
	s := raft.Server{Suffrage: raft.Nonvoter, ID: id, Address: raft.ServerAddress(p.RaftAddress)}
	return m.change(ctx, l, "non-voter set", s, "asked for", func(prev uint64) raft.IndexFuture {
		return m.raft.AddNonvoter(id, s.Address, prev, enqueueTimeout)
	})
}

// Promote makes a non-voter vote, whatever the number of voters. Servers that
// keep up are promoted without being asked for, up to MaxVoters.
func (m *Membership) Promote(ctx context.Context, id raft.ServerID) error {
	l, err := m.begin(ctx)
	if err != nil {
		return err
	}
	defer m.release()
	s, ok := findServer(m.configuration(), id)
	if !ok {
		return fmt.Errorf("promote %s: %w", id, ErrUnknownMember)
	}
	if s.Suffrage == raft.Voter {
		return nil
	}
	return m.change(ctx, l, "voter set", s, "asked for", func(prev uint64) raft.IndexFuture {
		return m.raft.AddVoter(id, s.Address, prev, enqueueTimeout)
	})
}

// Transfer hands leadership to a voter, or to the most up-to-date one if id is
// empty. It returns once this node no longer leads, or with ErrNotHandedOver.
func (m *Membership) Transfer(ctx context.Context, id raft.ServerID) error {
	if m.raft.State() != raft.Leader {
		return ErrNotLeader
	}
	if id == m.cfg.ID {
		return nil
	}
	conf := m.configuration()
	if id == "" {
		if len(voters(conf)) < 2 {
			return fmt.Errorf("hand over: there is no other voter: %w", ErrQuorum)
		}
		return m.handedOver(ctx, m.raft.LeadershipTransfer())
	}
	s, ok := findServer(conf, id)
	if !ok || s.Suffrage != raft.Voter {
		return fmt.Errorf("hand over to %s, which is no voter: %w", id, ErrUnknownMember)
	}
	return m.handedOver(ctx, m.raft.LeadershipTransferToServer(id, s.Address))
}

func (m *Membership) handedOver(ctx context.Context, f raft.Future) error {
	err := await(ctx, f)
	if err == nil {
		return nil
	}
	if err = refusal(err); errors.Is(err, ErrNotLeader) || errors.Is(err, ErrOutcomeUnknown) {
		return fmt.Errorf("hand over: %w", err)
	}
	// Raft has no error of its own for a successor that does not answer.
	return fmt.Errorf("%w: %w", ErrNotHandedOver, err)
}

// begin takes the turn of a leader.
func (m *Membership) begin(ctx context.Context) (*leadership, error) {
	if err := m.take(ctx); err != nil {
		return nil, err
	}
	l := m.lead.Load()
	if l == nil || m.raft.State() != raft.Leader {
		m.release()
		return nil, ErrNotLeader
	}
	return l, nil
}

// take waits for the turn: one change is decided and made at a time, each on the
// configuration that the one before it left.
func (m *Membership) take(ctx context.Context) error {
	select {
	case m.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (m *Membership) release() { <-m.turn }

// spare reports why a server cannot be removed, or nil. Non-voters always can.
func (m *Membership) spare(conf raft.Configuration, id raft.ServerID, l *leadership) error {
	v := voters(conf)
	rest := slices.DeleteFunc(slices.Clone(v), func(s raft.Server) bool { return s.ID == id })
	if len(rest) == len(v) {
		return nil
	}
	answering := 0
	for _, s := range rest {
		if s.ID == m.cfg.ID || l.contact.lostFor(s.ID) == 0 {
			answering++
		}
	}
	if answering < len(rest)/2+1 {
		return fmt.Errorf("%d of %d remaining voters answer: %w", answering, len(rest), ErrQuorum)
	}
	return nil
}

func (m *Membership) drop(ctx context.Context, l *leadership, id raft.ServerID, why string) error {
	return m.change(ctx, l, "server removed", raft.Server{ID: id}, why, func(prev uint64) raft.IndexFuture {
		return m.raft.RemoveServer(id, prev, enqueueTimeout)
	})
}

// change has raft make one change. The caller has the turn and decided on the
// newest configuration.
//
// NB: raft compares the configuration with the index that it is given, but tells
// that index only of changes made here: GetConfiguration leaves it 0. Until a
// leader has made its first change, the turn, and the short time since the
// decision, are all that keeps others from coming between.
func (m *Membership) change(ctx context.Context, l *leadership, what string, s raft.Server, why string, request func(prev uint64) raft.IndexFuture) error {
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	var future raft.IndexFuture
	prev := l.index
	l.index = 0
	err := awaitCall(ctx, func() error {
		future = request(prev)
		return future.Error()
	})
	if err != nil {
		return fmt.Errorf("change server %s: %w", s.ID, refusal(err))
	}
	l.index = future.Index()
	m.log.Info("membership: "+what, "server", s.ID, "address", s.Address, "why", why, "index", l.index)
	return nil
}

// refusal sorts raft's errors into those that changed nothing and the others.
func refusal(err error) error {
	for _, e := range []error{raft.ErrNotLeader, raft.ErrLeadershipTransferInProgress, raft.ErrEnqueueTimeout} {
		if errors.Is(err, e) {
			return fmt.Errorf("%w: %w", ErrNotLeader, err)
		}
	}
	for _, e := range []error{raft.ErrLeadershipLost, raft.ErrRaftShutdown, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, e) {
			return fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
		}
	}
	return err // from the check of the new configuration, before it is written
}
