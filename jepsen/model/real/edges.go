package real

import (
	"fmt"
	"slices"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/jepsen/model/cluster"
)

// wake returns the edge's real lease.
func (s *state) wake(e *edge) *escrow.Lease {
	l := &e.lease
	r := escrow.NewLease(escrow.Window{Start: l.start, End: l.start})
	r.Raise(l.Granted, s.w.Time.Reading(e.fast, l.until), 0, clock.Rates{})
	if l.Returned > 0 {
		r.Return(l.Returned)
	}
	if l.Used > 0 {
		r.Spend(-1, l.Used)
	}
	return r
}

// store takes over what became of the real lease.
func (s *state) store(e *edge, r *escrow.Lease) {
	e.lease = lease{exists: true, start: r.Window().Start, until: s.w.firstExpired(e.fast, r), Allotment: r.Totals()}
}

// now is what the edge's monotonic clock shows.
func (s *state) now(e *edge) clock.Nanos { return s.w.Time.Reading(e.fast, s.Tick) }

// ask sends a request with the totals as they are, for a grant that leaves so
// many credits to spend.
func (s *state) ask(e *edge, c cluster.Choice) {
	l, unspent := &e.lease, s.w.Wants[c.Place]
	gone := l.Used + l.Returned + e.promised
	r := request{
		incarnation: e.incarnation, session: e.session, seq: e.nextSeq(s), sent: s.Tick,
		used: l.Used, returned: l.Returned + e.promised,
	}
	if l.exists {
		r.window = l.start
	}
	if unspent > 0 {
		r.want, r.need = gone+escrow.Credits(unspent), gone+1
	}
	if s.w.Rule == Increments {
		r.more = max(0, r.want-l.Granted)
	}
	if c.Victim > 0 {
		e.dropRequest(c.Victim - 1)
	}
	e.requests = append(e.requests, r)
}

// nextSeq returns a number above all that are under way or known.
func (e *edge) nextSeq(s *state) int {
	newest := 0
	if e.record.incarnation == e.incarnation {
		newest = e.record.seq
	}
	for i := range e.requests {
		if e.requests[i].incarnation == e.incarnation {
			newest = max(newest, e.requests[i].seq)
		}
	}
	for i := range s.pending {
		p := &s.pending[i]
		if p.what == anAsk && &s.edges[p.edge] == e && p.req.incarnation == e.incarnation {
			newest = max(newest, p.req.seq)
		}
	}
	return newest + 1
}

// hear takes over an answer.
func (s *state) hear(e *edge, c cluster.Choice) error {
	a := e.answers[c.Place]
	if !c.Keep {
		e.dropAnswer(c.Place)
	}
	switch {
	case a.final:
		e.halted = true
		return nil
	case a.refused:
		e.startOver(s)
		return nil
	case e.session != 0 && e.session != a.session:
		return nil
	}
	e.session = a.session
	l := s.adopt(e, a.window)
	if l == nil {
		return nil
	}
	granted, until := a.granted, a.until
	switch s.w.Rule {
	case LateReading:
		until = s.until(e, s.Tick, a.ttl)
	case Increments:
		granted += l.Totals().Granted
	}
	l.Raise(granted, s.w.Time.Reading(e.fast, until), 0, s.w.Time.Rates())
	if e.promised > 0 {
		l.Return(e.promised)
		e.promised = 0
	}
	before := e.lease
	s.store(e, l)
	if s.w.Rule == KeptDeadline && before.start == e.lease.start {
		e.lease.until = max(before.until, e.lease.until)
	}
	return s.checkHolding(e)
}

// until returns the first tick at which a lease admits nothing that was raised
// with a ttl to a question sent at a tick.
func (s *state) until(e *edge, sent int, ttl clock.Millis) int {
	rates := s.w.Time.Rates()
	if s.w.Rule == NoGuard {
		rates = clock.Rates{}
	}
	l := escrow.NewLease(escrow.Window{})
	l.Raise(1, s.w.Time.Reading(e.fast, sent), ttl, rates) // without credits there is no deadline
	return s.w.firstExpired(e.fast, l)
}

// firstExpired returns the first tick at which a lease admits nothing, one after
// the last tick if it does to the end.
func (w *World) firstExpired(fast bool, l *escrow.Lease) int {
	k := 0
	for k <= w.ticks() && !l.Expired(w.Time.Reading(fast, k)) {
		k++
	}
	return k
}

// adopt returns the lease that an answer about a window is for, nil if that is
// older news. It is the rule by which the SDK rolls to a new window.
func (s *state) adopt(e *edge, start clock.Millis) *escrow.Lease {
	switch {
	case !e.lease.exists, start > e.lease.start, s.w.Rule == RollBack && start != e.lease.start:
		return escrow.NewLease(escrow.Window{Start: start, End: start})
	case start < e.lease.start:
		return nil
	}
	return s.wake(e)
}

// checkHolding reports whether an edge believes to have been granted more than
// it was.
func (s *state) checkHolding(e *edge) error {
	if s.w.Rule == ForgetUsed || e.session != e.record.holder || !s.head.open || e.lease.start != s.head.window.Start {
		return nil
	}
	if e.lease.Granted > e.allotment.Granted {
		return fmt.Errorf("G3: the edge counts %d granted, the owner %d", e.lease.Granted, e.allotment.Granted)
	}
	return nil
}

// startOver has an edge whose session ended drop its lease and begin a new
// session as a new holder. It listens no more to what it asked before.
func (e *edge) startOver(s *state) {
	e.session, e.lease, e.promised = 0, lease{}, 0
	for i := range e.requests {
		e.requests[i].void = true
	}
	for i := range s.pending {
		if p := &s.pending[i]; p.what == anAsk && &s.edges[p.edge] == e {
			p.req.void = true
		}
	}
	e.answers = e.answers[:0]
}

// canSpend reports whether the lease admits a unit now.
func (s *state) canSpend(e *edge) bool {
	return e.lease.exists && e.lease.Unspent() > 0 && s.wake(e).Spend(s.now(e), 1)
}

// spend admits a unit, and reports if that breaks a promise.
func (s *state) spend(e *edge) error {
	l := s.wake(e)
	l.Spend(s.now(e), 1)
	s.store(e, l)
	return s.checkAdmission(e.lease.start)
}

// giveBack takes a unit away from what may be spent. It is reported with the next
// ask.
func (s *state) giveBack(e *edge) {
	if s.w.Rule == ReportFirst {
		e.promised++
		return
	}
	l := s.wake(e)
	l.Return(1)
	before := e.lease.until
	if s.store(e, l); s.w.Rule == KeptDeadline {
		e.lease.until = before
	}
}

// die has an edge crash and start again. What it held is lost; its requests may
// still arrive.
func (s *state) die(e *edge) {
	if s.w.Rule != SameIncarnation {
		e.incarnation++
	}
	e.session, e.lease, e.promised, e.halted = 0, lease{}, 0, false
	e.answers = e.answers[:0]
}

func (e *edge) dropRequest(i int) { e.requests = slices.Delete(e.requests, i, i+1) }
func (e *edge) dropAnswer(i int)  { e.answers = slices.Delete(e.answers, i, i+1) }
