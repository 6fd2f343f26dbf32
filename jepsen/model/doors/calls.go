package doors

import (
	"slices"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/jepsen/model/cluster"
)

// unspent is what may be spent of a hold, in time.
func (h *hold) unspent() escrow.Credits { return h.granted - h.used }

// trusts reports whether the client relies on what it holds.
func (s *state) trusts(c *client) bool { return s.Tick < c.hold.until }

// canCall reports whether the client may ask for something: one that holds a slot
// needs no other, and one that has credits of a reserve spends these first.
func (s *state) canCall(c *client) bool {
	return c.edge || c.hold.slot == 0 && (c.hold.unspent() == 0 || !s.trusts(c))
}

// call has a client ask for a slot or credits. It listens no more to what it asked
// before.
func (s *state) call(c *client, ch cluster.Choice) {
	q := request{verb: anAdmit, sent: s.Tick}
	switch {
	case c.edge:
		q = request{verb: anAsk, sent: s.Tick, start: c.hold.start, used: c.hold.used, want: c.hold.used + 1}
	case s.traffic == Units:
		q.verb = aReserve
	}
	if !c.edge {
		c.giveUp()
	}
	c.send(q, ch)
}

// giveUp has a client listen no more.
func (c *client) giveUp() {
	for k := range c.requests {
		c.requests[k].void = true
	}
	c.answers = c.answers[:0]
}

func (s *state) beat(c *client, ch cluster.Choice) {
	c.send(request{verb: aBeat, sent: s.Tick, slot: c.hold.slot}, ch)
	if s.w.Rule == UnheardBeat {
		c.hold.until = s.until(c, s.Tick, fsm.SlotTTL)
	}
}

// release has a client give its slot back, its work being done.
func (s *state) release(c *client, ch cluster.Choice) {
	q := request{verb: aRelease, sent: s.Tick, slot: c.hold.slot}
	c.giveUp()
	if s.w.Rule != ReleaseFirst {
		c.hold = hold{}
	}
	c.send(q, ch)
}

// die has a client crash and start again. An edge is not asked to: its identity is
// the business of the world of leases.
func (c *client) die() {
	c.giveUp()
	c.hold = hold{}
}

func (c *client) send(q request, ch cluster.Choice) {
	if ch.Victim > 0 {
		c.requests = slices.Delete(c.requests, ch.Victim-1, ch.Victim)
	}
	c.requests = append(c.requests, q)
}

// until returns the first tick at which a client relies no more on what it was
// given for a ttl when it asked at a tick.
func (s *state) until(c *client, sent int, ttl clock.Millis) int {
	rates := s.w.Rates()
	if s.w.Rule == NoGuard {
		rates = clock.Rates{}
	}
	if s.traffic == Slots && s.w.Rule != NoGrain {
		ttl -= clock.Resolution // the ttl of a lease has that taken off
	}
	trusted := rates.Guarded(ttl)
	k := sent
	for k <= s.w.ticks() && s.w.Reading(c.fast, k)-s.w.Reading(c.fast, sent) < trusted {
		k++
	}
	return k
}

// hear takes over an answer.
func (s *state) hear(c *client, ch cluster.Choice) {
	a := c.answers[ch.Place]
	if !ch.Keep {
		c.answers = slices.Delete(c.answers, ch.Place, ch.Place+1)
	}
	h := &c.hold
	if s.w.Rule == LateReading && s.traffic == Slots {
		a.until = s.until(c, s.Tick, fsm.SlotTTL)
	}
	switch {
	case a.outcome == admitted:
		c.giveUp() // on other answers to the same call
		*h = hold{slot: a.slot, until: a.until}
	case a.outcome == live && a.slot == h.slot:
		h.until = max(h.until, a.until)
	case a.outcome == gone && a.slot == h.slot:
		*h = hold{}
	case a.outcome == granted && !c.edge:
		c.giveUp()
		*h = hold{start: a.start, granted: a.granted, until: a.until}
	case a.outcome == granted && a.start > h.start:
		*h = hold{start: a.start, granted: a.granted, until: a.until}
	case a.outcome == granted && a.start == h.start:
		h.granted, h.until = max(h.granted, a.granted), max(h.until, a.until)
	}
}

// canSpend reports whether the client may spend a unit now.
func (s *state) canSpend(c *client) bool {
	return s.traffic == Units && c.hold.unspent() > 0 && s.trusts(c)
}

// spend admits a unit, and reports if that breaks a promise.
func (s *state) spend(c *client) error {
	c.hold.used++
	return s.checkAdmission(c.hold.start)
}
