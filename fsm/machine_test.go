package fsm

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/policy"
)

// A journal drives a machine entry by entry.
type journal struct {
	t     testing.TB
	m     *Machine
	index uint64
	now   clock.Millis
}

// newJournal starts a cluster with policies, which are made at instant 0. When
// the test ends its invariants must hold.
func newJournal(t testing.TB, s Settings, policies ...policy.Policy) *journal {
	t.Helper()
	j := &journal{t: t, m: New()}
	j.apply(Genesis{ClusterID: "test", Settings: s})
	if len(policies) > 0 {
		j.apply(Policies{Put: policies})
	}
	t.Cleanup(func() {
		if err := j.m.Check(); err != nil && !t.Failed() {
			t.Errorf("at the end: %v", err)
		}
	})
	return j
}

// apply applies one entry at j.now.
func (j *journal) apply(cmds ...Command) Outcome {
	j.t.Helper()
	var b Batch
	for _, c := range cmds {
		b.Add(c)
	}
	j.index++
	out, err := j.m.Apply(j.index, b.Seal(j.now, 1), true)
	if err != nil {
		j.t.Fatal(err)
	}
	return out
}

// fixed returns a policy with windows of one length.
func fixed(name string, limit escrow.Credits, period clock.Millis) policy.Policy {
	return policy.Policy{
		Name: name, Strategy: policy.FixedWindow, Limit: limit, MaxKeys: policy.MaxMaxKeys,
		Cadence: escrow.Cadence{Kind: escrow.Fixed, Period: period},
	}
}

// TestSweepKeepsUp: short windows with ever new keys. An entry once swept a fixed
// number of records however many it brought, so records of ended windows piled
// up until the bound on budgets, and then new keys were refused for nothing.
func TestSweepKeepsUp(t *testing.T) {
	const perEntry, live = 2000, 10 * 2000
	j := newJournal(t, DefaultSettings(), fixed("api", 10, 100))
	x := &Exchange{EdgeID: "e", Incarnation: 1, Seq: 1, Asks: make([]Ask, perEntry)}
	most := 0
	for n := range 100 {
		for i := range x.Asks {
			x.Asks[i] = Ask{Policy: "api", Key: fmt.Sprintf("key-%d-%d", n, i), Need: 1, Want: 1}
		}
		j.apply(x)
		j.now += 10
		budgets, _ := j.m.Sizes()
		most = max(most, budgets)
	}
	if most > 3*live {
		t.Errorf("%d records while at most %d windows run", most, live)
	}
}

// TestSweepRecoversFromBound: keys refused at a bound make the sweep work for
// the room that ended windows take.
func TestSweepRecoversFromBound(t *testing.T) {
	s := DefaultSettings()
	s.MaxBudgets = 50_000
	j := newJournal(t, s, fixed("api", 10, 100))
	ask := func(window, n int) (refused int) {
		x := &Exchange{EdgeID: "e", Incarnation: 1, Seq: uint64(j.index), Asks: make([]Ask, n)}
		for i := range x.Asks {
			x.Asks[i] = Ask{Policy: "api", Key: fmt.Sprintf("key-%d-%d", window, i), Need: 1, Want: 1}
		}
		for _, a := range j.apply(x).Results[0].Answers {
			if errors.Is(a.Err, ErrExhausted) {
				refused++
			}
		}
		return refused
	}
	for w := range 25 {
		ask(w, 2000)
	}
	j.now = 100 // all of them have ended
	entries := 0
	for ask(100+entries, 2000) > 0 && entries < 100 {
		entries++
	}
	if entries > 2 {
		t.Errorf("keys were refused for %d entries after all windows had ended", entries)
	}
}

func TestAlarmsAreBounded(t *testing.T) {
	j := newJournal(t, DefaultSettings())
	for i := range maxAlarms {
		if out := j.apply(Alarm{Kind: "clock", Node: fmt.Sprint(i)}); out.Results[0].Err != nil || !out.AlarmsChanged {
			t.Fatalf("alarm %d: %+v", i, out)
		}
	}
	out := j.apply(Alarm{Kind: "clock", Node: "one more"})
	if err := out.Results[0].Err; !errors.Is(err, ErrExhausted) || !strings.Contains(err.Error(), "alarm: ") {
		t.Errorf("one alarm more: %v, want ErrExhausted", err)
	}
	if out.AlarmsChanged || len(j.m.Alarms()) != maxAlarms {
		t.Errorf("a refused alarm changed something: %+v", out)
	}
	if out := j.apply(Alarm{Kind: "clock", Node: "7", Detail: "news"}); out.Results[0].Err != nil || j.m.Alarms()[7].Detail != "news" {
		t.Errorf("an alarm in force was not renewed at the bound: %+v", out)
	}
}

// TestPoliciesAreBounded: deleted policies count while their windows live.
func TestPoliciesAreBounded(t *testing.T) {
	j := newJournal(t, DefaultSettings())
	all := Policies{Put: make([]policy.Policy, policy.MaxPolicies)}
	for i := range all.Put {
		all.Put[i] = fixed(fmt.Sprint("p", i), 1, 1000)
	}
	j.apply(all)
	j.apply(&Exchange{EdgeID: "e", Incarnation: 1, Seq: 1, Asks: []Ask{{Policy: "p7", Key: "k", Need: 1, Want: 1}}})
	out := j.apply(Policies{Put: []policy.Policy{fixed("more", 1, 1000)}, Delete: []string{"p7"}})
	if !errors.Is(out.Results[0].Err, ErrExhausted) {
		t.Errorf("one policy more: %v, want ErrExhausted", out.Results[0].Err)
	}
	if out := j.apply(Policies{Put: []policy.Policy{fixed("p8", 2, 1000)}, Delete: []string{"p7"}}); out.Results[0].Err != nil {
		t.Errorf("a change within the bound: %v", out.Results[0].Err)
	}
	if _, all := j.m.Policies(); len(all) != policy.MaxPolicies-1 {
		t.Errorf("%d policies are in force, want %d", len(all), policy.MaxPolicies-1)
	}
}
