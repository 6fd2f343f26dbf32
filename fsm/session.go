package fsm

import (
	"fmt"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm/clock"
)

// A session is what the state machine knows about one running edge.
type session struct {
	incarnation uint64
	replaced    [4]uint64 // incarnations that it replaced, newest first
	holder      escrow.HolderID
	seq         uint64 // highest seen
	seen        clock.Millis
}

// A caller is the holder on whose behalf an exchange asks.
type caller struct {
	holder escrow.HolderID
	newest bool // this exchange is the newest from it, or that one again
	again  bool // not the first of its number; see bug.GrantTwice
}

// session finds or opens the session of an edge. A repeated exchange is as new as
// it was at first, so that its answer is the same. The rules:
//
//   - An unknown edge that claims no session gets one, and with it a new holder.
//   - The same incarnation asking again without a session gets the same one.
//   - A new incarnation replaces the one before. That one never comes back: its
//     process is told ErrReplaced, also if its first message arrives late.
//   - A claimed session that is not current is refused with ErrSession.
func (m *Machine) session(id []byte, incarnation uint64, claimed escrow.HolderID, seq uint64) (caller, error) {
	s := m.edges.edit(id)
	if s == nil {
		if claimed != 0 {
			return caller{}, fmt.Errorf("session: %d of edge_id %q has ended: %w", claimed, id, ErrSession)
		}
		if m.edges.len >= m.settings.MaxEdges {
			return caller{}, fmt.Errorf("edge_id: there are %d edges, the most that this cluster takes: %w", m.edges.len, ErrExhausted)
		}
		s = m.edges.put(id, &session{incarnation: incarnation, holder: m.newHolder()})
	}
	if s.incarnation != incarnation {
		for _, old := range s.replaced {
			if old == incarnation {
				return caller{}, fmt.Errorf("incarnation: %016x of edge_id %q was replaced by %016x: %w", incarnation, id, s.incarnation, ErrReplaced)
			}
		}
		if claimed != 0 {
			return caller{}, fmt.Errorf("session: %d was not given to incarnation %016x of edge_id %q: %w", claimed, incarnation, id, ErrSession)
		}
		copy(s.replaced[1:], s.replaced[:])
		s.replaced[0] = s.incarnation
		s.incarnation, s.holder, s.seq = incarnation, m.newHolder(), 0
	}
	if claimed != 0 && claimed != s.holder {
		return caller{}, fmt.Errorf("session: %d, edge_id %q has %d now: %w", claimed, id, s.holder, ErrSession)
	}
	c := caller{holder: s.holder, newest: seq >= s.seq, again: seq <= s.seq}
	s.seq = max(s.seq, seq)
	s.seen = m.now
	return c, nil
}

func (m *Machine) newHolder() escrow.HolderID {
	h := m.nextHolder
	m.nextHolder++
	return h
}

// sessionEnd is the first instant at which a silent session has ended.
func (m *Machine) sessionEnd(s *session) clock.Millis { return s.seen + m.settings.SessionIdle + 1 }
