package real

import (
	"cmp"
	"slices"

	"github.com/tkcoord/tkcoord/escrow"
)

// normalise replaces s by the state that stands for all that behave like it and
// differ only in what can no longer matter. Each step below says why it may; all
// of them together are what makes the state space finite and small.
func (s *state) normalise() {
	s.normaliseHead()
	s.Cluster.Normalise(s.head.now, s.left.elections > 0, s.w.Rule == NoBarrier)
	for i := range s.edges {
		e := &s.edges[i]
		s.normaliseLease(e)
		s.dropDead(e)
		s.normaliseHolders(e, i)
		s.normaliseSeqs(e, i)
		slices.SortFunc(e.requests, compareRequests)
		slices.SortFunc(e.answers, compareAnswers)
	}
}

// normalise: a budget counts as far as it can be used.
func (b *budget) normalise() {
	for _, kind := range b.kinds() {
		*kind = min(*kind, b.faults)
	}
	sum := 0
	for _, kind := range b.kinds() {
		sum += *kind
	}
	b.faults = min(b.faults, sum)
}

// normaliseHead: holders that nobody speaks for are alike, whatever their
// numbers. The account of a window that is over cannot be added to:
// checkAdmission objects before it counts. The start of a window to come is the
// boundary before it or since, whichever is later, and a change of the cadence
// sets since anew; so an earlier since is like none. When a policy was last
// forgotten matters only while there is none.
func (s *state) normaliseHead() {
	h := &s.head
	slices.SortFunc(h.lost, compareAllotments)
	if h.over() {
		h.admitted, h.most = 0, 0
	}
	if h.exists {
		h.forgotten = 0
		if h.since <= h.now-h.now%h.length {
			h.since = 0
		}
	}
}

// normaliseLease: a deadline that has passed is like none.
func (s *state) normaliseLease(e *edge) {
	if e.lease.until <= s.Tick {
		e.lease.until = 0
	}
}

// dropDead drops answers that change nothing whenever they arrive: losing them is
// always possible, so no other state is missed. They are those to a session that
// the edge has left, and those that bring no credits and no time that it does not
// have. Totals only grow, and so do deadlines unless all credits are given back,
// so that stays so.
func (s *state) dropDead(e *edge) {
	switch s.w.Rule {
	case Increments, RollBack, LateReading, ReportFirst:
		return // there old answers do bring something
	}
	l := &e.lease
	for k := range e.answers {
		a := &e.answers[k]
		a.ttl = 0
		if a.until <= s.Tick {
			a.until = 0
		}
	}
	e.answers = slices.DeleteFunc(e.answers, func(a answer) bool {
		switch {
		case a.refused:
			return false
		case e.session != 0 && a.session != e.session:
			return true
		}
		return l.exists && (a.window < l.start || a.window == l.start && a.granted <= l.Granted && (a.until == 0 || a.until <= l.until && s.left.returns == 0))
	})
}

// mentions calls f with each place where a holder of the edge is mentioned,
// besides its record.
func (e *edge) mentions(s *state, i int, f func(*int)) {
	f(&e.session)
	for k := range e.requests {
		f(&e.requests[k].session)
	}
	for k := range s.pending {
		if p := &s.pending[k]; p.what == anAsk && p.edge == i {
			f(&p.req.session)
		}
	}
	for k := range e.answers {
		f(&e.answers[k].session)
	}
}

// normaliseHolders: numbers of holders are compared and nothing else, so they may
// be counted in the order in which they are mentioned.
func (s *state) normaliseHolders(e *edge, i int) {
	names := [2 * holdersPerEdge]int{}
	next := 1
	rename := func(n *int) {
		if *n == 0 {
			return
		}
		if names[*n] == 0 {
			names[*n] = next
			next++
		}
		*n = names[*n]
	}
	if e.record.exists {
		rename(&e.record.holder)
	} else {
		next = 2 // 1 is the holder of a session
	}
	slices.SortFunc(e.requests, compareRequests)
	slices.SortFunc(e.answers, compareAnswers)
	e.mentions(s, i, rename)
}

// normaliseSeqs: the numbers of exchanges of one incarnation are compared and
// nothing else, so their ranks do.
func (s *state) normaliseSeqs(e *edge, i int) {
	for inc := 1; inc <= e.incarnation; inc++ {
		s.rankSeqs(e, i, inc)
	}
}

func (s *state) rankSeqs(e *edge, i, incarnation int) {
	var places [2 * (maxFlying + 4)]*int
	n := 0
	for k := range e.requests {
		if q := &e.requests[k]; q.incarnation == incarnation {
			places[n] = &q.seq
			n++
		}
	}
	for k := range s.pending {
		if p := &s.pending[k]; p.what == anAsk && p.edge == i && p.req.incarnation == incarnation {
			places[n] = &p.req.seq
			n++
		}
	}
	first := 1
	if e.record.exists && e.record.incarnation == incarnation {
		places[n] = &e.record.seq
		n++
		first = e.firstRank(places[:n])
	}
	rank(places[:n], first)
}

// firstRank is 0 if the record has a smaller number than all others, as it has
// when nothing of this incarnation was applied.
func (e *edge) firstRank(places []*int) int {
	for _, p := range places[:len(places)-1] {
		if *p <= e.record.seq {
			return 1
		}
	}
	return 0
}

// rank replaces numbers by their ranks, counted from first.
func rank(places []*int, first int) {
	slices.SortFunc(places, func(a, b *int) int { return cmp.Compare(*a, *b) })
	last, r := 0, first-1
	for k, p := range places {
		if k == 0 || *p != last {
			last = *p
			r++
		}
		*p = r
	}
}

func compareAllotments(a, b escrow.Allotment) int {
	return cmp.Or(cmp.Compare(a.Granted, b.Granted), cmp.Compare(a.Returned, b.Returned), cmp.Compare(a.Used, b.Used))
}

func compareRequests(a, b request) int {
	return cmp.Or(cmp.Compare(a.incarnation, b.incarnation), cmp.Compare(a.seq, b.seq))
}

func compareAnswers(a, b answer) int {
	return cmp.Or(
		compareBool(a.refused, b.refused), compareBool(a.final, b.final), cmp.Compare(a.session, b.session),
		cmp.Compare(a.window, b.window), cmp.Compare(a.granted, b.granted), cmp.Compare(a.until, b.until), cmp.Compare(a.ttl, b.ttl),
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
