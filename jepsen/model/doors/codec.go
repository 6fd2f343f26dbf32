package doors

import (
	"errors"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/jepsen/model/cluster"
)

var errCorrupt = errors.New("not a state of this world")

type writer struct{ cluster.Writer }

type reader struct{ cluster.Reader }

func (r *reader) credits() escrow.Credits { return escrow.Credits(r.Num()) }

// Encode implements model.Model.
func (w *World) Encode(dst []byte, s *state) []byte {
	out := writer{cluster.Writer{Buf: dst}}
	base := w.base()
	out.Int(trafficIndex(s.traffic))
	out.Int(s.Tick)
	out.Instant(s.now, base)
	out.Int(s.limit)
	for _, n := range s.left.kinds() {
		out.Int(*n)
	}
	out.Int(s.left.faults)
	out.Bits(s.deleted, s.ledger.exists, s.meter.exists)
	out.Num(s.admitted)
	out.Num(s.most)
	switch s.traffic {
	case Slots:
		out.instants(s.orphans, base)
	case Units:
		out.ledger(&s.ledger, base)
	case Tokens:
		out.Num(s.largest)
		out.Instant(s.accountEnd, base)
		out.Instant(s.meter.End, base)
		out.Num(int64(s.meter.Served))
	}
	for i := range s.Nodes {
		out.Node(&s.Cluster, i, base)
	}
	for i := range s.clients {
		out.client(s, i)
	}
	return out.Buf
}

func trafficIndex(t Traffic) int {
	for i, known := range traffics {
		if t == known {
			return i
		}
	}
	return -1
}

func (w *writer) instants(list []clock.Millis, base clock.Millis) {
	w.Int(len(list))
	for _, t := range list {
		w.Instant(t, base)
	}
}

func (w *writer) ledger(l *ledger, base clock.Millis) {
	w.Instant(l.since, base)
	w.Instant(l.window.Start, base)
	w.Num(int64(l.window.End - l.window.Start))
	if l.exists {
		for _, c := range [...]escrow.Credits{l.capacity, l.peak, l.taken, l.given} {
			w.Num(int64(c))
		}
	}
}

// client writes a client with all that is about it alone.
func (w *writer) client(s *state, i int) {
	c, base := &s.clients[i], s.w.base()
	w.Bits(c.fast, c.edge, c.record, c.known)
	w.hold(&c.hold, base)
	w.instants(c.slots, base)
	if c.known {
		w.Num(int64(c.Granted))
		w.Num(int64(c.Used))
	}
	w.Int(len(c.requests))
	for k := range c.requests {
		q := &c.requests[k]
		w.Int(int(q.verb))
		w.Bits(q.void)
		w.Int(q.sent)
		w.Int(q.slot)
		if q.verb == anAsk {
			w.Instant(q.start, base)
			w.Num(int64(q.used))
			w.Num(int64(q.want))
		}
	}
	w.Int(len(c.answers))
	for k := range c.answers {
		a := &c.answers[k]
		w.Int(int(a.outcome))
		w.Int(a.slot)
		w.Int(a.until)
		if a.outcome == granted {
			w.Instant(a.start, base)
			w.Num(int64(a.granted))
		}
	}
}

func (w *writer) hold(h *hold, base clock.Millis) {
	w.Int(h.slot)
	w.Int(h.until)
	w.Instant(h.start, base)
	w.Num(int64(h.granted))
	w.Num(int64(h.used))
}

// Decode implements model.Model.
func (w *World) Decode(s *state, data []byte) error {
	r := reader{cluster.Reader{Buf: data}}
	base := w.base()
	t := r.Int()
	if t < 0 || t >= len(traffics) {
		return errCorrupt
	}
	s.traffic = traffics[t]
	s.Tick = r.Int()
	s.now = r.Instant(base)
	s.limit = r.Int()
	for _, n := range s.left.kinds() {
		*n = r.Int()
	}
	s.left.faults = r.Int()
	s.ledger, s.meter, s.orphans = ledger{}, meter{}, s.orphans[:0]
	r.Bits(&s.deleted, &s.ledger.exists, &s.meter.exists)
	s.admitted, s.most, s.largest, s.accountEnd = r.Num(), r.Num(), 0, 0
	switch s.traffic {
	case Slots:
		s.orphans = r.instants(s.orphans, base)
	case Units:
		r.ledger(&s.ledger, base)
	case Tokens:
		s.largest = r.Num()
		s.accountEnd = r.Instant(base)
		s.meter.End = r.Instant(base)
		s.meter.Served = r.credits()
	}
	s.Leader = -1
	for i := range s.Nodes {
		r.Node(&s.Cluster, i, base)
	}
	for i := range s.clients {
		r.client(&s.clients[i], base)
	}
	if r.Bad || len(r.Buf) > 0 {
		return errCorrupt
	}
	return nil
}

func (r *reader) instants(list []clock.Millis, base clock.Millis) []clock.Millis {
	for range r.Count() {
		list = append(list, r.Instant(base))
	}
	return list
}

func (r *reader) ledger(l *ledger, base clock.Millis) {
	l.since = r.Instant(base)
	l.window.Start = r.Instant(base)
	l.window.End = l.window.Start + clock.Millis(r.Num())
	if l.exists {
		for _, c := range [...]*escrow.Credits{&l.capacity, &l.peak, &l.taken, &l.given} {
			*c = r.credits()
		}
	}
}

func (r *reader) client(c *client, base clock.Millis) {
	*c = client{slots: c.slots[:0], requests: c.requests[:0], answers: c.answers[:0]}
	r.Bits(&c.fast, &c.edge, &c.record, &c.known)
	c.hold = hold{slot: r.Int(), until: r.Int(), start: r.Instant(base), granted: r.credits(), used: r.credits()}
	c.slots = r.instants(c.slots, base)
	if c.known {
		c.Granted, c.Used = r.credits(), r.credits()
	}
	for range r.Count() {
		q := request{verb: verb(r.Int())}
		r.Bits(&q.void)
		q.sent, q.slot = r.Int(), r.Int()
		if q.verb == anAsk {
			q.start, q.used, q.want = r.Instant(base), r.credits(), r.credits()
		}
		c.requests = append(c.requests, q)
	}
	for range r.Count() {
		a := answer{outcome: outcome(r.Int()), slot: r.Int(), until: r.Int()}
		if a.outcome == granted {
			a.start, a.granted = r.Instant(base), r.credits()
		}
		c.answers = append(c.answers, a)
	}
}
