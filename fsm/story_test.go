package fsm

import (
	"fmt"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/policy"
	"pgregory.net/rapid"
)

// A story draws commands that are likely to matter to the machine that they are
// drawn for: edges with good, late and stolen sessions, totals around those that
// the ledger has, few keys, short windows, tight bounds.
type story struct {
	t     *rapid.T
	m     *Machine
	now   clock.Millis // stamp of the next entry
	edges [4]storyEdge

	wide   bool // policies of all kinds, and requests beside exchanges
	leases []string
}

type storyEdge struct {
	incarnation uint64
	session     escrow.HolderID
	seq         uint64
}

func newStory(t *rapid.T, m *Machine) *story {
	s := &story{t: t, m: m, now: 1000}
	for i := range s.edges {
		s.edges[i].incarnation = 1
	}
	return s
}

// tight are settings whose bounds stories reach.
func tight() Settings {
	return Settings{
		Rates: clock.DefaultRates(), LongestLease: 40, SessionIdle: 400,
		MaxBudgets: 7, MaxEdges: 3, MaxHolders: 3,
	}
}

// one draws an index below n; smaller ones are simpler.
func (s *story) one(label string, n int) int { return rapid.IntRange(0, n-1).Draw(s.t, label) }

func pick[T any](s *story, label string, list ...T) T { return list[s.one(label, len(list))] }

// command draws the next command and lets time pass before it. It may be nil:
// an entry that only carries its stamp.
func (s *story) command() Command {
	s.now = max(s.now, s.m.now) + pick[clock.Millis](s, "pause", 0, 0, 0, 1, 2, 5, 20, 50, 100, 700)
	if s.wide && s.one("request", 2) == 1 {
		return s.request()
	}
	switch s.one("kind", 20) {
	default:
		return s.exchange()
	case 16, 17:
		return s.policies()
	case 18:
		return nil
	case 19:
		return Step{To: s.m.now + pick[clock.Millis](s, "step", 1, 0, 7, 60, 300, 5000)}
	}
}

// stamp returns the stamp of the next entry: sometimes that of a leader that
// lags.
func (s *story) stamp() clock.Millis {
	return max(0, s.now-pick[clock.Millis](s, "lag", 0, 0, 0, 0, 3, 700))
}

func (s *story) exchange() *Exchange {
	i := pick(s, "edge", 0, 0, 0, 0, 1, 1, 2, 2, 3)
	e := &s.edges[i]
	x := &Exchange{EdgeID: fmt.Sprintf("e%d", i)}
	switch s.one("hello", 15) {
	default: // the next exchange of a running edge
		e.seq++
	case 12: // a new process
		*e = storyEdge{incarnation: e.incarnation + 1, seq: 1}
	case 13: // a process that lost its session
		e.session = 0
		e.seq++
	case 14: // the same number once more
	}
	x.Incarnation, x.Session, x.Seq = e.incarnation, e.session, max(1, e.seq)
	switch s.one("odd", 15) {
	case 12: // a message of a process before
		x.Incarnation = max(1, e.incarnation-min(e.incarnation, uint64(s.one("ago", 7))))
	case 13: // a session that is not its own
		x.Session = escrow.HolderID(s.one("session", int(s.m.nextHolder)+1))
	case 14: // a late message
		x.Seq = uint64(s.one("late", int(x.Seq)) + 1)
	}
	for range 1 + s.one("asks", 3) {
		x.Asks = append(x.Asks, s.ask(x.Session))
	}
	return x
}

func (s *story) ask(h escrow.HolderID) Ask {
	a := Ask{Policy: pick(s, "policy", "p0", "p0", "p0", "p0", "p1", "p1", "p2", "nobody"), Key: pick(s, "key", "k0", "k0", "k0", "k1", "k2")}
	var have escrow.Allotment
	if p := s.m.policies.get([]byte(a.Policy)); p != nil {
		if b := s.m.budgets.get(s.m.budgetKey(p.id, []byte(a.Key))); b != nil {
			a.Window = b.Window().Start
			have, _ = b.Of(h)
		}
	}
	near := func(label string, n escrow.Credits) escrow.Credits {
		return max(0, n+escrow.Credits(pick(s, label, 0, 0, 0, 1, 10, -1)))
	}
	switch s.one("window", 16) {
	case 13:
		a.Window = max(0, a.Window-clock.Millis(s.one("before", 200)))
	case 14:
		a.Window += clock.Millis(s.one("after", 200))
	case 15:
		a.Window = 0
	}
	if a.Window > 0 {
		a.Used = near("used", have.Used)
		a.Returned = near("returned", have.Returned)
	}
	a.Need = pick(s, "need", have.Granted, have.Granted+1, have.Granted+20, 0, 1, 300)
	a.Want = a.Need + pick[escrow.Credits](s, "want", 0, 1, 50, 1000)
	return a
}

// policies draws a change: mostly of one policy, and now and then a deletion.
func (s *story) policies() Policies {
	var c Policies
	for i := range 1 + s.one("changes", 2) {
		name := fmt.Sprintf("p%d", (i+s.one("name", 3))%3)
		if s.one("delete", 4) == 3 {
			c.Delete = append(c.Delete, name)
		} else {
			c.Put = append(c.Put, s.policy(name))
		}
	}
	c.Expect = pick(s, "expect", 0, 0, 0, s.m.version, 1)
	return c
}

func (s *story) policy(name string) policy.Policy {
	p := fixed(name, pick[escrow.Credits](s, "limit", 100, 50, 200, 1, escrow.MaxCredits), pick[clock.Millis](s, "period", 100, 10, 30, 1000, 1))
	if s.one("calendar", 6) == 5 {
		p.Strategy, p.Cadence = policy.Quota, escrow.Cadence{Kind: escrow.CalendarDay}
	}
	p.MaxKeys = pick(s, "maxKeys", 1000, 3, 1)
	if s.wide {
		s.widen(&p)
	}
	return p
}

// founding draws the first policies.
func (s *story) founding() Policies {
	return Policies{Put: []policy.Policy{s.policy("p0"), s.policy("p1"), s.policy("p2")}}
}

// heard lets the edge take over the session of an answer, and a client its lease.
func (s *story) heard(c Command, r Result) {
	if r.Admission != nil && r.Admission.LeaseID != "" {
		s.leases = append(s.leases, r.Admission.LeaseID)
	}
	if x, ok := c.(*Exchange); ok && r.Err == nil {
		e := &s.edges[x.EdgeID[1]-'0']
		if e.incarnation == x.Incarnation && s.one("lost", 5) > 0 {
			e.session = r.Session
		}
	}
}
