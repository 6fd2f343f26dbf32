package policy

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tkcoord/tkcoord/concurrency"
	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/strategy"
	"pgregory.net/rapid"
)

// apply does what the changes say, without looking at anything else.
func apply(current []Policy, changes []Change) []Policy {
	set := byName(current)
	for _, c := range changes {
		switch c.Kind {
		case Add, Update:
			set[c.Name] = c.New
		case Delete:
			delete(set, c.Name)
		}
	}
	var out []Policy
	for _, p := range set {
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b Policy) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// TestPlanLeadsToWanted: applying the changes to current gives wanted, and
// without prune also what only current has. Each change tells the truth about
// itself.
func TestPlanLeadsToWanted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		current := drawPolicies(t, "current", shortName)
		wanted := drawPolicies(t, "wanted", shortName)
		for i := range wanted { // unrelated policies are never nearly equal
			if j := slices.IndexFunc(current, func(p Policy) bool { return p.Name == wanted[i].Name }); j >= 0 && rapid.Bool().Draw(t, "near") {
				limit := wanted[i].Limit
				wanted[i] = current[j]
				if limit > 0 && current[j].Limit > 0 && rapid.Bool().Draw(t, "other limit") {
					wanted[i].Limit = limit
				}
			}
		}
		prune := rapid.Bool().Draw(t, "prune")
		changes := Plan(current, wanted, prune)

		want := wanted
		if !prune {
			want = apply(current, []Change{})
			for _, p := range wanted {
				want = apply(want, []Change{{Kind: Add, Name: p.Name, New: p}})
			}
		}
		if got := apply(current, changes); !slices.Equal(got, want) {
			t.Fatalf("Plan(%+v, %+v, %v)\n= %v\nleads to %+v", current, wanted, prune, changes, got)
		}
		if !slices.IsSortedFunc(changes, func(a, b Change) int { return strings.Compare(a.Name, b.Name) }) {
			t.Fatalf("changes are not sorted: %v", changes)
		}
		for _, c := range changes {
			before, existed := byName(current)[c.Name]
			after, exists := byName(want)[c.Name]
			if c.Old != before || c.New != after {
				t.Fatalf("%+v: want old %+v, new %+v", c, before, after)
			}
			kind := Unchanged
			switch {
			case !existed:
				kind = Add
			case !exists:
				kind = Delete
			case before != after:
				kind = Update
			}
			explained := kind != Update || len(c.Notes) > 0
			if c.Kind != kind || (len(c.Fields) > 0) != (kind != Unchanged) || !explained {
				t.Fatalf("%+v: want kind %s with its fields and notes", c, kind)
			}
		}
	})
}

func TestPlanReads(t *testing.T) {
	minute := escrow.Cadence{Kind: escrow.Fixed, Period: 60_000}
	monthly := escrow.Cadence{Kind: escrow.CalendarMonth, OffsetMinutes: 60}
	gcra := strategy.Params{Name: GCRA, Limit: 10, Period: 60_000, Burst: 10}
	faster := strategy.Params{Name: GCRA, Limit: 10, Period: 1000, Burst: 5}
	current := []Policy{
		{Name: "cadence", Strategy: FixedWindow, Limit: 10, Cadence: minute, MaxKeys: DefaultMaxKeys},
		{Name: "gone", Strategy: Quota, Limit: 10, Cadence: monthly, MaxKeys: DefaultMaxKeys},
		{Name: "lower", Strategy: FixedWindow, Limit: 10, Cadence: minute, MaxKeys: 100},
		{Name: "raise", Strategy: FixedWindow, Limit: 10, Cadence: minute, MaxKeys: 100},
		{Name: "same", Strategy: FixedWindow, Limit: 10, Cadence: minute, MaxKeys: DefaultMaxKeys},
		{Name: "strategy", Strategy: FixedWindow, Limit: 10, Cadence: minute, MaxKeys: DefaultMaxKeys},
		{Name: "to-bucket", Strategy: FixedWindow, Limit: 10, Cadence: minute, MaxKeys: DefaultMaxKeys},
		{Name: "to-guard", Kind: TwoTier, Strategy: GCRA, Rate: gcra, MaxKeys: DefaultMaxKeys, Tier: Tier{Mode: Leased, Batch: 5}},
		{Name: "to-lease", Strategy: GCRA, Rate: gcra, MaxKeys: DefaultMaxKeys},
		{Name: "to-meter", Kind: Guarded, MaxKeys: DefaultMaxKeys, Guard: concurrency.DefaultConfig()},
	}
	wanted := []Policy{
		{Name: "cadence", Strategy: Quota, Limit: 10, Cadence: monthly, MaxKeys: DefaultMaxKeys},
		{Name: "lower", Strategy: FixedWindow, Limit: 5, Cadence: minute, MaxKeys: 10},
		{Name: "new: one", Strategy: Quota, Limit: 7, Cadence: escrow.Cadence{Kind: escrow.CalendarWeek, WeekStart: 1}, MaxKeys: DefaultMaxKeys},
		{Name: "raise", Strategy: FixedWindow, Limit: 20, Cadence: minute, MaxKeys: 1000},
		{Name: "same", Strategy: FixedWindow, Limit: 10, Cadence: minute, MaxKeys: DefaultMaxKeys},
		{Name: "strategy", Strategy: Quota, Limit: 10, Cadence: minute, MaxKeys: DefaultMaxKeys},
		{Name: "to-bucket", Strategy: TokenBucket, Rate: strategy.Params{Name: TokenBucket, Capacity: 10, RefillPerSec: 0.5}, MaxKeys: DefaultMaxKeys},
		{Name: "to-guard", Kind: Guarded, MaxKeys: DefaultMaxKeys, Guard: concurrency.DefaultConfig()},
		{Name: "to-lease", Kind: TwoTier, Strategy: GCRA, Rate: faster, MaxKeys: DefaultMaxKeys, Tier: Tier{Mode: Leased, Batch: 5, WindowCoupled: true}},
		{Name: "to-meter", Kind: Meter, Meter: TokenBudget, Limit: 10, Cadence: minute, MaxKeys: DefaultMaxKeys},
	}
	var b strings.Builder
	for _, prune := range []bool{true, false} {
		changes := Plan(current, wanted, prune)
		fmt.Fprintf(&b, "prune %v: %s\n\n", prune, Summary(changes))
		for _, c := range changes {
			b.WriteString(c.String())
		}
		b.WriteByte('\n')
	}
	text, err := json.MarshalIndent(Plan(current, wanted, true), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/plan.want", b.String()+string(text)+"\n")
}
