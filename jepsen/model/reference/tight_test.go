package reference

import (
	"errors"
	"slices"
	"testing"

	"github.com/tkcoord/tkcoord/jepsen/model"
)

// kinds returns the names of the actions of a trace.
func kinds(m *Leasing, tr *model.Trace) []string {
	var names []string
	for _, a := range tr.Path.Actions {
		names = append(names, m.Kinds()[a.Kind()])
	}
	return names
}

// The bounds are tight: one less is refuted. The exception is a pool that is no
// multiple of the batch, which cannot be leased whole unless nodes return credits.
func TestBoundsAreTight(t *testing.T) {
	for _, tt := range []struct {
		nodes, limit, batch int
		v                   variant
		tight               bool
	}{
		{2, 4, 2, carryover, true}, {2, 4, 2, coupled, true}, {2, 4, 2, returning, true},
		{3, 6, 3, carryover, true}, {3, 6, 3, coupled, true}, {3, 6, 3, returning, true},
		{5, 10, 2, carryover, true}, {5, 10, 2, coupled, true}, {5, 10, 2, returning, true},
		{3, 5, 1, carryover, true}, {3, 5, 1, coupled, true},
		{4, 8, 4, carryover, true}, {4, 8, 4, coupled, true},
		{3, 7, 3, carryover, false}, {3, 7, 3, coupled, false}, {3, 7, 3, returning, true},
		{3, 7, 3, variant{giveBack: true}, true},
	} {
		m := tt.v.model(tt.nodes, tt.limit, tt.batch, Leased)
		m.Tighten = 1
		res, err := model.Explore(t.Context(), m, model.DefaultOptions())
		if err != nil {
			t.Fatal(err)
		}
		if got := res.Stop == model.StopViolation; got != tt.tight {
			t.Errorf("%d nodes, limit %d, batch %d, %v: %v, want refuted: %v",
				tt.nodes, tt.limit, tt.batch, tt.v, res, tt.tight)
		}
	}
}

// "Lease(1), Roll, Lease(2), Roll, Serve(1), Serve(2), Lease, Serve, Lease, Serve
// → admitted 6" is published as the shortest trace. The second Roll is enough,
// and depth 10 of the whole system leaves room for nine steps only.
func TestTightnessTrace(t *testing.T) {
	m := &Leasing{Nodes: 2, Limit: 4, Batch: 2, Tighten: 1, Words: Leased}
	published := model.Path{Actions: []model.Action{
		model.Act(lease, 0), model.Act(roll, 0), model.Act(lease, 1), model.Act(roll, 0),
		model.Act(serve, 0), model.Act(serve, 1),
		model.Act(lease, 0), model.Act(serve, 0), model.Act(lease, 1), model.Act(serve, 1),
	}}
	tr, err := model.Replay(m, published)
	if err != nil || len(tr.Path.Actions) != 10 {
		t.Fatalf("the published trace: %v\n%v", err, tr)
	}
	res, err := model.Explore(t.Context(), m, model.DefaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	// Both nodes enter the window with a credit and lease twice from its pool.
	if got, want := len(res.Violation.Path.Actions), 9; got != want {
		t.Errorf("%d steps, want %d:\n%v", got, want, res.Violation)
	}
	got := kinds(m, res.Violation)
	if want := []string{"Lease", "Lease", "Roll"}; !slices.Equal(got[:3], want) {
		t.Errorf("begins with %v, want %v", got[:3], want)
	}
	got = slices.Sorted(slices.Values(got[3:]))
	if want := []string{"Lease", "Lease", "Serve", "Serve", "Serve", "Serve"}; !slices.Equal(got, want) {
		t.Errorf("in the second window %v, want %v", got, want)
	}
}

// "a grant issued but not yet acknowledged may still land", hence the maximum of
// all grants from the acknowledged one on: with grants 4, 6, 3 and the first
// acknowledged, the reserve is 6.
func TestReserve(t *testing.T) {
	n := handoffNode{live: true, grants: []int{4, 6, 3}, applied: 1, ack: 1, inflight: 2, reported: 2}
	busy := handoffNode{live: true, grants: []int{4, 1}, applied: 2, ack: 2, inflight: 3, reported: 3}
	for _, tt := range []struct {
		rule             Rule
		issued, occupied int // what is reserved for n and for busy
	}{
		{RuleHandoff, 6, 3},
		{RuleLast, 4, 3},
		{RuleSuffix, 6, 1},
	} {
		if got := tt.rule.reserve(&n); got != tt.issued {
			t.Errorf("%s reserves %d for grants 4, 6, 3 with 4 acknowledged, want %d", tt.rule, got, tt.issued)
		}
		if got := tt.rule.reserve(&busy); got != tt.occupied {
			t.Errorf("%s reserves %d for share 1 and 3 in use, want %d", tt.rule, got, tt.occupied)
		}
	}
}

func TestValidate(t *testing.T) {
	for name, err := range map[string]error{
		"nodes":   (&Leasing{Nodes: 0, Limit: 1, Batch: 1}).Validate(),
		"limit":   (&Leasing{Nodes: 1, Limit: 0, Batch: 1}).Validate(),
		"batch":   (&Leasing{Nodes: 1, Limit: 1, Batch: 0}).Validate(),
		"tighten": (&Leasing{Nodes: 1, Limit: 1, Batch: 1, Tighten: -1}).Validate(),
		"fleet":   (&Heartbeat{Nodes: 17, Limit: 1, Hold: HoldNone, Target: EqualSplit}).Validate(),
		"hold":    (&Heartbeat{Nodes: 1, Limit: 1, Target: EqualSplit}).Validate(),
		"target":  (&Heartbeat{Nodes: 1, Limit: 1, Hold: HoldNone}).Validate(),
		"k":       (&Handoff{Nodes: 1, Limit: 1, K: 256, Rule: RuleLast}).Validate(),
		"rule":    (&Handoff{Nodes: 1, Limit: 1, K: 1}).Validate(),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if err := errors.Join(
		(&Leasing{Nodes: 1, Limit: 1, Batch: 1}).Validate(),
		(&Heartbeat{Nodes: 1, Limit: 1, Hold: HoldShare, Target: DemandProportional}).Validate(),
		(&Handoff{Nodes: 1, Limit: 1, K: 1, Rule: RuleSuffix}).Validate(),
	); err != nil {
		t.Error(err)
	}
}
