package policy

import "github.com/tkcoord/tkcoord/escrow"

// windows are the keys that say how a policy cuts time. All of them are read
// whatever the strategy, so that a wrong value is reported also beside a wrong
// strategy.
type windows struct {
	period, windowMs, periodMs escrow.Millis // 0 if absent or wrong
	anchor                     escrow.Millis
	offsetMinutes              int32
	weekStartsOn               int32
}

// monday is the first day of the week unless a policy says otherwise.
const monday = 1

func (m section) windows() windows {
	return windows{
		period:        m.duration("period"),
		windowMs:      escrow.Millis(m.whole("windowMs", 1, int64(escrow.MaxPeriod), 0)),
		periodMs:      escrow.Millis(m.whole("periodMs", 1, int64(escrow.MaxPeriod), 0)),
		anchor:        escrow.Millis(m.whole("anchor", -int64(escrow.MaxCredits), int64(escrow.MaxCredits), 0)),
		offsetMinutes: int32(m.whole("offsetMinutes", -840, 840, 0)),
		weekStartsOn:  int32(m.whole("weekStartsOn", 0, 6, monday)),
	}
}

// cadence reads how a quota resets.
func (w windows) cadence(m section) escrow.Cadence {
	name := m.choice("resetCadence", cadences, cadencesUnserved)
	uses := "resetCadence " + name
	switch name {
	case escrow.Fixed.String():
		m.onlyUses(uses, fixedKeys)
		return w.fixed(m)
	case escrow.CalendarDay.String():
		m.onlyUses(uses, calendarKeys)
		return escrow.Cadence{Kind: escrow.CalendarDay, OffsetMinutes: w.offsetMinutes}
	case escrow.CalendarWeek.String():
		m.onlyUses(uses, weekKeys)
		return escrow.Cadence{Kind: escrow.CalendarWeek, OffsetMinutes: w.offsetMinutes, WeekStart: w.weekStartsOn}
	case escrow.CalendarMonth.String():
		m.onlyUses(uses, calendarKeys)
		return escrow.Cadence{Kind: escrow.CalendarMonth, OffsetMinutes: w.offsetMinutes}
	}
	return escrow.Cadence{}
}

// fixed returns windows of one length that may start anywhere. Every window
// start is as good an anchor as any other, and Policy wants the one in
// [0, period).
func (w windows) fixed(m section) escrow.Cadence {
	c := escrow.Cadence{Kind: escrow.Fixed, Period: w.length(m, "periodMs", w.periodMs)}
	if c.Period > 0 {
		c.Anchor = (w.anchor%c.Period + c.Period) % c.Period
	}
	return c
}

// length returns the length of a window, given as period or as ms under the
// other key. It reports a problem if neither is there, or both and they differ.
func (w windows) length(m section, other string, ms escrow.Millis) escrow.Millis {
	e := m.node.find(other)
	switch {
	case e == nil && m.node.find("period") == nil:
		m.missing("period", wantDuration)
	case w.period > 0 && ms > 0 && w.period != ms:
		m.refuse(e.node.line, m.at.to(other), "got %v: period says %d ms and would win; keep one of the two", &e.node, w.period)
	}
	return max(w.period, ms)
}
