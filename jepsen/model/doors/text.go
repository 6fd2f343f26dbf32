package doors

import (
	"fmt"
	"strings"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm/clock"
)

// String describes the state in one line: the cluster clock as the newest entry
// left it, what the state machine counts, the nodes with the cluster clock that
// each would stamp, and the clients with what they rely on and what is under way.
// Instants are shown by their distance from the beginning.
func (s *state) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "t=%d now=%d limit=%d", s.Tick, s.rel(s.now), s.limit)
	if s.deleted {
		b.WriteString(" deleted")
	}
	switch s.traffic {
	case Slots:
		fmt.Fprintf(&b, " slots=%d", s.live())
		for _, end := range s.orphans {
			fmt.Fprintf(&b, " ..%d", s.rel(end))
		}
	case Units:
		s.describeLedger(&b)
	case Tokens:
		if s.meter.exists {
			fmt.Fprintf(&b, " served %d before %d", s.meter.Served, s.rel(s.meter.End))
		}
		if s.admitted > 0 {
			fmt.Fprintf(&b, " acknowledged=%d", s.admitted)
		}
	}
	b.WriteString(" |")
	for i := range s.Nodes {
		s.Describe(&b, i, s.w.base())
	}
	if s.traffic != Tokens {
		for i := range s.clients {
			s.describeClient(&b, i)
		}
	}
	return b.String()
}

func (s *state) rel(t clock.Millis) clock.Millis { return t - s.w.base() }

func (s *state) span(w escrow.Window) string {
	return escrow.Window{Start: s.rel(w.Start), End: s.rel(w.End)}.String()
}

func (s *state) describeLedger(b *strings.Builder) {
	l := &s.ledger
	if !l.exists {
		b.WriteString(" no ledger")
		return
	}
	fmt.Fprintf(b, " %s", s.span(l.window))
	for _, x := range []struct {
		name string
		n    escrow.Credits
	}{{"checked", l.taken}, {"reserved", l.given}, {"admitted", escrow.Credits(s.admitted)}} {
		if x.n > 0 {
			fmt.Fprintf(b, " %s=%d", x.name, x.n)
		}
	}
	for i := range s.clients {
		if c := &s.clients[i]; c.known {
			fmt.Fprintf(b, " lease=%d/%d", c.Granted, c.Used)
		}
	}
}

func (s *state) describeClient(b *strings.Builder, i int) {
	c := &s.clients[i]
	fmt.Fprintf(b, " | %c%s", 'a'+i, map[bool]string{true: "+", false: "-"}[c.fast])
	if c.edge {
		b.WriteString(" edge")
	}
	h := &c.hold
	switch {
	case h.slot != 0:
		b.WriteString(" holds" + s.slot(c, h.slot) + s.before(h.until))
	case h.granted > 0:
		fmt.Fprintf(b, " %d/%d of %d%s", h.granted, h.used, s.rel(h.start), s.before(h.until))
	}
	for k := range c.requests {
		b.WriteString(" ?" + s.describeRequest(c, &c.requests[k]))
	}
	for k := range c.answers {
		b.WriteString(" !" + s.describeAnswer(c, &c.answers[k]))
	}
}

// slot describes a client's slot by its end at the cluster.
func (s *state) slot(c *client, n int) string {
	if end := c.slots[n-1]; end != 0 {
		return fmt.Sprintf(" ..%d", s.rel(end))
	}
	return " reclaimed"
}

// before describes until when something may be relied on.
func (s *state) before(until int) string {
	switch {
	case until <= s.Tick:
		return " expired"
	case until > s.w.ticks():
		return " to the end"
	}
	return fmt.Sprintf(" before t=%d", until)
}

func (s *state) describeRequest(c *client, q *request) string {
	text := [...]string{"", "admit", "keep", "release", "ask", "reserve"}[q.verb]
	if q.sent >= 0 {
		text += fmt.Sprintf(" t=%d", q.sent)
	}
	if q.slot != 0 {
		text += s.slot(c, q.slot)
	}
	if q.verb == anAsk {
		text += fmt.Sprintf(" want %d", q.want)
	}
	if q.void {
		text += " void"
	}
	return "(" + text + ")"
}

func (s *state) describeAnswer(c *client, a *answer) string {
	switch a.outcome {
	case granted:
		return fmt.Sprintf("(%d of %d%s)", a.granted, s.rel(a.start), s.before(a.until))
	case gone:
		return "(reclaimed)"
	}
	return "(" + [...]string{"", "admitted", "live"}[a.outcome] + s.slot(c, a.slot) + s.before(a.until) + ")"
}
