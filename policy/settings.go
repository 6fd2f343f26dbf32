package policy

import (
	"strconv"

	"github.com/tkcoord/tkcoord/escrow"
)

// A setting is one key of a policy file, with its value as a file has it.
type setting struct {
	key, value string
	byDefault  bool // the value is what the key means when it is absent
}

// settings returns the keys that a valid policy has in a file, in the order in
// which Format writes them.
func settings(p Policy) []setting {
	c := p.Cadence
	list := []setting{
		{"strategy", string(p.Strategy), false},
		{"limit", strconv.FormatInt(int64(p.Limit), 10), false},
	}
	if p.Strategy == Quota {
		list = append(list, setting{"resetCadence", c.Kind.String(), false})
	}
	if c.Kind == escrow.Fixed {
		list = append(list, setting{"period", formatSpan(c.Period), false})
	}
	switch {
	case p.Strategy == FixedWindow:
	case c.Kind == escrow.Fixed:
		list = append(list, setting{"anchor", strconv.FormatInt(int64(c.Anchor), 10), c.Anchor == 0})
	default:
		list = append(list, setting{"offsetMinutes", strconv.Itoa(int(c.OffsetMinutes)), c.OffsetMinutes == 0})
	}
	if c.Kind == escrow.CalendarWeek {
		list = append(list, setting{"weekStartsOn", strconv.Itoa(int(c.WeekStart)), c.WeekStart == monday})
	}
	return append(list, setting{"maxKeys", strconv.Itoa(p.MaxKeys), p.MaxKeys == DefaultMaxKeys})
}
