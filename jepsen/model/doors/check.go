package doors

import (
	"fmt"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm/clock"
)

// checkAdmission counts a unit that was admitted now in the window that starts at
// start, and reports if that breaks G1: if the window has ended at its owner, or if
// more than its limit was admitted.
func (s *state) checkAdmission(start clock.Millis) error {
	w := s.ledger.window
	if start != w.Start {
		return fmt.Errorf("G1: admitted in the window from %d, the newest is %s", s.rel(start), s.span(w))
	}
	if s.over() {
		return fmt.Errorf("G1: admitted in %s when the owner was at %d", s.span(w), s.rel(s.now))
	}
	if s.Leader >= 0 {
		if at := s.Clock(); at >= w.End {
			return fmt.Errorf("G1: admitted in %s when the leader's clock showed %d", s.span(w), s.rel(at))
		}
	}
	if s.admitted++; s.admitted > s.most {
		return fmt.Errorf("G1: %d admitted in %s with limit %d", s.admitted, s.span(w), s.most)
	}
	return nil
}

// checkDebit counts a debit that was allowed, and reports if the window is overshot
// by as much as its largest debit.
func (s *state) checkDebit(tokens int64) error {
	if s.now >= s.accountEnd {
		s.accountEnd = s.now - s.now%s.w.Length + s.w.Length
		s.admitted, s.most, s.largest = 0, 0, 0
	}
	s.asked()
	s.admitted += tokens
	s.largest = max(s.largest, tokens)
	if s.admitted > s.most+s.largest-1 {
		return fmt.Errorf("Debits: %d served before %d with budget %d and debits of up to %d", s.admitted, s.rel(s.accountEnd), s.most, s.largest)
	}
	if s.w.Rule == Intact {
		return s.checkMeter()
	}
	return nil
}

// checkMeter reports debits that were acknowledged and are forgotten.
func (s *state) checkMeter() error {
	if s.w.Rule != Intact || s.now >= s.accountEnd {
		return nil
	}
	if m := s.meter; !m.exists || m.End != s.accountEnd || int64(m.Served) < s.admitted {
		return fmt.Errorf("Debits: %d were acknowledged before %d, the meter has %d before %d", s.admitted, s.rel(s.accountEnd), m.Served, s.rel(m.End))
	}
	return nil
}

// checkSlots reports a slot that an entry ended or moved and had no reason to. The
// entry's stamp moved the clock to stamped, the rest was a step.
func (s *state) checkSlots(stamped clock.Millis, touched *clock.Millis) error {
	for i, end := range s.d.ends {
		want := s.d.before[i] + s.now - stamped
		if s.d.before[i] <= stamped {
			want = 0
		}
		if end != touched && *end != want {
			return fmt.Errorf("Slots: one that was to end at %d ends at %d, and it is %d", s.rel(want), s.rel(*end), s.rel(s.now))
		}
	}
	return nil
}

// Check implements model.Model. Most of what must hold is checked where it could
// be broken.
func (w *World) Check(s *state) error {
	if n := int64(s.believers()); s.traffic == Slots && n > s.most {
		return fmt.Errorf("Slots: %d hold one, the ceiling is %d", n, s.most)
	}
	if l := &s.ledger; l.exists {
		if out := s.out(); out > l.peak || l.capacity > l.peak {
			return fmt.Errorf("out %d and capacity %d must not exceed the peak %d", out, l.capacity, l.peak)
		}
	}
	for i := range s.clients {
		if a := s.clients[i].Allotment; a.Used > a.Granted {
			return fmt.Errorf("ledger: %+v", a)
		}
	}
	return nil
}

// Observables implements model.Observer.
func (w *World) Observables() []string {
	return []string{"holders", "slots", "admitted", "out", "served", "messages", "lag"}
}

// Observe implements model.Observer.
func (w *World) Observe(dst []int64, s *state) []int64 {
	var sum, messages int64
	var out escrow.Credits
	switch s.traffic {
	case Units:
		sum, out = s.admitted, s.out()
	case Tokens:
		sum = s.admitted
	}
	for i := range s.clients {
		messages += int64(len(s.clients[i].requests) + len(s.clients[i].answers))
	}
	var lag clock.Millis
	if s.Leader >= 0 {
		lag = max(0, s.now-s.Clock())
	}
	return append(dst, int64(s.believers()), int64(s.live()), sum, int64(out), int64(s.meter.Served), messages, int64(lag))
}
