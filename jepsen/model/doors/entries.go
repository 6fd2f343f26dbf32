package doors

import (
	"errors"
	"fmt"
	"slices"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/jepsen/model/cluster"
	"github.com/tkcoord/tkcoord/policy"
)

// commit seals a command, or none, and has it committed and applied at once. Until
// it is committed an entry influences nothing but whether an election loses it,
// which is as if the request had never arrived. The state must have been loaded.
// Touched is the slot that the command is about.
func (s *state) commit(cmd fsm.Command, touched *clock.Millis) (fsm.Result, error) {
	stamp := s.Clock()
	stamped := max(s.now, stamp)
	window := s.ledger.window
	had := s.ledger.exists && !s.over()
	res, err := s.apply(cmd, stamp)
	if err != nil {
		return res, err
	}
	if err := s.checkSlots(stamped, touched); err != nil {
		return res, err
	}
	if n := int64(s.live()); n <= int64(s.limit) {
		s.mostSlots()
	}
	if s.ledger.window != window && s.ledger.window.Start != window.Start {
		s.admitted, s.most = 0, 0
		if s.ledger.window.Start < window.End {
			return res, fmt.Errorf("Monotone: window %s after %s", s.span(s.ledger.window), s.span(window))
		}
	}
	if had && !s.ledger.exists && !s.over() {
		return res, fmt.Errorf("Monotone: the ledger of %s is forgotten at %d", s.span(window), s.rel(s.now))
	}
	return res, s.checkMeter()
}

func (s *state) mostSlots() {
	if s.traffic == Slots {
		s.most = int64(s.limit)
	}
}

// serve has the cluster serve a request of a client.
func (s *state) serve(c *client, ch cluster.Choice) error {
	q := c.requests[ch.Place]
	if !ch.Keep {
		c.requests = slices.Delete(c.requests, ch.Place, ch.Place+1)
	}
	if err := s.load(); err != nil {
		return err
	}
	switch q.verb {
	case anAdmit:
		return s.admit(c, q, ch)
	case aBeat:
		return s.keep(c, q, ch)
	case aRelease:
		_, err := s.commit(&fsm.Release{LeaseID: s.leaseID(c, q.slot)}, &c.slots[q.slot-1])
		if end := c.slots[q.slot-1]; err == nil && end != 0 {
			err = fmt.Errorf("Slots: one that was released lasts to %d", s.rel(end))
		}
		return err
	case anAsk:
		return s.settle(c, q, ch)
	}
	return s.reserve(c, q, ch)
}

// answer sends an answer, if there is somebody to send it who knows.
func (s *state) answer(c *client, a answer, ch cluster.Choice) {
	switch {
	case ch.Victim > len(c.answers):
		return
	case ch.Victim > 0:
		c.answers = slices.Delete(c.answers, ch.Victim-1, ch.Victim)
	}
	c.answers = append(c.answers, a)
}

func (s *state) admit(c *client, q request, ch cluster.Choice) error {
	orphans := len(s.orphans)
	res, err := s.commit(&fsm.Admit{Policy: policyName, Key: budgetKey}, nil)
	switch {
	case err != nil:
		return err
	case s.deleted && errors.Is(res.Err, fsm.ErrUnknownPolicy):
		return nil
	case res.Err != nil:
		return fmt.Errorf("Admit: %w", res.Err)
	}
	a, n := res.Admission, s.live()
	switch {
	case !a.Allowed && n < s.limit:
		return fmt.Errorf("Slots: denied with %d of %d taken", n, s.limit)
	case !a.Allowed:
		return nil
	case n > s.limit && s.w.Rule == Intact:
		return fmt.Errorf("Slots: the cluster gave %d, the ceiling is %d", n, s.limit)
	case len(s.orphans) != orphans+1:
		return fmt.Errorf("Slots: there are %d nobody speaks for, want %d", len(s.orphans), orphans+1)
	case a.ExpiresAt != s.now+fsm.SlotTTL || a.ExpiresAt != s.orphans[orphans]:
		return fmt.Errorf("Slots: taken at %d to %d, said %d", s.rel(s.now), s.rel(s.orphans[orphans]), s.rel(a.ExpiresAt))
	case a.Fence != fence(len(s.d.ends)):
		return fmt.Errorf("Fences: %x after %x", a.Fence, fence(len(s.d.ends)-1))
	}
	if q.void {
		return nil
	}
	c.slots = append(c.slots, s.orphans[orphans])
	s.orphans = s.orphans[:orphans]
	s.answer(c, answer{outcome: admitted, slot: len(c.slots), until: s.until(c, q.sent, fsm.SlotTTL)}, ch)
	return nil
}

// keep serves a heartbeat.
func (s *state) keep(c *client, q request, ch cluster.Choice) error {
	end := &c.slots[q.slot-1]
	had := *end
	id := s.leaseID(c, q.slot)
	res, err := s.commit(&fsm.Heartbeat{LeaseIDs: []string{id}}, end)
	if err != nil {
		return err
	}
	b := res.Beat
	alive := len(b.Live) == 1
	switch {
	case len(b.Live)+len(b.Reclaimed) != 1:
		return fmt.Errorf("Slots: a heartbeat for one told of %v", b)
	case alive && had <= s.now:
		return fmt.Errorf("Slots: one that ended at %d is reported live at %d", s.rel(had), s.rel(s.now))
	case alive && (*end != s.now+fsm.SlotTTL || b.NextDeadline != *end):
		return fmt.Errorf("Slots: kept at %d to %d, said %d", s.rel(s.now), s.rel(*end), s.rel(b.NextDeadline))
	case !alive && had > s.now && !s.deleted:
		return fmt.Errorf("Slots: one that ends at %d is reported reclaimed at %d", s.rel(had), s.rel(s.now))
	}
	if !alive && s.w.Rule == Revive {
		*end, alive = s.now+fsm.SlotTTL, true
	}
	a := answer{outcome: gone, slot: q.slot}
	if alive {
		a.outcome, a.until = live, s.until(c, q.sent, fsm.SlotTTL)
	}
	if c.hold.slot == q.slot {
		s.answer(c, a, ch)
	}
	return nil
}

// settle serves the exchange of an edge.
func (s *state) settle(c *client, q request, ch cluster.Choice) error {
	before := s.ledger.given + s.ledger.taken
	res, err := s.commit(&fsm.Exchange{
		EdgeID: edgeID, Incarnation: 1, Seq: 1,
		Asks: []fsm.Ask{{Policy: policyName, Key: budgetKey, Window: q.start, Used: q.used, Need: q.want, Want: q.want}},
	}, nil)
	if err == nil {
		err = res.Err
	}
	if err == nil {
		err = res.Answers[0].Err
	}
	if err != nil {
		return fmt.Errorf("an honest ask: %w", err)
	}
	if now := s.ledger.given + s.ledger.taken; !s.over() && s.w.Rule == Intact && now < before && s.admitted > 0 {
		return fmt.Errorf("what was checked and reserved fell from %d to %d", before, now)
	}
	s.asked()
	a := &res.Answers[0]
	s.answer(c, answer{outcome: granted, start: a.Window.Start, granted: a.Granted, until: s.until(c, q.sent, a.TTL)}, ch)
	return nil
}

// reserve serves a Reserve. Whoever reserves may spend what it was given until the
// window ends, in the sense in which an edge may.
func (s *state) reserve(c *client, q request, ch cluster.Choice) error {
	res, err := s.commit(&fsm.Reserve{Policy: policyName, Key: budgetKey, Wants: 1}, nil)
	if err == nil {
		err = res.Err
	}
	if err != nil {
		return fmt.Errorf("Reserve: %w", err)
	}
	s.asked()
	if s.w.Rule == FreeReserves {
		s.ledger.given = 0
	}
	r := res.Reserved
	if r.Granted > 0 && !q.void {
		ttl := r.Window.TTL(s.now, s.w.Longest)
		s.answer(c, answer{outcome: granted, start: r.Window.Start, granted: r.Granted, until: s.until(c, q.sent, ttl)}, ch)
	}
	return nil
}

// asked notes that something was asked for under the limit.
func (s *state) asked() { s.most = max(s.most, int64(s.limit)) }

// check has somebody check. It does not matter who, or how often and when that was
// sent: there is nothing in it that could be old. It counts as admitted whether or
// not the answer arrives.
func (s *state) check() error {
	if err := s.load(); err != nil {
		return err
	}
	res, err := s.commit(&fsm.Check{Policy: policyName, Keys: []string{budgetKey}, Cost: 1}, nil)
	if err == nil {
		err = res.Err
	}
	if err != nil {
		return fmt.Errorf("Check: %w", err)
	}
	d := res.Decisions[0]
	if !d.Allowed {
		if n := s.remaining(); n > 0 {
			return fmt.Errorf("Check: denied with %d left", n)
		}
		return nil
	}
	s.asked()
	if s.w.Rule == FreeChecks {
		s.ledger.taken = 0
	}
	return s.checkAdmission(s.ledger.window.Start)
}

// remaining is what is left of the window, negative under a lowered limit.
func (s *state) remaining() escrow.Credits {
	if !s.ledger.exists || s.over() {
		return escrow.Credits(s.limit)
	}
	return escrow.Credits(s.limit) - s.out()
}

// out is what is gone of the window.
func (s *state) out() escrow.Credits {
	out := s.ledger.taken + s.ledger.given
	for i := range s.clients {
		out += s.clients[i].Granted
	}
	return out
}

// debit has somebody debit, as in check.
func (s *state) debit(tokens int) error {
	if err := s.load(); err != nil {
		return err
	}
	res, err := s.commit(&fsm.Debit{Policy: policyName, Key: budgetKey, Tokens: int64(tokens)}, nil)
	if err == nil {
		err = res.Err
	}
	if err != nil {
		return fmt.Errorf("Debit: %w", err)
	}
	if s.w.Rule == CutDebit {
		s.meter.Served = min(s.meter.Served, escrow.Credits(s.limit))
	}
	if !res.Decisions[0].Allowed {
		return nil
	}
	return s.checkDebit(int64(tokens))
}

// step has the leader step the clock.
func (s *state) step(by int) error {
	if err := s.load(); err != nil {
		return err
	}
	before := max(s.now, s.Clock())
	window := s.ledger.window
	if _, err := s.commit(fsm.Step{To: s.Clock() + clock.Millis(by)}, nil); err != nil {
		return err
	}
	switch s.w.Rule {
	case ReserveNoStretch:
		if s.ledger.given > 0 && s.ledger.window.Start == window.Start {
			s.ledger.window.End = window.End
		}
	case StepReclaims:
		for _, end := range s.d.ends {
			if *end -= s.now - before; *end <= s.now {
				*end = 0
			}
		}
	}
	return nil
}

// change has an operator change the policy.
func (s *state) change(i int) error {
	if err := s.load(); err != nil {
		return err
	}
	cmd := fsm.Policies{}
	switch {
	case i < len(s.w.Limits):
		cmd.Put = []policy.Policy{s.w.policy(s.traffic, s.w.Limits[i])}
	case s.deleted:
		cmd.Put = []policy.Policy{s.w.policy(s.traffic, s.limit)}
	default:
		cmd.Delete = []string{policyName}
	}
	res, err := s.commit(cmd, nil)
	if err == nil {
		err = res.Err
	}
	if err != nil {
		return fmt.Errorf("Policies: %w", err)
	}
	if s.w.Rule == RestartMeters {
		s.meter = meter{}
	}
	return nil
}
