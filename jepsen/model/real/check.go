package real

import (
	"fmt"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm/clock"
)

// checkAdmission counts a unit that was admitted now in the window that starts
// at start, and reports if that breaks G1: if the window has ended at its owner,
// or if more than its limit was admitted.
func (s *state) checkAdmission(start clock.Millis) error {
	h := &s.head
	end := h.window.End
	if start != h.window.Start {
		return fmt.Errorf("G1: admitted in the window from %d, the newest is %s", s.rel(start), s.span(h.window))
	}
	if h.over() {
		return fmt.Errorf("G1: admitted in %s when the owner was at %d", s.span(h.window), s.rel(h.now))
	}
	for i := range s.pending {
		if at := s.pending[i].stamp; at >= end {
			return fmt.Errorf("G1: admitted in %s when a stamp %d had been made", s.span(h.window), s.rel(at))
		}
	}
	if s.Leader >= 0 {
		if at := s.Clock(); at >= end {
			return fmt.Errorf("G1: admitted in %s when the leader's clock showed %d", s.span(h.window), s.rel(at))
		}
	}
	if h.admitted++; h.admitted > h.most {
		return fmt.Errorf("G1: %d admitted in %s with limit %d", h.admitted, s.span(h.window), h.most)
	}
	return nil
}

// Check implements model.Model. Most of what must hold is checked where it could
// be broken: at an admission, at a commit, when an answer is heard.
func (w *World) Check(s *state) error {
	h := &s.head
	if !h.open {
		return nil
	}
	if out := h.out(s); out > h.peak || h.capacity > h.peak {
		return fmt.Errorf("Σ(granted−returned) %d and capacity %d must not exceed the peak %d", out, h.capacity, h.peak)
	}
	for i := range s.edges {
		e := &s.edges[i]
		if a := e.allotment; a.Used > a.Granted-a.Returned {
			return fmt.Errorf("ledger: %+v of edge %c", a, 'a'+i)
		}
		if err := s.checkTotals(e); err != nil {
			return fmt.Errorf("edge %c: %w", 'a'+i, err)
		}
	}
	return nil
}

// checkTotals reports an owner that knows more of an edge than the edge itself.
func (s *state) checkTotals(e *edge) error {
	if s.w.Rule != Intact || e.session == 0 || e.session != e.record.holder || !e.lease.exists || e.lease.start != s.head.window.Start {
		return nil
	}
	if a := e.allotment; a.Returned > e.lease.Returned || a.Used > e.lease.Used {
		return fmt.Errorf("it used %d and returned %d, the owner counts %+v", e.lease.Used, e.lease.Returned, a)
	}
	return nil
}

// Observables implements model.Observer.
func (w *World) Observables() []string {
	return []string{"admitted", "out", "windows", "stretch", "holders", "messages", "lag"}
}

// Observe implements model.Observer.
func (w *World) Observe(dst []int64, s *state) []int64 {
	h := &s.head
	var out escrow.Credits
	var stretch clock.Millis
	holders := len(h.lost)
	if h.open {
		out = h.out(s)
		if n := h.window.End - h.window.Start; n > h.length {
			stretch = n - h.length
		}
	}
	messages := 0
	for i := range s.edges {
		e := &s.edges[i]
		messages += len(e.requests) + len(e.answers)
		if e.known {
			holders++
		}
	}
	windows := int64(0)
	if h.window.Start >= w.base() {
		windows = 1 + int64((h.window.Start-w.base())/w.Length)
	}
	var lag clock.Millis
	if s.Leader >= 0 {
		lag = max(0, h.now-s.Clock())
	}
	return append(dst, int64(h.admitted), int64(out), windows, int64(stretch), int64(holders), int64(messages), int64(lag))
}
