package real

import (
	"encoding/binary"
	"errors"
	"slices"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm/clock"
)

var errCorrupt = errors.New("not a state of this world")

// A writer appends small numbers, most of them to one byte each.
type writer struct{ buf []byte }

func (w *writer) num(n int64) {
	if 0 <= n && n < 0x40 {
		w.buf = append(w.buf, byte(n)<<1)
		return
	}
	w.buf = binary.AppendVarint(w.buf, n)
}

func (w *writer) int(n int)                { w.num(int64(n)) }
func (w *writer) credits(c escrow.Credits) { w.num(int64(c)) }

// instant writes an instant on the cluster clock by its distance to base, and 0
// as itself.
func (w *writer) instant(t, base clock.Millis) {
	if t == 0 {
		w.num(0)
		return
	}
	if t -= base; t >= 0 {
		t++
	}
	w.num(int64(t))
}

func (w *writer) bits(bits ...bool) {
	n := 0
	for i, b := range bits {
		if b {
			n |= 1 << i
		}
	}
	w.int(n)
}

func (w *writer) allotment(a escrow.Allotment) {
	w.credits(a.Granted)
	w.credits(a.Returned)
	w.credits(a.Used)
}

// A reader takes apart what a writer wrote.
type reader struct {
	buf []byte
	bad bool
}

func (r *reader) num() int64 {
	if len(r.buf) > 0 && r.buf[0] < 0x80 {
		n := int64(r.buf[0])
		r.buf = r.buf[1:]
		return n>>1 ^ -(n & 1)
	}
	n, k := binary.Varint(r.buf)
	if k <= 0 {
		r.bad = true
		return 0
	}
	r.buf = r.buf[k:]
	return n
}

func (r *reader) int() int                { return int(r.num()) }
func (r *reader) credits() escrow.Credits { return escrow.Credits(r.num()) }

func (r *reader) instant(base clock.Millis) clock.Millis {
	switch n := clock.Millis(r.num()); {
	case n == 0:
		return 0
	case n > 0:
		return base + n - 1
	default:
		return base + n
	}
}

func (r *reader) bits(bits ...*bool) {
	n := r.int()
	for i, b := range bits {
		*b = n>>i&1 == 1
	}
}

func (r *reader) allotment() escrow.Allotment {
	return escrow.Allotment{Granted: r.credits(), Returned: r.credits(), Used: r.credits()}
}

// count reads the length of a list.
func (r *reader) count() int {
	n := r.int()
	if n < 0 || n > 255 {
		r.bad = true
		return 0
	}
	return n
}

// Encode implements model.Model.
func (w *World) Encode(dst []byte, s *state) []byte {
	out := writer{dst}
	out.int(s.tick)
	out.head(&s.head, w.base())
	for _, n := range s.left.kinds() {
		out.int(*n)
	}
	out.int(s.left.faults)
	out.int(s.left.returns)
	out.instant(s.read, w.base())
	out.int(len(s.pending))
	for i := range s.pending {
		out.entry(&s.pending[i], w.base())
	}
	for i := range s.nodes {
		out.node(s, i)
	}
	for i := range s.edges {
		out.edge(s, i)
	}
	return out.buf
}

func (w *writer) head(h *head, base clock.Millis) {
	w.instant(h.now, base)
	w.credits(h.limit)
	w.num(int64(h.length))
	w.bits(h.exists, h.deleted, h.open)
	w.instant(h.since, base)
	w.instant(h.forgotten, base)
	w.instant(h.window.Start, base)
	w.num(int64(h.window.End - h.window.Start))
	w.credits(h.admitted)
	w.credits(h.most)
	if h.open {
		w.credits(h.capacity)
		w.credits(h.peak)
		w.int(len(h.lost))
		for _, a := range h.lost {
			w.allotment(a)
		}
	}
}

// entry writes what is not part of an edge.
func (w *writer) entry(e *entry, base clock.Millis) {
	w.int(int(e.what))
	w.instant(e.stamp, base)
	switch e.what {
	case aStep:
		w.instant(e.to, base)
	case aChange:
		w.int(e.change)
	}
}

// node writes a node, and whether it leads.
func (w *writer) node(s *state, i int) {
	n := &s.nodes[i]
	w.bits(n.fast, n.fresh, s.leader == i, n.source.Leading)
	base, at := s.w.base(), s.at(n)
	w.pair(n.source.Newest, base, at)
	w.pair(n.source.Base, base, at)
	w.num(int64(n.source.Slew))
	w.instant(n.stamp, base)
}

func (w *writer) pair(p clock.Pair, base clock.Millis, at clock.Nanos) {
	if p == (clock.Pair{}) {
		w.num(0)
		return
	}
	w.instant(p.Now, base)
	w.num(int64(at - p.At))
}

// edge writes an edge with its part of the pending entries.
func (w *writer) edge(s *state, i int) {
	e, base := &s.edges[i], s.w.base()
	w.bits(e.fast, e.halted, e.lease.exists, e.record.exists, e.known)
	w.int(e.incarnation)
	w.int(e.session)
	w.credits(e.promised)
	if l := &e.lease; l.exists {
		w.instant(l.start, base)
		w.int(l.until)
		w.allotment(l.Allotment)
	}
	if r := &e.record; r.exists {
		for _, n := range [...]int{r.incarnation, r.holder, r.seq} {
			w.int(n)
		}
		if s.w.Idle > 0 {
			w.instant(r.seen, base)
		}
		if r.incarnation > 1 || e.incarnation > 1 {
			for _, n := range r.replaced {
				w.int(n)
			}
		}
	}
	if e.known {
		w.allotment(e.allotment)
	}
	w.int(len(e.requests))
	for k := range e.requests {
		w.request(&e.requests[k], s)
	}
	for k := range s.pending {
		if p := &s.pending[k]; p.what == anAsk && p.edge == i {
			w.int(k + 1)
			w.request(&p.req, s)
		}
	}
	w.int(0)
	w.int(len(e.answers))
	for k := range e.answers {
		w.answer(&e.answers[k], base)
	}
}

func (w *writer) request(q *request, s *state) {
	w.bits(q.void)
	for _, n := range [...]int{q.incarnation, q.session, q.seq, q.sent} {
		w.int(n)
	}
	w.instant(q.window, s.w.base())
	for _, c := range [...]escrow.Credits{q.used, q.returned, q.want, q.need} {
		w.credits(c)
	}
	if s.w.Rule == Increments {
		w.credits(q.more)
	}
}

func (w *writer) answer(a *answer, base clock.Millis) {
	w.bits(a.refused, a.final)
	w.int(a.session)
	w.instant(a.window, base)
	w.credits(a.granted)
	w.int(a.until)
	w.num(int64(a.ttl))
}

// Decode implements model.Model.
func (w *World) Decode(s *state, data []byte) error {
	r := reader{buf: data}
	s.tick = r.int()
	r.head(&s.head, w.base())
	for _, n := range s.left.kinds() {
		*n = r.int()
	}
	s.left.faults, s.left.returns = r.int(), r.int()
	s.read = r.instant(w.base())
	s.pending = slices.Grow(s.pending[:0], max(1, w.Pipeline))[:min(r.count(), w.Pipeline)]
	for i := range s.pending {
		r.entry(&s.pending[i], w.base())
	}
	s.leader = -1
	for i := range s.nodes {
		r.node(s, i)
	}
	for i := range s.edges {
		r.edge(s, i)
	}
	if r.bad || len(r.buf) > 0 {
		return errCorrupt
	}
	return nil
}

func (r *reader) head(h *head, base clock.Millis) {
	*h = head{lost: h.lost[:0]}
	h.now = r.instant(base)
	h.limit = r.credits()
	h.length = clock.Millis(r.num())
	r.bits(&h.exists, &h.deleted, &h.open)
	h.since = r.instant(base)
	h.forgotten = r.instant(base)
	h.window.Start = r.instant(base)
	h.window.End = h.window.Start + clock.Millis(r.num())
	h.admitted = r.credits()
	h.most = r.credits()
	if h.open {
		h.capacity = r.credits()
		h.peak = r.credits()
		for range r.count() {
			h.lost = append(h.lost, r.allotment())
		}
	}
}

func (r *reader) entry(e *entry, base clock.Millis) {
	*e = entry{what: content(r.int()), stamp: r.instant(base)}
	switch e.what {
	case aStep:
		e.to = r.instant(base)
	case aChange:
		e.change = r.int()
	}
}

func (r *reader) node(s *state, i int) {
	n := &s.nodes[i]
	*n = node{}
	var leads bool
	r.bits(&n.fast, &n.fresh, &leads, &n.source.Leading)
	if leads {
		s.leader = i
	}
	base, at := s.w.base(), s.at(n)
	n.source.Newest = r.pair(base, at)
	n.source.Base = r.pair(base, at)
	n.source.Slew = clock.PPM(r.num())
	n.stamp = r.instant(base)
}

func (r *reader) pair(base clock.Millis, at clock.Nanos) clock.Pair {
	now := r.instant(base)
	if now == 0 {
		return clock.Pair{}
	}
	return clock.Pair{Now: now, At: at - clock.Nanos(r.num())}
}

func (r *reader) edge(s *state, i int) {
	e, base := &s.edges[i], s.w.base()
	*e = edge{requests: e.requests[:0], answers: e.answers[:0]}
	r.bits(&e.fast, &e.halted, &e.lease.exists, &e.record.exists, &e.known)
	e.incarnation = r.int()
	e.session = r.int()
	e.promised = r.credits()
	if l := &e.lease; l.exists {
		l.start = r.instant(base)
		l.until = r.int()
		l.Allotment = r.allotment()
	}
	if x := &e.record; x.exists {
		for _, n := range [...]*int{&x.incarnation, &x.holder, &x.seq} {
			*n = r.int()
		}
		if s.w.Idle > 0 {
			x.seen = r.instant(base)
		}
		if x.incarnation > 1 || e.incarnation > 1 {
			for k := range x.replaced {
				x.replaced[k] = r.int()
			}
		}
	}
	if e.known {
		e.allotment = r.allotment()
	}
	for range r.count() {
		e.requests = append(e.requests, r.request(s))
	}
	for k := r.int(); k != 0; k = r.int() {
		if k < 0 || k > len(s.pending) {
			r.bad = true
			return
		}
		s.pending[k-1].edge, s.pending[k-1].req = i, r.request(s)
	}
	for range r.count() {
		e.answers = append(e.answers, r.answer(base))
	}
}

func (r *reader) request(s *state) request {
	var q request
	r.bits(&q.void)
	for _, n := range [...]*int{&q.incarnation, &q.session, &q.seq, &q.sent} {
		*n = r.int()
	}
	q.window = r.instant(s.w.base())
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
	r.bits(&a.refused, &a.final)
	a.session = r.int()
	a.window = r.instant(base)
	a.granted = r.credits()
	a.until = r.int()
	a.ttl = clock.Millis(r.num())
	return a
}
