package policy

import (
	"testing"

	"github.com/tkcoord/tkcoord/escrow"
)

func TestValidate(t *testing.T) {
	valid := Policy{Name: "a", Strategy: Quota, Limit: 5, Cadence: escrow.Cadence{Kind: escrow.Fixed, Period: 1000}, MaxKeys: 10}
	for _, tc := range []struct {
		name string
		edit func(*Policy)
		want string // "" if valid
	}{
		{"valid", func(*Policy) {}, ""},
		{"largest", func(p *Policy) { p.Limit, p.MaxKeys = escrow.MaxCredits, MaxMaxKeys }, ""},
		{"everything", func(p *Policy) { *p = Policy{} }, `a name must have 1 to 256 bytes, this one has 0
unknown cadence kind 0
strategy "" is none of fixedWindow, quota
limit 0 is outside [1, 9007199254740991]
maxKeys 0 is outside [1, 100000000]`},
		{"limit", func(p *Policy) { p.Limit = escrow.MaxCredits + 1 }, "limit 9007199254740992 is outside [1, 9007199254740991]"},
		{"control", func(p *Policy) { p.Name = "a\x00" }, `name "a\x00" has a control character`},
		{"encoding", func(p *Policy) { p.Name = "\xff" }, `name "\xff" is not valid UTF-8`},
		{"reserved", func(p *Policy) { p.Name = "__proto__" }, `name "__proto__" is reserved in the ThrottleKit contract`},
		{"anchor", func(p *Policy) { p.Cadence.Anchor = 1000 }, "anchor 1000 ms is outside [0, 1000): add or subtract whole periods"},
		{"offset of fixed", func(p *Policy) { p.Cadence.OffsetMinutes, p.Cadence.WeekStart = 5, 6 },
			"a fixed cadence has no offset (5 minutes)\na fixed cadence has no first day of the week (6)"},
		{"period of a calendar", func(p *Policy) { p.Cadence.Kind = escrow.CalendarDay },
			"a calendar-day cadence has no period (1000 ms) and no anchor (0 ms)"},
		{"week start of a month", func(p *Policy) { p.Cadence = escrow.Cadence{Kind: escrow.CalendarMonth, WeekStart: 1} },
			"a calendar-month cadence has no first day of the week (1)"},
		{"window by the calendar", func(p *Policy) { p.Strategy, p.Cadence = FixedWindow, escrow.Cadence{Kind: escrow.CalendarDay} },
			"strategy fixedWindow has windows of one length without an anchor, not calendar-day with anchor 0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := valid
			tc.edit(&p)
			got := ""
			if err := p.Validate(); err != nil {
				got = err.Error()
			}
			if got != tc.want {
				t.Errorf("Validate() = %s, want %s", got, tc.want)
			}
		})
	}
}
