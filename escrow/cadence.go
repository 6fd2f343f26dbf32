package escrow

import (
	"errors"
	"fmt"

	"github.com/tkcoord/tkcoord/fsm/clock"
)

// Kind says how a cadence cuts time into windows.
type Kind uint8

const (
	Fixed         Kind = iota + 1 // every Period ms, counted from Anchor
	CalendarDay                   // from midnight to midnight
	CalendarWeek                  // seven days from WeekStart
	CalendarMonth                 // from the first of a month to the next
)

var kindNames = map[Kind]string{
	Fixed: "fixed", CalendarDay: "calendar-day", CalendarWeek: "calendar-week", CalendarMonth: "calendar-month",
}

func (k Kind) String() string {
	if n, ok := kindNames[k]; ok {
		return n
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// A Cadence cuts the cluster clock into windows that follow each other without
// a gap. Fields that its Kind does not use are zero. Two budgets with equal
// cadences have equal windows.
type Cadence struct {
	Kind Kind
	// Period of a Fixed cadence in ms, in [1, MaxPeriod].
	Period Millis
	// Anchor of a Fixed cadence: some window starts at this instant. Any value
	// within ±MaxPeriod.
	Anchor Millis
	// OffsetMinutes shifts the calendar kinds east of UTC, in [−840, 840]. It is
	// a fixed offset: there is no daylight saving.
	OffsetMinutes int32
	// WeekStart is the first day of a CalendarWeek, 0 (Sunday) to 6 (Saturday).
	WeekStart int32
}

// MaxPeriod bounds the windows of a Fixed cadence: ten years of 366 days.
const MaxPeriod Millis = 3660 * day

const (
	day    Millis = 86_400_000
	minute Millis = 60_000
)

// Validate reports every field that is out of range for the kind.
func (c Cadence) Validate() error {
	var errs []error
	switch c.Kind {
	case Fixed:
		if c.Period < 1 || c.Period > MaxPeriod {
			errs = append(errs, fmt.Errorf("period %d ms is outside [1, %d]", c.Period, MaxPeriod))
		}
		if c.Anchor < -MaxPeriod || c.Anchor > MaxPeriod {
			errs = append(errs, fmt.Errorf("anchor %d ms is outside [%d, %d]", c.Anchor, -MaxPeriod, MaxPeriod))
		}
	case CalendarDay, CalendarWeek, CalendarMonth:
		if c.OffsetMinutes < -840 || c.OffsetMinutes > 840 {
			errs = append(errs, fmt.Errorf("offset %d minutes is outside [-840, 840]", c.OffsetMinutes))
		}
		if c.WeekStart < 0 || c.WeekStart > 6 {
			errs = append(errs, fmt.Errorf("first day of the week %d is outside [0, 6]", c.WeekStart))
		}
	default:
		errs = append(errs, fmt.Errorf("unknown cadence kind %d", c.Kind))
	}
	return errors.Join(errs...)
}

// At returns the window that contains t, for a valid cadence and t in
// [0, clock.MaxInstant]. All divisions round down, as the published contract
// has it.
func (c Cadence) At(t Millis) Window {
	if c.Kind == Fixed {
		start := c.Anchor + floorDiv(t-c.Anchor, c.Period)*c.Period
		return Window{start, start + c.Period}
	}
	off := Millis(c.OffsetMinutes) * minute
	d := floorDiv(t+off, day)
	first, next := d, d+1
	switch c.Kind {
	case CalendarWeek:
		weekday := floorMod(d+4, 7) // 1970-01-01 was a Thursday
		first = d - floorMod(weekday-Millis(c.WeekStart), 7)
		next = first + 7
	case CalendarMonth:
		y, m := civil(d)
		first = days(y, m)
		next = days(y+m/12, m%12+1)
	}
	return Window{first*day - off, next*day - off}
}

// floorDiv is ⌊a/b⌋ for b > 0.
func floorDiv(a, b Millis) Millis {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// floorMod is a − b·⌊a/b⌋, in [0, b).
func floorMod(a, b Millis) Millis { return a - b*floorDiv(a, b) }

// civil returns year and month (1..12) of a day counted from 1970-01-01, in the
// proleptic Gregorian calendar. Years are counted from March so that the leap
// day comes last (Hinnant, "chrono-Compatible Low-Level Date Algorithms").
func civil(d Millis) (year, month Millis) {
	d += 719_468 // days from 0000-03-01
	era := floorDiv(d, 146_097)
	doe := d - era*146_097
	yoe := (doe - doe/1460 + doe/36_524 - doe/146_096) / 365
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	m := (5*doy + 2) / 153 // 0 is March
	year = yoe + era*400
	if m < 10 {
		return year, m + 3
	}
	return year + 1, m - 9
}

// days returns the day number, counted from 1970-01-01, of the first of a month.
func days(year, month Millis) Millis {
	if month <= 2 {
		year--
		month += 12
	}
	era := floorDiv(year, 400)
	yoe := year - era*400
	doy := (153*(month-3) + 2) / 5
	doe := yoe*365 + yoe/4 - yoe/100 + doy
	return era*146_097 + doe - 719_468
}

// Following returns the window of t that comes after everything up to floor:
// the aligned one, cut at its start if floor lies inside it. Windows of one
// budget therefore never overlap and their starts grow, also when the cadence
// changed or a step stretched the window before.
func (c Cadence) Following(floor, t Millis) Window {
	w := c.At(min(t, clock.MaxInstant))
	w.Start = max(w.Start, floor)
	return w
}
