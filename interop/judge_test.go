package main

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/tkcoord/tkcoord/policy"
)

// at is an instant in the middle of every window of the tests.
const at = 1_700_001_234_567

// TestTable reads what the suites are given: every policy of the table and of the
// lanes is in the file, and every client's lanes exist.
func TestTable(t *testing.T) {
	text, err := os.ReadFile("policies.yaml")
	if err != nil {
		t.Fatal(err)
	}
	f, err := policy.Parse("policies.yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{"": true, "nobody": true, "no\"body": true}
	for _, p := range f.Policies {
		known[p.Name] = true
	}
	for _, c := range clients {
		for _, name := range c.lanes {
			if !slices.ContainsFunc(lanes, func(l lane) bool { return l.Name == name && known[l.Policy] }) {
				t.Errorf("%s has the lane %q, which does not exist", c.name, name)
			}
		}
		if c.noCases {
			continue
		}
		all, err := casesFor(c.name, c.lacks)
		if err != nil {
			t.Fatal(err)
		}
		for _, tc := range all {
			if len(tc.Steps) == 0 || tc.Steps[len(tc.Steps)-1].Op == "await" {
				t.Errorf("%s: the last step must be a call", tc.Name)
			}
			for _, s := range tc.Steps {
				if !known[s.Policy] {
					t.Errorf("%s: no policy %q", tc.Name, s.Policy)
				}
			}
		}
	}
}

func TestInstants(t *testing.T) {
	const hour = 3_600_000
	for _, tc := range []struct {
		name string
		i    instant
		want int64
	}{
		{"window", instant{Window: hour}, 1_700_002_800_000},
		{"window with an anchor", instant{Window: hour, Anchor: 500}, 1_700_002_800_500},
		{"anchor that is just ahead", instant{Window: hour, Anchor: 2_034_568}, at + 1},
		{"anchor that is now", instant{Window: hour, Anchor: 2_034_567}, at + hour},
		{"day", instant{Calendar: "day"}, 1_700_006_400_000},
		{"week from Sunday", instant{Calendar: "week"}, 1_700_352_000_000},
		{"month", instant{Calendar: "month"}, 1_701_388_800_000},
		{"month an hour ahead", instant{Calendar: "month", Offset: 60}, 1_701_385_200_000},
	} {
		if got := tc.i.end(at); got != tc.want {
			t.Errorf("%s: end(%d) = %d, want %d", tc.name, int64(at), got, tc.want)
		}
	}
}

// said is a check that was answered.
func said(client string, begin, end int64, allowed bool, left int64) *call {
	return &call{
		client: client, Lane: "l", Op: "check", Policy: "shared-window", Amount: 1, Begin: begin, End: end,
		Reply: &reply{Decision: &decision{Allowed: allowed, Limit: 10, Left: left, Reset: 77}},
	}
}

func lost(begin, end int64) *call {
	return &call{client: "x", Lane: "l", Op: "check", Policy: "shared-window", Amount: 1, Begin: begin, End: end, Error: &failure{Code: unavailable}}
}

// TestBudget judges calls on one shared budget of 3.
func TestBudget(t *testing.T) {
	other := said("b", 5, 6, true, 1)
	other.Reply.Decision.Reset = 78
	for _, tc := range []struct {
		name  string
		calls []*call
		want  string // in what is wrong; empty: nothing is
	}{
		{"counted down", []*call{said("a", 1, 2, true, 2), said("b", 3, 4, true, 1), said("a", 5, 6, true, 0), said("b", 7, 8, false, 0)}, ""},
		{"at the same time, in any order", []*call{said("a", 1, 9, true, 0), said("b", 2, 8, true, 1), said("c", 3, 7, true, 2)}, ""},
		{"one unknown", []*call{said("a", 1, 2, true, 2), lost(3, 4), said("a", 5, 6, true, 0), said("b", 7, 8, false, 0)}, ""},
		{"too many", []*call{said("a", 1, 2, true, 2), said("a", 3, 4, true, 1), said("a", 5, 6, true, 0), said("a", 7, 8, true, -1)}, "1 more than the limit"},
		{"the same unit twice", []*call{said("a", 1, 9, true, 2), said("b", 2, 8, true, 2)}, "both told that 2"},
		{"forgotten after a failover", []*call{said("a", 1, 2, true, 1), said("b", 3, 4, true, 2)}, "consumption was forgotten"},
		{"forgotten, seen in a denial", []*call{said("a", 1, 2, true, 0), said("b", 3, 4, false, 2)}, "consumption was forgotten"},
		{"denied with some left", []*call{said("a", 1, 2, false, 2), said("b", 1, 2, true, 2)}, "denied 1 with 2 left"},
		{"denied too early", []*call{said("a", 1, 2, true, 2), said("b", 3, 4, false, 0)}, "acknowledged capacity was lost"},
		{"two windows", []*call{said("a", 1, 2, true, 2), other}, "2 windows"},
		{"an error that is none of the cluster's", []*call{{client: "a", Policy: "shared-window", Error: &failure{Code: "INTERNAL", Text: "oh"}}}, "INTERNAL: oh"},
	} {
		y := &tally{policy: "shared-window", limit: 3}
		y.budget(tc.calls, true)
		expect(t, tc.name, strings.Join(y.wrong, "; "), tc.want)
	}
}

func expect(t *testing.T, name, got, want string) {
	t.Helper()
	if (got == "") != (want == "") || !strings.Contains(got, want) {
		t.Errorf("%s: wrong is %q, want %q in it", name, got, want)
	}
}

// held is a slot that was taken; freed is its release.
func held(begin, end int64, id string) *call {
	return &call{Op: "hold", Begin: begin, End: end, Reply: &reply{Decision: &decision{Allowed: true, Reset: 1}, Lease: id}}
}

func freed(begin int64, id string) *call {
	return &call{Op: "release", Key: id, Begin: begin, Reply: &reply{}}
}

// TestSlots judges admissions to one slot.
func TestSlots(t *testing.T) {
	const ms = 1_000_000
	for _, tc := range []struct {
		name  string
		calls []*call
		want  string
	}{
		{"one after the other", []*call{held(1, 2, "1-a"), freed(3, "1-a"), held(4, 5, "2-b"), freed(6, "2-b")}, ""},
		{"while the release is on its way", []*call{held(1, 2, "1-a"), held(3, 9, "2-b"), freed(8, "1-a")}, ""},
		{"after its end", []*call{held(0, 1, "1-a"), held(2000*ms, 2001*ms, "2-b")}, ""},
		{"two at once", []*call{held(1, 2, "1-a"), held(3, 4, "2-b"), freed(5, "1-a")}, "2 slots are held"},
		{"two at once, never released", []*call{held(1, 2, "1-a"), held(1800*ms, 1801*ms, "2-b")}, "2 slots are held"},
		{"the token went back", []*call{held(1, 2, "2-a"), freed(3, "2-a"), held(4, 5, "1-b"), freed(6, "1-b")}, "fencing token 1 after 2"},
		{"the token came twice", []*call{held(1, 2, "a-a"), freed(3, "a-a"), held(4, 5, "a-b"), freed(6, "a-b")}, "fencing token a after a"},
		{"no token", []*call{held(1, 2, "17"), freed(3, "17"), held(4, 5, "zz"), freed(6, "zz")}, "fencing token 0"},
	} {
		y := &tally{policy: "shared-slots", limit: 1}
		y.slots(tc.calls)
		expect(t, tc.name, strings.Join(y.wrong, "; "), tc.want)
	}
}

// TestPass judges one pass through a case of two steps.
func TestPass(t *testing.T) {
	var all []testCase
	err := strict([]byte(`[{"name": "x", "slots": true, "within": 1000, "steps": [
		{"op": "check", "want": {"allowed": true, "limit": 5, "remaining": 4, "reset": {"window": 3600000}, "retry": 0}},
		{"index": 1, "op": "check", "want": {"allowed": false, "limit": 5, "remaining": 4, "reset": {"step": 0}, "retry": {"until": {"window": 3600000}}}}]}]`), &all)
	if err != nil {
		t.Fatal(err)
	}
	const end = 1_700_002_800_000
	good := func() []*call {
		return []*call{
			{Begin: 1, End: 2, Wall: [2]int64{at, at}, Reply: &reply{Decision: &decision{true, 5, 4, end, 0}}},
			{Step: 1, Begin: 3, End: 4, Wall: [2]int64{at, at}, Reply: &reply{Decision: &decision{false, 5, 4, end, end - at}}},
		}
	}
	late := outage{begin: -5, end: 1 - slotTime, back: never}
	for _, tc := range []struct {
		name    string
		change  func(c []*call)
		outages []outage
		want    string
		is      error
	}{
		{name: "as wanted"},
		{name: "allowed", change: func(c []*call) { c[1].Reply.Decision.Allowed = true }, want: "allowed = true, want false"},
		{name: "limit", change: func(c []*call) { c[0].Reply.Decision.Limit = 6 }, want: "limit = 6, want 5"},
		{name: "remaining", change: func(c []*call) { c[0].Reply.Decision.Left = 3 }, want: "remaining = 3, want 4"},
		{name: "reset", change: func(c []*call) { c[0].Reply.Decision.Reset++ }, want: "reset = 1700002800001, want 1700002800000"},
		{name: "reset of the other step", change: func(c []*call) { c[1].Reply.Decision.Reset-- }, want: "step 1"},
		{name: "retry", change: func(c []*call) { c[1].Reply.Decision.Retry = 60_000 }, want: "retry = 60000"},
		{name: "retry of an admission", change: func(c []*call) { c[0].Reply.Decision.Retry = 1 }, want: "retry = 1, want 0"},
		{name: "an error", change: func(c []*call) { c[0].Reply, c[0].Error = nil, &failure{"NOT_FOUND", "who?"} }, want: "NOT_FOUND: who?"},
		{name: "no answer", change: func(c []*call) { c[0].Reply, c[0].Error = nil, &failure{unavailable, ""} }, is: errInterrupted},
		{name: "a made-up denial", change: func(c []*call) { c[0].Reply.Decision = &decision{Limit: 5} }, is: errInterrupted},
		{name: "too slow", change: func(c []*call) { c[1].End = 2_000_000_000 }, is: errUnsettled},
		{name: "at the end of a window", change: func(c []*call) { c[0].Wall[1] = end - 100 }, is: errUnsettled},
		{name: "slots may be left", outages: []outage{late}, is: errInterrupted},
		{name: "slots have ended", outages: []outage{{begin: -5, end: late.end - 1, back: never}}},
	} {
		calls := good()
		if tc.change != nil {
			tc.change(calls)
		}
		err := all[0].judgePass(calls, tc.outages)
		switch {
		case tc.is != nil && !errors.Is(err, tc.is):
			t.Errorf("%s: %v, want %v", tc.name, err, tc.is)
		case tc.is == nil && err == nil && tc.want != "":
			t.Errorf("%s: nothing wrong, want %q", tc.name, tc.want)
		case tc.is == nil && err != nil && (tc.want == "" || !strings.Contains(err.Error(), tc.want)):
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		}
	}
}
