package reference

import (
	"fmt"
	"testing"

	"github.com/tkcoord/tkcoord/jepsen/model"
)

// symmetric is what orbits needs of a model.
type symmetric[S fmt.Stringer] interface {
	model.Model[S]
	model.Symmetric[S]
}

// orbits visits every state of m in the plainest way there is and counts them,
// and the representatives among them.
func orbits[S fmt.Stringer](t *testing.T, m symmetric[S]) (states, representatives uint64) {
	seen, reps := map[string]bool{}, map[string]bool{}
	var queue []string
	visit := func(s S) {
		key := string(m.Encode(nil, s))
		if !seen[key] {
			seen[key] = true
			queue = append(queue, key)
		}
		m.Canonicalise(s)
		reps[string(m.Encode(nil, s))] = true
	}
	decode := func(key string) S {
		s := m.New()
		if err := m.Decode(s, []byte(key)); err != nil {
			t.Fatal(err)
		}
		return s
	}
	m.Init(visit)
	for i := 0; i < len(queue); i++ {
		for _, a := range m.Actions(nil, decode(queue[i])) {
			s := decode(queue[i])
			if err := m.Apply(s, a); err != nil {
				t.Fatal(err)
			}
			visit(s)
		}
	}
	return uint64(len(seen)), uint64(len(reps))
}

func testOrbits[S fmt.Stringer](t *testing.T, name string, m symmetric[S]) {
	states, reps := orbits(t, m)
	for _, symmetry := range []bool{false, true} {
		opt := model.DefaultOptions()
		opt.Continue, opt.Symmetry = true, symmetry
		res, err := model.Explore(t.Context(), m, opt)
		if err != nil {
			t.Fatal(err)
		}
		want := states
		if symmetry {
			want = reps
		}
		if res.Distinct != want {
			t.Errorf("%s, symmetry %v: %v, want %d distinct", name, symmetry, res, want)
		}
	}
}

func TestOrbits(t *testing.T) {
	testOrbits(t, "leasing", carryover.model(4, 8, 2, Leased))
	testOrbits(t, "returning", returning.model(3, 7, 3, Leased))
	testOrbits(t, "handoff", &Handoff{Nodes: 2, Limit: 4, K: 2, Rule: RuleHandoff, Trimmed: true})
	testOrbits(t, "refuted", &Handoff{Nodes: 2, Limit: 3, K: 2, Rule: RuleSuffix, Trimmed: true})
}
