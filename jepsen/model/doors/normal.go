package doors

import (
	"cmp"
	"slices"

	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/fsm/clock"
)

// normalise replaces s by the state that stands for all that behave like it and
// differ only in what can no longer matter. Each step below says why it may.
func (s *state) normalise() {
	s.normaliseAccount()
	s.Cluster.Normalise(s.now, s.left.elections > 0 || s.left.crashes > 0 || s.left.restarts > 0 || s.Leader < 0, false)
	for i := range s.clients {
		c := &s.clients[i]
		s.normaliseHold(c)
		s.dropDead(c)
		slices.SortFunc(c.requests, compareRequests)
		slices.SortFunc(c.answers, compareAnswers)
		s.normaliseSlots(c)
	}
	s.orphans = slices.DeleteFunc(s.orphans, func(end clock.Millis) bool { return end == 0 })
	slices.Sort(s.orphans)
}

// normalise: a budget counts as far as it can be used.
func (b *budget) normalise() {
	sum := 0
	for _, kind := range b.kinds() {
		*kind = min(*kind, b.faults)
		sum += *kind
	}
	b.faults = min(b.faults, sum)
}

// normaliseAccount: the account of a window that is over cannot be added to, and a
// meter of one is begun anew with the next debit. The start of a window to come is
// the boundary before it or since, whichever is later; so an earlier since is like
// none.
func (s *state) normaliseAccount() {
	switch s.traffic {
	case Units:
		if s.over() {
			s.admitted, s.most = 0, 0
		}
	case Tokens:
		if s.now >= s.accountEnd {
			s.admitted, s.most, s.largest, s.accountEnd = 0, 0, 0, 0
		}
	}
	if s.ledger.since <= s.now-s.now%s.w.Length {
		s.ledger.since = 0
	}
}

// normaliseHold: trust that has passed is like none, and credits of a reserve are
// of no use without it. An edge goes on to report what it used.
func (s *state) normaliseHold(c *client) {
	h := &c.hold
	if h.until <= s.Tick {
		h.until = 0
		if h.slot == 0 && !c.edge {
			*h = hold{}
		}
	}
}

// dropDead drops messages that change nothing whenever they arrive: losing them is
// always possible, so no other state is missed. They are answers about a slot that
// the client holds no longer, those that bring no credits and no time that it does
// not have, and what names a slot that is no more; the entry that would serve this
// does what one without a command does.
//
// What was asked for too long ago to be trusted might have been asked for at the
// beginning of time, and so may what needs no trust.
func (s *state) dropDead(c *client) {
	for k := range c.requests {
		q := &c.requests[k]
		if q.void || q.verb == aRelease || q.verb == aBeat && q.slot != c.hold.slot || s.stale(c, q) {
			q.sent = longAgo
		}
	}
	c.requests = slices.DeleteFunc(c.requests, func(q request) bool {
		return q.slot != 0 && c.slots[q.slot-1] == 0 && (q.verb == aRelease || q.slot != c.hold.slot)
	})
	if s.w.Rule == LateReading {
		return // there an old answer does bring something
	}
	h := &c.hold
	for k := range c.answers {
		if a := &c.answers[k]; a.until <= s.Tick {
			a.until = 0
		}
	}
	c.answers = slices.DeleteFunc(c.answers, func(a answer) bool {
		switch {
		case a.outcome == live:
			return a.slot != h.slot || a.until <= h.until
		case a.outcome == gone:
			return a.slot != h.slot
		case a.outcome == granted && !c.edge:
			return a.until == 0
		case a.outcome == granted:
			return a.start < h.start || a.start == h.start && a.granted <= h.granted && a.until <= h.until
		}
		return false
	})
}

// longAgo is a tick from which no trust is left.
const longAgo = -1000

// stale reports whether the answer to a question comes too late to be trusted,
// whatever it is. The ttl of slots is known beforehand.
func (s *state) stale(c *client, q *request) bool {
	return s.traffic == Slots && s.w.Rule != LateReading && s.until(c, q.sent, fsm.SlotTTL) <= s.Tick
}

// normaliseSlots numbers the slots of a client in the order in which they are
// named. One that nobody names any more is an orphan.
func (s *state) normaliseSlots(c *client) {
	var names [maxSlots + 1]int
	ends := make([]clock.Millis, 0, len(c.slots))
	rename := func(n *int) {
		if *n == 0 {
			return
		}
		if names[*n] == 0 {
			ends = append(ends, c.slots[*n-1])
			names[*n] = len(ends)
		}
		*n = names[*n]
	}
	rename(&c.hold.slot)
	for k := range c.requests {
		rename(&c.requests[k].slot)
	}
	for k := range c.answers {
		rename(&c.answers[k].slot)
	}
	for i, end := range c.slots {
		if names[i+1] == 0 {
			s.orphans = append(s.orphans, end)
		}
	}
	c.slots = append(c.slots[:0], ends...)
}

// compareRequests orders requests by what they say, and by the numbers of slots
// where that is the same. Two orders of the same requests are at worst two states
// for one.
func compareRequests(a, b request) int {
	return cmp.Or(
		cmp.Compare(a.verb, b.verb), compareBool(a.void, b.void), cmp.Compare(a.sent, b.sent),
		cmp.Compare(a.start, b.start), cmp.Compare(a.used, b.used), cmp.Compare(a.want, b.want), cmp.Compare(a.slot, b.slot),
	)
}

func compareAnswers(a, b answer) int {
	return cmp.Or(
		cmp.Compare(a.outcome, b.outcome), cmp.Compare(a.until, b.until),
		cmp.Compare(a.start, b.start), cmp.Compare(a.granted, b.granted), cmp.Compare(a.slot, b.slot),
	)
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}
