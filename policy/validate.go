package policy

import (
	"errors"
	"fmt"
	"unicode"
	"unicode/utf8"

	"github.com/tkcoord/tkcoord/escrow"
)

// Validate reports everything about p that is out of range, one error each.
// Fields that the strategy or the cadence does not use must be zero and an anchor
// must lie in [0, Period), so that a policy that is written to a file and read
// again is an equal value.
func (p Policy) Validate() error {
	errs := []error{checkName(p.Name), p.checkCadence()}
	if p.Limit < 1 || p.Limit > escrow.MaxCredits {
		errs = append(errs, fmt.Errorf("limit %d is outside [1, %d]", p.Limit, escrow.MaxCredits))
	}
	if p.MaxKeys < 1 || p.MaxKeys > MaxMaxKeys {
		errs = append(errs, fmt.Errorf("maxKeys %d is outside [1, %d]", p.MaxKeys, MaxMaxKeys))
	}
	return errors.Join(errs...)
}

// checkCadence reports a cadence that is out of range, that the strategy does
// not allow, or that is not in its one form.
func (p Policy) checkCadence() error {
	c := p.Cadence
	errs := []error{c.Validate()}
	switch p.Strategy {
	case FixedWindow:
		if c.Kind != escrow.Fixed || c.Anchor != 0 {
			errs = append(errs, fmt.Errorf("strategy %s has windows of one length without an anchor, not %v with anchor %d", p.Strategy, c.Kind, c.Anchor))
		}
	case Quota:
		if c.Kind == escrow.Fixed && c.Period > 0 && (c.Anchor < 0 || c.Anchor >= c.Period) {
			errs = append(errs, fmt.Errorf("anchor %d ms is outside [0, %d): add or subtract whole periods", c.Anchor, c.Period))
		}
	default:
		errs = append(errs, fmt.Errorf("strategy %q is none of %s, %s", p.Strategy, FixedWindow, Quota))
	}
	if c.Kind != escrow.Fixed && (c.Period != 0 || c.Anchor != 0) {
		errs = append(errs, fmt.Errorf("a %v cadence has no period (%d ms) and no anchor (%d ms)", c.Kind, c.Period, c.Anchor))
	}
	if c.Kind == escrow.Fixed && c.OffsetMinutes != 0 {
		errs = append(errs, fmt.Errorf("a %v cadence has no offset (%d minutes)", c.Kind, c.OffsetMinutes))
	}
	if c.Kind != escrow.CalendarWeek && c.WeekStart != 0 {
		errs = append(errs, fmt.Errorf("a %v cadence has no first day of the week (%d)", c.Kind, c.WeekStart))
	}
	return errors.Join(errs...)
}

// checkName reports a name that no policy may have.
func checkName(name string) error {
	switch {
	case name == "" || len(name) > MaxNameLen:
		return fmt.Errorf("a name must have 1 to %d bytes, this one has %d", MaxNameLen, len(name))
	case !utf8.ValidString(name):
		return fmt.Errorf("name %q is not valid UTF-8", name)
	case forbidden(name):
		return fmt.Errorf("name %q is reserved in the ThrottleKit contract", name)
	}
	for _, r := range name {
		if unicode.IsControl(r) {
			return fmt.Errorf("name %q has a control character", name)
		}
	}
	return nil
}

// forbidden reports the keys that the contract refuses at every level.
func forbidden(key string) bool {
	return key == "__proto__" || key == "constructor" || key == "prototype"
}
