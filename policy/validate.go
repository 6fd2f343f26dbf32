package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/tkcoord/tkcoord/concurrency"
	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/strategy"
)

// Validate reports everything about p that is out of range, one error each.
// Fields that the kind, the strategy or the cadence does not use must be zero and
// an anchor must lie in [0, Period), so that a policy that is written to a file
// and read again is an equal value.
func (p Policy) Validate() error {
	errs := []error{checkName(p.Name), p.checkCount(), p.checkBlocks()}
	if p.MaxKeys < 1 || p.MaxKeys > MaxMaxKeys {
		errs = append(errs, fmt.Errorf("maxKeys %d is outside [1, %d]", p.MaxKeys, MaxMaxKeys))
	}
	return errors.Join(errs...)
}

// checkCount reports a strategy that the kind does not have, and whatever it
// counts by.
func (p *Policy) checkCount() error {
	var errs []error
	switch {
	case p.Kind > Guarded:
		return fmt.Errorf("unknown kind %d", p.Kind)
	case p.Kind == Meter && p.Strategy != "":
		errs = append(errs, fmt.Errorf("a meter has no strategy, this one has %.40q", string(p.Strategy)))
	case p.Kind == Meter, p.Kind == Guarded && p.Strategy == "":
	case p.Kind == Federated && p.Strategy != FixedWindow && p.Strategy != SlidingWindow && p.Strategy != Quota:
		errs = append(errs, fmt.Errorf("strategy %.40q cannot be federated: it is none of %s, %s, %s", string(p.Strategy), FixedWindow, SlidingWindow, Quota))
	case !slices.Contains(strategies, string(p.Strategy)):
		return fmt.Errorf("strategy %.40q is none of %s", string(p.Strategy), strings.Join(strategies, ", "))
	}
	if p.Kind == Meter || p.counts() {
		errs = append(errs, p.checkCadence())
		if p.Limit < 1 || p.Limit > escrow.MaxCredits {
			errs = append(errs, fmt.Errorf("limit %d is outside [1, %d]", p.Limit, escrow.MaxCredits))
		}
	} else if p.Limit != 0 || p.Cadence != (escrow.Cadence{}) {
		errs = append(errs, fmt.Errorf("limit %d and cadence %v are those of a ledger or a meter, which this policy is not", p.Limit, p.Cadence.Kind))
	}
	return errors.Join(append(errs, p.checkRate())...)
}

// counts reports whether the policy must count on a ledger.
func (p *Policy) counts() bool {
	rolling := p.Strategy == Quota && p.Rate != (strategy.Params{})
	return p.Kind == Federated || p.Strategy == FixedWindow || p.Strategy == Quota && !rolling
}

// checkRate reports the parameters of a strategy with a state for each key.
func (p *Policy) checkRate() error {
	r := p.Rate
	if p.Kind == Meter || p.Strategy == "" || p.counts() {
		if r != (strategy.Params{}) {
			return fmt.Errorf("rate has parameters of %q, which this policy does not use", r.Name)
		}
		return nil
	}
	if r.Name != p.Strategy || r.Rolling != (p.Strategy == Quota) || r.Cadence != (escrow.Cadence{}) {
		return fmt.Errorf("rate has parameters of %q, want those of strategy %q alone", r.Name, p.Strategy)
	}
	return r.Validate()
}

// checkBlocks reports what belongs to one kind of policy: it must be valid there
// and zero elsewhere.
func (p *Policy) checkBlocks() error {
	var errs []error
	if p.Kind == TwoTier {
		errs = append(errs, p.Tier.validate())
	} else if p.Tier != (Tier{}) {
		errs = append(errs, fmt.Errorf("a %v policy has no tier", p.Kind))
	}
	if p.Kind == Federated {
		if p.Batch < 1 || p.Batch > int(escrow.MaxCredits) {
			errs = append(errs, fmt.Errorf("batch %d is outside [1, %d]", p.Batch, escrow.MaxCredits))
		}
	} else if p.Batch != 0 {
		errs = append(errs, fmt.Errorf("a %v policy has no batch outside of its tier (%d)", p.Kind, p.Batch))
	}
	if p.Kind == Meter {
		if p.Meter != TokenBudget && p.Meter != FleetBudget {
			errs = append(errs, fmt.Errorf("meter %.40q is neither %s nor %s", string(p.Meter), TokenBudget, FleetBudget))
		}
	} else if p.Meter != "" {
		errs = append(errs, fmt.Errorf("a %v policy is no meter (%.40q)", p.Kind, string(p.Meter)))
	}
	if p.Kind == Guarded {
		if err := p.Guard.Validate(); err != nil {
			errs = append(errs, fmt.Errorf("concurrency: %w", err))
		}
	} else if p.Guard != (concurrency.Config{}) {
		errs = append(errs, fmt.Errorf("a %v policy does not limit concurrency", p.Kind))
	}
	return errors.Join(errs...)
}

func (t Tier) validate() error {
	if t.Mode == Strict || t.Mode == CachedDeny {
		if t != (Tier{Mode: t.Mode}) {
			return fmt.Errorf("a tier in mode %s has nothing but its mode", t.Mode)
		}
		return nil
	}
	var errs []error
	if t.Mode != Leased {
		errs = append(errs, fmt.Errorf("mode %.40q is none of %s, %s, %s", string(t.Mode), Strict, CachedDeny, Leased))
	}
	if t.Batch < 1 || t.Batch > int(escrow.MaxCredits) {
		errs = append(errs, fmt.Errorf("batch %d is outside [1, %d]", t.Batch, escrow.MaxCredits))
	}
	if !aCount.ok(t.LowWater) {
		errs = append(errs, fmt.Errorf("lowWater %v is outside [0, %d]", t.LowWater, escrow.MaxCredits))
	}
	if t.ReturnIdleAfter < 0 || t.ReturnIdleAfter > escrow.MaxPeriod {
		errs = append(errs, fmt.Errorf("returnIdleAfterMs %d is outside [0, %d]", t.ReturnIdleAfter, escrow.MaxPeriod))
	}
	return errors.Join(errs...)
}

// checkCadence reports a cadence that is out of range, that the strategy does
// not allow, or that is not in its one form.
func (p *Policy) checkCadence() error {
	c := p.Cadence
	errs := []error{c.Validate()}
	if p.Strategy == Quota && p.Kind != Federated && p.Kind != Meter {
		if c.Kind == escrow.Fixed && c.Period > 0 && (c.Anchor < 0 || c.Anchor >= c.Period) {
			errs = append(errs, fmt.Errorf("anchor %d ms is outside [0, %d): add or subtract whole periods", c.Anchor, c.Period))
		}
	} else if c.Kind != escrow.Fixed || c.Anchor != 0 {
		what := "strategy " + string(p.Strategy)
		if p.Kind == Meter || p.Kind == Federated {
			what = "a " + p.Kind.String() + " policy"
		}
		errs = append(errs, fmt.Errorf("%s has windows of one length without an anchor, not %v with anchor %d", what, c.Kind, c.Anchor))
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
