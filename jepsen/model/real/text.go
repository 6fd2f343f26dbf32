package real

import (
	"fmt"
	"strings"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm/clock"
)

// String describes the state in one line: the cluster clock as the newest entry
// left it, the ledger with an allotment granted-returned/used for each edge, the
// nodes with the cluster clock that each would stamp, entries that are not
// committed, and the edges with what they may spend and what is under way.
// Instants are shown by their distance from the beginning.
func (s *state) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "t=%d now=%d ", s.Tick, s.rel(s.head.now))
	s.describeLedger(&b)
	b.WriteString(" |")
	for i := range s.Nodes {
		s.Describe(&b, i, s.w.base())
	}
	for i := range s.pending {
		b.WriteString(" " + s.describeEntry(&s.pending[i]))
	}
	if s.read != 0 {
		fmt.Fprintf(&b, " read %d", s.rel(s.read))
	}
	for i := range s.edges {
		b.WriteString(" | ")
		s.describeEdge(&b, i)
	}
	return b.String()
}

func (s *state) rel(t clock.Millis) clock.Millis { return t - s.w.base() }

func (s *state) span(w escrow.Window) string {
	return escrow.Window{Start: s.rel(w.Start), End: s.rel(w.End)}.String()
}

func (s *state) describeLedger(b *strings.Builder) {
	h := &s.head
	switch {
	case !h.exists:
		b.WriteString("no policy")
	case h.deleted:
		b.WriteString("policy deleted")
	}
	if !h.open {
		fmt.Fprintf(b, "limit=%d no ledger", h.limit)
		return
	}
	fmt.Fprintf(b, "[%d,%d) limit=%d", s.rel(h.window.Start), s.rel(h.window.End), h.limit)
	for i := range s.edges {
		if e := &s.edges[i]; e.known {
			fmt.Fprintf(b, " %c:%s", 'a'+i, describe(e.allotment))
		}
	}
	for _, a := range h.lost {
		fmt.Fprintf(b, " lost:%s", describe(a))
	}
	if h.admitted > 0 {
		fmt.Fprintf(b, " admitted=%d", h.admitted)
	}
}

// describe writes an allotment as granted−returned/used.
func describe(a escrow.Allotment) string {
	if a.Returned > 0 {
		return fmt.Sprintf("%d-%d/%d", a.Granted, a.Returned, a.Used)
	}
	return fmt.Sprintf("%d/%d", a.Granted, a.Used)
}

func (s *state) describeEntry(e *entry) string {
	switch e.what {
	case anAsk:
		return fmt.Sprintf("<%d: %c %s>", s.rel(e.stamp), 'a'+e.edge, s.describeRequest(&e.req))
	case aStep:
		return fmt.Sprintf("<%d: step to %d>", s.rel(e.stamp), s.rel(e.to))
	case aChange:
		return fmt.Sprintf("<%d: %v>", s.rel(e.stamp), s.w.choices()[e.change])
	}
	return fmt.Sprintf("<%d>", s.rel(e.stamp))
}

func (s *state) describeEdge(b *strings.Builder, i int) {
	e := &s.edges[i]
	fmt.Fprintf(b, "%c%s", 'a'+i, map[bool]string{true: "+", false: "-"}[e.fast])
	if e.incarnation > 1 {
		fmt.Fprintf(b, "#%d", e.incarnation)
	}
	if e.halted {
		b.WriteString(" halted")
	}
	if l := &e.lease; l.exists {
		fmt.Fprintf(b, " %s of %d", describe(l.Allotment), s.rel(l.start))
		b.WriteString(s.before(l.until))
	}
	for k := range e.requests {
		fmt.Fprintf(b, " ?%s", s.describeRequest(&e.requests[k]))
	}
	for k := range e.answers {
		b.WriteString(" !" + s.describeAnswer(&e.answers[k]))
	}
}

// before describes until when credits may be spent.
func (s *state) before(until int) string {
	switch {
	case until <= s.Tick:
		return " expired"
	case until > s.w.ticks():
		return " to the end"
	}
	return fmt.Sprintf(" before t=%d", until)
}

func (s *state) describeRequest(q *request) string {
	text := fmt.Sprintf("(t=%d", q.sent)
	if q.window != 0 {
		text += fmt.Sprintf(" [%d used %d", s.rel(q.window), q.used)
		if q.returned > 0 {
			text += fmt.Sprintf(" returned %d", q.returned)
		}
		text += "]"
	}
	return text + fmt.Sprintf(" want %d)", q.want)
}

func (s *state) describeAnswer(a *answer) string {
	switch {
	case a.final:
		return "(replaced)"
	case a.refused:
		return "(no session)"
	}
	return fmt.Sprintf("(%d of %d%s)", a.granted, s.rel(a.window), s.before(a.until))
}
