package policy

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"

	"github.com/tkcoord/tkcoord/concurrency"
	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/strategy"
	"pgregory.net/rapid"
)

// drawPolicy draws a valid policy.
func drawPolicy(name *rapid.Generator[string]) *rapid.Generator[Policy] {
	return rapid.Custom(func(t *rapid.T) Policy {
		p := Policy{
			Name:    name.Draw(t, "name"),
			Kind:    Kind(rapid.IntRange(int(Plain), int(Guarded)).Draw(t, "kind")),
			MaxKeys: rapid.OneOf(rapid.Just(DefaultMaxKeys), rapid.IntRange(1, MaxMaxKeys)).Draw(t, "maxKeys"),
		}
		switch p.Kind {
		case Meter:
			p.Meter = rapid.SampledFrom([]MeterName{TokenBudget, FleetBudget}).Draw(t, "meter")
			drawLedger(t, &p, FixedWindow)
			p.Strategy = ""
		case Federated:
			drawLedger(t, &p, FixedWindow)
			p.Strategy = rapid.SampledFrom([]Strategy{FixedWindow, SlidingWindow, Quota}).Draw(t, "strategy")
			p.Batch = rapid.OneOf(rapid.Just(defaultFederatedBatch), rapid.IntRange(1, int(escrow.MaxCredits))).Draw(t, "batch")
		case Guarded:
			p.Guard = drawGuard(t)
			if rapid.Bool().Draw(t, "unified") {
				drawStrategy(t, &p)
			}
		case TwoTier:
			p.Tier = drawTier(t)
			drawStrategy(t, &p)
		default:
			drawStrategy(t, &p)
		}
		return p
	})
}

// drawStrategy draws any strategy with its parameters.
func drawStrategy(t *rapid.T, p *Policy) {
	name := Strategy(rapid.SampledFrom(strategies).Draw(t, "strategy"))
	rolling := name == Quota && rapid.Bool().Draw(t, "rolling")
	if (name == FixedWindow || name == Quota) && !rolling {
		drawLedger(t, p, name)
		return
	}
	p.Strategy = name
	positive := rapid.OneOf(rapid.Float64Range(1e-3, 1e6), rapid.Map(rapid.IntRange(1, 1_000_000), func(n int) float64 { return float64(n) }))
	r := strategy.Params{Name: name, Rolling: rolling}
	if name == TokenBucket {
		r.Capacity, r.RefillPerSec = positive.Draw(t, "capacity"), positive.Draw(t, "refill")
	} else {
		r.Limit, r.Period = positive.Draw(t, "limit"), strategy.MaxBuckets+positive.Draw(t, "period")
	}
	if name == GCRA {
		r.Burst = rapid.OneOf(rapid.Just(max(1, r.Limit)), rapid.Float64Range(1, 1e6)).Draw(t, "burst")
	}
	if name == SlidingWindow || rolling {
		r.Buckets = rapid.OneOf(rapid.Just(defaultBuckets), rapid.IntRange(1, strategy.MaxBuckets)).Draw(t, "buckets")
	}
	p.Rate = r
}

// drawLedger draws a limit and windows.
func drawLedger(t *rapid.T, p *Policy, name Strategy) {
	p.Strategy = name
	p.Limit = escrow.Credits(rapid.Int64Range(1, int64(escrow.MaxCredits)).Draw(t, "limit"))
	c := &p.Cadence
	c.Kind = escrow.Fixed
	if name == Quota {
		c.Kind = rapid.SampledFrom([]escrow.Kind{escrow.Fixed, escrow.CalendarDay, escrow.CalendarWeek, escrow.CalendarMonth}).Draw(t, "kind")
	}
	if c.Kind != escrow.Fixed {
		c.OffsetMinutes = rapid.Int32Range(-840, 840).Draw(t, "offset")
	}
	switch c.Kind {
	case escrow.Fixed:
		unit := rapid.SampledFrom(units).Draw(t, "unit").ms
		c.Period = unit * escrow.Millis(rapid.Int64Range(1, int64(escrow.MaxPeriod/unit)).Draw(t, "period"))
		if name == Quota {
			c.Anchor = escrow.Millis(rapid.Int64Range(0, int64(c.Period)-1).Draw(t, "anchor"))
		}
	case escrow.CalendarWeek:
		c.WeekStart = rapid.Int32Range(0, 6).Draw(t, "weekStart")
	}
}

func drawTier(t *rapid.T) Tier {
	mode := rapid.SampledFrom([]Mode{Strict, CachedDeny, Leased}).Draw(t, "mode")
	if mode != Leased {
		return Tier{Mode: mode}
	}
	return Tier{
		Mode: mode, Batch: rapid.IntRange(1, int(escrow.MaxCredits)).Draw(t, "batch"),
		LowWater:        rapid.Float64Range(0, float64(escrow.MaxCredits)).Draw(t, "lowWater"),
		WindowCoupled:   rapid.Bool().Draw(t, "coupled"),
		ReturnIdleAfter: escrow.Millis(rapid.Int64Range(0, int64(escrow.MaxPeriod)).Draw(t, "idle")),
	}
}

func drawGuard(t *rapid.T) concurrency.Config {
	c := concurrency.DefaultConfig()
	if rapid.Bool().Draw(t, "defaults") {
		return c
	}
	c.MinLimit = rapid.IntRange(1, concurrency.MaxMaxLimit).Draw(t, "min")
	c.MaxLimit = rapid.IntRange(c.MinLimit, concurrency.MaxMaxLimit).Draw(t, "max")
	c.InitialLimit = rapid.IntRange(c.MinLimit, c.MaxLimit).Draw(t, "initial")
	c.Algorithm = rapid.SampledFrom([]concurrency.Algorithm{concurrency.Gradient2, concurrency.AIMD}).Draw(t, "algorithm")
	c.RTTWindow = rapid.IntRange(1, concurrency.MaxRTTWindow).Draw(t, "window")
	c.Smoothing = rapid.Float64Range(1e-300, 1).Draw(t, "smoothing")
	c.Tolerance = rapid.Float64Range(1, 1e300).Draw(t, "tolerance")
	c.BackoffRatio = rapid.Float64Range(0.5, 0.999).Draw(t, "backoff")
	return c
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
	if err != nil || !slices.Equal(again.Policies, policies) || len(again.Warnings.List) > 0 {
		t.Fatalf("policies %+v\nwritten as\n%s\nread as %+v, %v, with warnings %v", policies, text, again.Policies, err, again.Warnings.List)
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
				m := limiters[p.Name]
				if s.block != "" {
					if m[s.block] == nil {
						m[s.block] = map[string]any{}
					}
					m = m[s.block].(map[string]any)
				}
				m[s.key] = s.value
				switch {
				case numeral.MatchString(s.value):
					m[s.key] = json.Number(s.value)
				case s.value == "true" || s.value == "false":
					m[s.key] = s.value == "true"
				}
			}
		}
		text, err := json.MarshalIndent(map[string]any{"version": 2, "limiters": limiters}, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		f, err := Parse("f.json", text)
		if err != nil || !slices.Equal(f.Policies, policies) {
			t.Fatalf("policies %+v\nwritten as\n%s\nread as %+v, %v", policies, text, f.Policies, err)
		}
	})
}
