package strategy

import (
	"math"

	"github.com/tkcoord/tkcoord/escrow"
)

// window counts in windows that follow each other without a gap: those of
// FixedWindow, which are aligned on the epoch, and those of a Quota's cadence. Up
// to twice the limit may pass around a boundary, by design.
//
// A clock that runs back does not open an earlier window: the newest one stays
// open, so a ResetAt may be more than one window ahead. (The reference would open
// the earlier one empty, and admit the limit again.)
type window struct {
	name    Name
	limit   float64
	period  float64        // 0 by the calendar
	cadence escrow.Cadence // of a quota
}

func newWindow(p Params) *window {
	w := &window{name: p.Name, limit: p.Limit, period: p.Period, cadence: p.Cadence}
	if w.cadence.Kind == escrow.Fixed {
		w.period = float64(w.cadence.Period)
	}
	return w
}

func (w *window) Name() Name      { return w.name }
func (w *window) Limit() float64  { return w.limit }
func (w *window) Window() float64 { return w.period }

// bounds returns the window of an instant.
func (w *window) bounds(t float64) (start, end float64) {
	if w.name == FixedWindow {
		start = float64(math.Floor(t/w.period) * w.period)
		return start, start + w.period
	}
	at := w.cadence.At(escrow.Millis(t))
	return float64(at.Start), float64(at.End)
}

// read returns the window that is open and what was admitted in it.
func (w *window) read(s *State, now int64) (start, end, count float64) {
	start, end = w.bounds(float64(now))
	if !s.live(kindWindow, now) || s.a < start {
		return start, end, 0
	}
	if s.a > start { // the clock ran back
		start = s.a
		end = start + w.period
		if w.name != FixedWindow {
			_, end = w.bounds(start)
		}
	}
	return start, end, s.b
}

func (w *window) Check(s *State, now int64, cost float64) Decision {
	d := Decision{Limit: whole(w.limit)}
	if !costs(cost) {
		return d
	}
	now = instant(now)
	start, end, count := w.read(s, now)
	d = w.answer(now, end, count, cost)
	if d.Allowed {
		d.Remaining = units(w.limit - (count + cost))
		*s = State{kind: kindWindow, a: start, b: count + cost, exp: max(now+1, ceil(end))}
	}
	return d
}

func (w *window) Test(s *State, now int64, cost float64) Decision {
	c := *s // a window has no past to share
	return w.Check(&c, now, cost)
}

func (w *window) Peek(s *State, now int64) Decision {
	now = instant(now)
	_, end, count := w.read(s, now)
	return w.answer(now, end, count, 1)
}

// answer says whether a cost would pass; Remaining is what is left before it.
func (w *window) answer(now int64, end, count, cost float64) Decision {
	d := Decision{
		Allowed: count+cost <= w.limit, Limit: whole(w.limit),
		Remaining: units(w.limit - count), ResetAt: ceil(end),
	}
	if !d.Allowed {
		d.RetryAfter = ceil(end - float64(now))
	}
	return d
}

func (w *window) Forecast(s *State, now int64, cost float64) Forecast {
	_, end, count := w.read(s, instant(now))
	f := Forecast{NextReplenishAt: ceil(end), FullAt: ceil(end)}
	if costs(cost) {
		f.SpendableNow = units(max(0, w.limit-count) / cost)
	}
	return f
}
