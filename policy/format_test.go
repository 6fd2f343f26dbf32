package policy

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"

	"github.com/tkcoord/tkcoord/escrow"
	"pgregory.net/rapid"
)

// drawPolicy draws a valid policy.
func drawPolicy(name *rapid.Generator[string]) *rapid.Generator[Policy] {
	return rapid.Custom(func(t *rapid.T) Policy {
		p := Policy{
			Name:     name.Draw(t, "name"),
			Strategy: rapid.SampledFrom([]Strategy{FixedWindow, Quota}).Draw(t, "strategy"),
			Limit:    escrow.Credits(rapid.Int64Range(1, int64(escrow.MaxCredits)).Draw(t, "limit")),
			Cadence:  escrow.Cadence{Kind: escrow.Fixed},
			MaxKeys:  rapid.OneOf(rapid.Just(DefaultMaxKeys), rapid.IntRange(1, MaxMaxKeys)).Draw(t, "maxKeys"),
		}
		c := &p.Cadence
		if p.Strategy == Quota {
			c.Kind = rapid.SampledFrom([]escrow.Kind{escrow.Fixed, escrow.CalendarDay, escrow.CalendarWeek, escrow.CalendarMonth}).Draw(t, "kind")
		}
		if c.Kind != escrow.Fixed {
			c.OffsetMinutes = rapid.Int32Range(-840, 840).Draw(t, "offset")
		}
		switch c.Kind {
		case escrow.Fixed:
			unit := rapid.SampledFrom(units).Draw(t, "unit").ms
			c.Period = unit * escrow.Millis(rapid.Int64Range(1, int64(escrow.MaxPeriod/unit)).Draw(t, "period"))
			if p.Strategy == Quota {
				c.Anchor = escrow.Millis(rapid.Int64Range(0, int64(c.Period)-1).Draw(t, "anchor"))
			}
		case escrow.CalendarWeek:
			c.WeekStart = rapid.Int32Range(0, 6).Draw(t, "weekStart")
		}
		return p
	})
}

// anyName draws any name that is allowed, shortName one of a few.
var (
	anyName = rapid.OneOf(
		rapid.SampledFrom([]string{"null", "true", "~", "1", "<<", "a: b", "#", "- x", "*a", "&a", "!t", "'", `"`, `\`, " ", "é", "\u2028", "\ufeff", "\uffff", "\U0010ffff"}),
		rapid.StringN(1, 256, MaxNameLen),
	).Filter(func(s string) bool { return checkName(s) == nil })
	shortName = rapid.SampledFrom([]string{"a", "b", "c", "d", "e"})
)

// drawPolicies draws a valid set, sorted by name.
func drawPolicies(t *rapid.T, label string, name *rapid.Generator[string]) []Policy {
	byName := func(p Policy) string { return p.Name }
	set := rapid.SliceOfNDistinct(drawPolicy(name), 0, 5, byName).Draw(t, label)
	slices.SortFunc(set, func(a, b Policy) int { return bytes.Compare([]byte(a.Name), []byte(b.Name)) })
	return set
}

// checkRoundTrip: Parse(Format(x)) is x, and Format does not depend on the
// order.
func checkRoundTrip(t rapid.TB, policies []Policy) {
	t.Helper()
	text := Format(policies)
	again, err := Parse("again", text)
	if err != nil || !slices.Equal(again.Policies, policies) {
		t.Fatalf("policies %+v\nwritten as\n%s\nread as %+v, %v", policies, text, again.Policies, err)
	}
	backwards := slices.Clone(policies)
	slices.Reverse(backwards)
	if !bytes.Equal(Format(backwards), text) {
		t.Fatalf("the order of policies changes what is written:\n%s", text)
	}
}

func TestFormatRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		policies := drawPolicies(t, "policies", anyName)
		for _, p := range policies {
			if err := p.Validate(); err != nil {
				t.Fatalf("%+v: %v", p, err)
			}
		}
		checkRoundTrip(t, policies)
	})
}

// TestNotationsAgree: a file means the same in JSON as in YAML.
func TestNotationsAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		policies := drawPolicies(t, "policies", anyName)
		limiters := map[string]map[string]any{}
		for _, p := range policies {
			limiters[p.Name] = map[string]any{}
			for _, s := range settings(p) {
				limiters[p.Name][s.key] = s.value
				if numeral.MatchString(s.value) {
					limiters[p.Name][s.key] = json.Number(s.value)
				}
			}
		}
		text, err := json.MarshalIndent(map[string]any{"version": 1, "limiters": limiters}, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		f, err := Parse("f.json", text)
		if err != nil || !slices.Equal(f.Policies, policies) {
			t.Fatalf("policies %+v\nwritten as\n%s\nread as %+v, %v", policies, text, f.Policies, err)
		}
	})
}
