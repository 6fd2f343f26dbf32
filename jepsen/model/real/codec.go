package real

import (
	"errors"
	"slices"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/jepsen/model/cluster"
)

var errCorrupt = errors.New("not a state of this world")

// A writer encodes states.
type writer struct{ cluster.Writer }

func (w *writer) credits(c escrow.Credits) { w.Num(int64(c)) }

func (w *writer) allotment(a escrow.Allotment) {
	w.credits(a.Granted)
	w.credits(a.Returned)
	w.credits(a.Used)
}

// A reader decodes what a writer wrote.
type reader struct{ cluster.Reader }

func (r *reader) credits() escrow.Credits { return escrow.Credits(r.Num()) }

func (r *reader) allotment() escrow.Allotment {
	return escrow.Allotment{Granted: r.credits(), Returned: r.credits(), Used: r.credits()}
}

// Encode implements model.Model.
func (w *World) Encode(dst []byte, s *state) []byte {
	out := writer{cluster.Writer{Buf: dst}}
	out.Int(s.Tick)
	out.head(&s.head, w.base())
	for _, n := range s.left.kinds() {
		out.Int(*n)
	}
	out.Int(s.left.faults)
	out.Int(s.left.returns)
	out.Instant(s.read, w.base())
	out.Int(len(s.pending))
	for i := range s.pending {
		out.entry(&s.pending[i], w.base())
	}
	for i := range s.Nodes {
		out.Node(&s.Cluster, i, w.base())
	}
	for i := range s.edges {
		out.edge(s, i)
	}
	return out.Buf
}

func (w *writer) head(h *head, base clock.Millis) {
	w.Instant(h.now, base)
	w.credits(h.limit)
	w.Num(int64(h.length))
	w.Bits(h.exists, h.deleted, h.open)
	w.Instant(h.since, base)
	w.Instant(h.forgotten, base)
	w.Instant(h.window.Start, base)
	w.Num(int64(h.window.End - h.window.Start))
	w.credits(h.admitted)
	w.credits(h.most)
	if h.open {
		w.credits(h.capacity)
		w.credits(h.peak)
		w.Int(len(h.lost))
		for _, a := range h.lost {
			w.allotment(a)
		}
	}
}

// entry writes what is not part of an edge.
func (w *writer) entry(e *entry, base clock.Millis) {
	w.Int(int(e.what))
	w.Instant(e.stamp, base)
	switch e.what {
	case aStep:
		w.Instant(e.to, base)
	case aChange:
		w.Int(e.change)
	}
}

// edge writes an edge with its part of the pending entries.
func (w *writer) edge(s *state, i int) {
	e, base := &s.edges[i], s.w.base()
	w.Bits(e.fast, e.halted, e.lease.exists, e.record.exists, e.known)
	w.Int(e.incarnation)
	w.Int(e.session)
	w.credits(e.promised)
	if l := &e.lease; l.exists {
		w.Instant(l.start, base)
		w.Int(l.until)
		w.allotment(l.Allotment)
	}
	if r := &e.record; r.exists {
		for _, n := range [...]int{r.incarnation, r.holder, r.seq} {
			w.Int(n)
		}
		if s.w.Idle > 0 {
			w.Instant(r.seen, base)
		}
		if r.incarnation > 1 || e.incarnation > 1 {
			for _, n := range r.replaced {
				w.Int(n)
			}
		}
	}
	if e.known {
		w.allotment(e.allotment)
	}
	w.Int(len(e.requests))
	for k := range e.requests {
		w.request(&e.requests[k], s)
	}
	for k := range s.pending {
		if p := &s.pending[k]; p.what == anAsk && p.edge == i {
			w.Int(k + 1)
			w.request(&p.req, s)
		}
	}
	w.Int(0)
	w.Int(len(e.answers))
	for k := range e.answers {
		w.answer(&e.answers[k], base)
	}
}

func (w *writer) request(q *request, s *state) {
	w.Bits(q.void)
	for _, n := range [...]int{q.incarnation, q.session, q.seq, q.sent} {
		w.Int(n)
	}
	w.Instant(q.window, s.w.base())
	for _, c := range [...]escrow.Credits{q.used, q.returned, q.want, q.need} {
		w.credits(c)
	}
	if s.w.Rule == Increments {
		w.credits(q.more)
	}
}

func (w *writer) answer(a *answer, base clock.Millis) {
	w.Bits(a.refused, a.final)
	w.Int(a.session)
	w.Instant(a.window, base)
	w.credits(a.granted)
	w.Int(a.until)
	w.Num(int64(a.ttl))
}

// Decode implements model.Model.
func (w *World) Decode(s *state, data []byte) error {
	r := reader{cluster.Reader{Buf: data}}
	s.Tick = r.Int()
	r.head(&s.head, w.base())
	for _, n := range s.left.kinds() {
		*n = r.Int()
	}
	s.left.faults, s.left.returns = r.Int(), r.Int()
	s.read = r.Instant(w.base())
	s.pending = slices.Grow(s.pending[:0], max(1, w.Pipeline))[:min(r.Count(), w.Pipeline)]
	for i := range s.pending {
		r.entry(&s.pending[i], w.base())
	}
	s.Leader = -1
	for i := range s.Nodes {
		r.Node(&s.Cluster, i, w.base())
	}
	for i := range s.edges {
		r.edge(s, i)
	}
	if r.Bad || len(r.Buf) > 0 {
		return errCorrupt
	}
	return nil
}

func (r *reader) head(h *head, base clock.Millis) {
	*h = head{lost: h.lost[:0]}
	h.now = r.Instant(base)
	h.limit = r.credits()
	h.length = clock.Millis(r.Num())
	r.Bits(&h.exists, &h.deleted, &h.open)
	h.since = r.Instant(base)
	h.forgotten = r.Instant(base)
	h.window.Start = r.Instant(base)
	h.window.End = h.window.Start + clock.Millis(r.Num())
	h.admitted = r.credits()
	h.most = r.credits()
	if h.open {
		h.capacity = r.credits()
		h.peak = r.credits()
		for range r.Count() {
			h.lost = append(h.lost, r.allotment())
		}
	}
}

func (r *reader) entry(e *entry, base clock.Millis) {
	*e = entry{what: content(r.Int()), stamp: r.Instant(base)}
	switch e.what {
	case aStep:
		e.to = r.Instant(base)
	case aChange:
		e.change = r.Int()
	}
}

func (r *reader) edge(s *state, i int) {
	e, base := &s.edges[i], s.w.base()
	*e = edge{requests: e.requests[:0], answers: e.answers[:0]}
	r.Bits(&e.fast, &e.halted, &e.lease.exists, &e.record.exists, &e.known)
	e.incarnation = r.Int()
	e.session = r.Int()
	e.promised = r.credits()
	if l := &e.lease; l.exists {
		l.start = r.Instant(base)
		l.until = r.Int()
		l.Allotment = r.allotment()
	}
	if x := &e.record; x.exists {
		for _, n := range [...]*int{&x.incarnation, &x.holder, &x.seq} {
			*n = r.Int()
		}
		if s.w.Idle > 0 {
			x.seen = r.Instant(base)
		}
		if x.incarnation > 1 || e.incarnation > 1 {
			for k := range x.replaced {
				x.replaced[k] = r.Int()
			}
		}
	}
	if e.known {
		e.allotment = r.allotment()
	}
	for range r.Count() {
		e.requests = append(e.requests, r.request(s))
	}
	for k := r.Int(); k != 0; k = r.Int() {
		if k < 0 || k > len(s.pending) {
			r.Bad = true
			return
		}
		s.pending[k-1].edge, s.pending[k-1].req = i, r.request(s)
	}
	for range r.Count() {
		e.answers = append(e.answers, r.answer(base))
	}
}

func (r *reader) request(s *state) request {
	var q request
	r.Bits(&q.void)
	for _, n := range [...]*int{&q.incarnation, &q.session, &q.seq, &q.sent} {
		*n = r.Int()
	}
	q.window = r.Instant(s.w.base())
	for _, c := range [...]*escrow.Credits{&q.used, &q.returned, &q.want, &q.need} {
		*c = r.credits()
	}
	if s.w.Rule == Increments {
		q.more = r.credits()
	}
	return q
}

func (r *reader) answer(base clock.Millis) answer {
	var a answer
	r.Bits(&a.refused, &a.final)
	a.session = r.Int()
	a.window = r.Instant(base)
	a.granted = r.credits()
	a.until = r.Int()
	a.ttl = clock.Millis(r.Num())
	return a
}
