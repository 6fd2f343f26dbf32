package fsm

import (
	"fmt"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/policy"
)

// A reference is the state machine as one would write it without a thought about
// speed: maps that only grow, sums that are added up anew, nothing forgotten.
//
// It cannot know what a sweep has forgotten so far, of which three things show:
// which sessions have ended, how many keys are counted, and where windows may
// begin. For those it asks the machine under test, and checks that the answer is
// one that a sweep may lead to.
type reference struct {
	now      clock.Millis
	settings Settings
	sessions map[string]*refSession
	holders  escrow.HolderID
	policies map[string]*refPolicy
	version  uint64
	ledgers  map[string]*refLedger // by policy and key
}

type refSession struct {
	incarnation uint64
	replaced    []uint64
	holder      escrow.HolderID
	seq         uint64
	seen        clock.Millis
}

type refPolicy struct {
	policy.Policy
	deleted bool
	since   clock.Millis
	odd     bool // some window was stretched, or the cadence changed
}

type refLedger struct {
	window         escrow.Window
	capacity, peak escrow.Credits
	holders        map[escrow.HolderID]*escrow.Allotment
}

func newReference(s Settings) *reference {
	return &reference{
		settings: s, holders: 1,
		sessions: map[string]*refSession{}, policies: map[string]*refPolicy{}, ledgers: map[string]*refLedger{},
	}
}

func (l *refLedger) out() (sum escrow.Credits) {
	for _, a := range l.holders {
		sum += a.Granted - a.Returned
	}
	return sum
}

func (l *refLedger) left() escrow.Credits { return max(0, l.capacity-l.out()) }

// apply executes one command. m is the machine as it is before.
func (r *reference) apply(m *Machine, stamp clock.Millis, c Command) (Result, error) {
	r.now = max(r.now, stamp)
	switch c := c.(type) {
	case Step:
		r.step(c.To)
	case Policies:
		return r.change(m, c), nil
	case *Exchange:
		return r.exchange(m, c)
	}
	return Result{}, nil
}

func (r *reference) step(to clock.Millis) {
	if to <= r.now {
		return
	}
	for name, l := range r.ledgers {
		if l.out() > 0 && r.now < l.window.End {
			left := min(l.window.End-r.now, r.settings.LongestLease)
			if to+left > l.window.End {
				l.window.End = to + left
				r.policies[name[:2]].odd = true
			}
		}
	}
	for _, s := range r.sessions {
		s.seen += to - r.now
	}
	r.now = to
}

func (r *reference) change(m *Machine, c Policies) Result {
	if c.Expect != 0 && c.Expect != r.version {
		return Result{Err: ErrVersion}
	}
	named := map[string]bool{}
	for _, p := range c.Put {
		if named[p.Name] {
			return Result{Err: &FieldError{}}
		}
		named[p.Name] = true
	}
	for _, n := range c.Delete {
		if p := r.policies[n]; p == nil || p.deleted {
			return Result{Err: ErrUnknownPolicy}
		}
		if named[n] {
			return Result{Err: &FieldError{}}
		}
		named[n] = true
	}
	changed := false
	for _, p := range c.Put {
		old := r.policies[p.Name]
		switch {
		case old == nil:
			r.policies[p.Name] = &refPolicy{Policy: p}
		case m.policies.get([]byte(p.Name)) == nil: // deleted and forgotten
			r.policies[p.Name] = &refPolicy{Policy: p, odd: true}
		case old.Policy == p && !old.deleted:
			continue
		default:
			if old.deleted || old.Cadence != p.Cadence {
				old.since, old.odd = r.now, true
			}
			old.Policy, old.deleted = p, false
		}
		changed = true
	}
	for _, n := range c.Delete {
		r.policies[n].deleted = true
		changed = true
	}
	if changed {
		r.version++
	}
	return Result{Version: r.version}
}

func (r *reference) exchange(m *Machine, x *Exchange) (Result, error) {
	s := r.sessions[x.EdgeID]
	if s != nil && m.edges.get([]byte(x.EdgeID)) == nil {
		if m.now-s.seen <= r.settings.SessionIdle {
			return Result{}, fmt.Errorf("the session of %s ended after %d ms", x.EdgeID, m.now-s.seen)
		}
		s = nil
	}
	switch {
	case s == nil && x.Session != 0:
		return Result{Err: ErrSession}, nil
	case s == nil && m.edges.len >= r.settings.MaxEdges:
		return Result{Err: ErrExhausted}, nil
	case s == nil:
		s = &refSession{incarnation: x.Incarnation, holder: r.holders}
		r.holders++
		r.sessions[x.EdgeID] = s
	}
	if s.incarnation != x.Incarnation {
		for i, old := range s.replaced {
			if old == x.Incarnation && i >= len(s.replaced)-len(session{}.replaced) {
				return Result{Err: ErrReplaced}, nil
			}
		}
		if x.Session != 0 {
			return Result{Err: ErrSession}, nil
		}
		s.replaced = append(s.replaced, s.incarnation)
		s.incarnation, s.holder, s.seq = x.Incarnation, r.holders, 0
		r.holders++
	}
	if x.Session != 0 && x.Session != s.holder {
		return Result{Err: ErrSession}, nil
	}
	newest := x.Seq >= s.seq
	s.seq, s.seen = max(s.seq, x.Seq), r.now
	res := Result{Session: s.holder}
	keys := map[string]int64{} // made by this exchange, by policy
	for _, a := range x.Asks {
		ans, err := r.settle(m, s.holder, newest, a, keys)
		if err != nil {
			return Result{}, fmt.Errorf("%s/%s: %w", a.Policy, a.Key, err)
		}
		res.Answers = append(res.Answers, ans)
	}
	return res, nil
}
