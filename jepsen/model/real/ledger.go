package real

import (
	"errors"
	"fmt"
	"slices"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/jepsen/model/cluster"
)

// commit puts the oldest sealed entry into the log for good and has the state
// machine apply it. The leader answers, if there is one: an answer that is sent
// later, when the leader has applied the entry, is one that took longer to
// arrive.
func (s *state) commit(c cluster.Choice) error {
	e := s.pending[0]
	s.pending = slices.Delete(s.pending, 0, 1)
	before := s.head
	var had edge
	if e.what == anAsk {
		had = s.edges[e.edge]
	}
	entry := s.d.sealed(s, &e)
	out, err := s.apply(entry)
	if err != nil {
		return err
	}
	s.Committed()
	if err := s.checkProgress(&before); err != nil {
		return err
	}
	switch {
	case e.what == anAsk:
		err = s.answer(&e, &had, &before, out.Results[0], c)
	case e.what == aStep && s.w.Rule == NoStretch && s.head.open:
		s.head.window.End = before.window.End
	}
	if s.w.Rule == ForgetUsed {
		s.forgetUsed()
	}
	return err
}

// answer checks what became of an ask and sends the answer.
func (s *state) answer(e *entry, had *edge, before *head, res fsm.Result, c cluster.Choice) error {
	x, r := &s.edges[e.edge], &e.req
	listens := s.Leader >= 0 && !r.void && r.incarnation == x.incarnation && !x.halted
	if res.Err != nil {
		if listens {
			x.send(answer{refused: true, final: errors.Is(res.Err, fsm.ErrReplaced)}, c)
		}
		return s.checkRefusal(res.Err)
	}
	a := res.Answers[0]
	if a.Err != nil {
		return s.checkProblem(a.Err)
	}
	s.head.most = max(s.head.most, s.head.limit)
	if err := s.checkGrant(x, r, had, before, &a); err != nil {
		return err
	}
	if !listens {
		return nil
	}
	granted := a.Granted
	if s.w.Rule == Increments {
		granted = x.allotment.Granted - had.grantedIn(before, a.Window)
	}
	x.send(answer{session: x.record.holder, window: a.Window.Start, granted: granted, until: s.until(x, r.sent, a.TTL), ttl: a.TTL}, c)
	return nil
}

// send puts an answer under way.
func (e *edge) send(a answer, c cluster.Choice) {
	switch {
	case c.Victim > len(e.answers):
		return
	case c.Victim > 0:
		e.dropAnswer(c.Victim - 1)
	}
	e.answers = append(e.answers, a)
}

// grantedIn returns what the edge's holder had been granted in a window.
func (e *edge) grantedIn(h *head, w escrow.Window) escrow.Credits {
	if !h.open || h.window.Start != w.Start {
		return 0
	}
	return e.allotment.Granted
}

// forgetUsed evicts holders that have nothing left to spend.
func (s *state) forgetUsed() {
	for i := range s.edges {
		if e := &s.edges[i]; e.known && e.allotment.Unspent() == 0 {
			e.allotment, e.known = escrow.Allotment{}, false
		}
	}
}

// checkProgress reports what ran back or was forgotten between two entries.
func (s *state) checkProgress(before *head) error {
	h := &s.head
	switch {
	case h.now < before.now:
		return fmt.Errorf("Monotone: now %d after %d", s.rel(h.now), s.rel(before.now))
	case before.open && !before.over() && !h.over() && !h.open:
		return fmt.Errorf("Monotone: the ledger of %s is forgotten at %d", s.span(before.window), s.rel(h.now))
	case !h.open || before.open && h.window == before.window:
		return nil
	case before.open && h.window.Start == before.window.Start && h.window.End > before.window.End:
		return nil
	case h.window.Start < before.window.End:
		return fmt.Errorf("Monotone: window %s after %s", s.span(h.window), s.span(before.window))
	}
	h.admitted, h.most = 0, 0
	return nil
}

// checkGrant reports a grant that is more than the ask is for, or than the limit
// allows, or that ran back.
func (s *state) checkGrant(x *edge, r *request, had *edge, before *head, a *fsm.Answer) error {
	h := &s.head
	if !h.open {
		return nil // a question only
	}
	want := r.want
	if r.window != a.Window.Start {
		want = max(0, want-r.used-r.returned)
	}
	var old escrow.Allotment
	if before.open && before.window.Start == a.Window.Start && had.record.holder == x.record.holder {
		old = had.allotment
	}
	now := x.allotment
	if now.Granted != a.Granted {
		return fmt.Errorf("the answer says %d granted, the ledger %d", a.Granted, now.Granted)
	}
	if now.Granted < old.Granted || now.Returned < old.Returned || now.Used < old.Used {
		return fmt.Errorf("Monotone: %+v after %+v", now, old)
	}
	if now.Granted > max(old.Granted, want) {
		return fmt.Errorf("G3: granted %d, and %d before, to one that asked for %d in all", now.Granted, old.Granted, want)
	}
	if out := h.out(s); now.Granted > old.Granted && out > h.limit {
		return fmt.Errorf("Σ(granted−returned) is %d above the limit %d after a grant", out, h.limit)
	}
	if a.TTL > max(0, min(h.window.End-h.now-1, s.w.Longest)) {
		return fmt.Errorf("ttl %d at %d in %s", a.TTL, s.rel(h.now), s.span(h.window))
	}
	return nil
}

// out is what holders have of the newest window.
func (h *head) out(s *state) escrow.Credits {
	var out escrow.Credits
	for _, a := range h.lost {
		out += a.Granted - a.Returned
	}
	for i := range s.edges {
		out += s.edges[i].allotment.Granted - s.edges[i].allotment.Returned
	}
	return out
}

// checkRefusal reports a refusal of a whole exchange that is not about its
// session.
func (s *state) checkRefusal(err error) error {
	if errors.Is(err, fsm.ErrSession) || errors.Is(err, fsm.ErrReplaced) {
		return nil
	}
	return fmt.Errorf("refused: %w", err)
}

// checkProblem reports a problem of an ask that no edge that keeps the rules
// runs into.
func (s *state) checkProblem(err error) error {
	if s.w.Rule != Intact || errors.Is(err, fsm.ErrUnknownPolicy) {
		return nil
	}
	return fmt.Errorf("an honest ask: %w", err)
}
