package traffic

import (
	"fmt"
	"slices"
	"time"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/jepsen/check"
	"github.com/tkcoord/tkcoord/policy"
)

// A Workload says what the programs of a run do, and what a run with it must
// have seen to count.
type Workload struct {
	Name     string
	About    string
	Policies []policy.Policy
	Edge     EdgeLoad
	Public   *PublicLoad // nil for none
	Admin    *AdminLoad  // nil for none
	// Direct clients run with every workload, beside the edges and under a policy
	// of their own.
	Direct DirectLoad
	Needs  check.Needs
}

// CellPolicy is that of the direct clients: porcupine checks its budgets.
const CellPolicy = "cell"

// Workloads lists all workloads.
func Workloads() []Workload {
	all := []Workload{hot(), zipf(), boundaries(), returns(), limits(), churn(), strict(), debits(), slots(), mixed()}
	for i := range all {
		w := &all[i]
		w.Policies = append(w.Policies, window(CellPolicy, cellLimit, 1000))
		w.Direct = DirectLoad{Clients: 4, Policy: CellPolicy, Keys: 3, Limit: cellLimit, Rate: 12, Repeats: 0.25}
	}
	return all
}

const cellLimit = 40

// Specs returns the programs of a run with so many edges: e1 and so on, then the
// direct clients, then those of the public contract and the operator if there are
// any. common holds what all have.
func (w Workload) Specs(edges int, common Spec) []Spec {
	var all []Spec
	add := func(edit func(*Spec)) {
		s := common
		s.Client = fmt.Sprintf("e%d", len(all)+1)
		s.Identity, s.Seed = s.Client, common.Seed*100+uint64(len(all))
		edit(&s)
		all = append(all, s)
	}
	for range edges {
		add(func(s *Spec) { s.Edge = &w.Edge })
	}
	add(func(s *Spec) { s.Direct = &w.Direct })
	if w.Public != nil {
		add(func(s *Spec) { s.Public = w.Public })
	}
	if w.Admin != nil {
		add(func(s *Spec) { s.Admin = w.Admin })
	}
	return all
}

// Find returns the workload of a name.
func Find(name string) (Workload, error) {
	all := Workloads()
	i := slices.IndexFunc(all, func(w Workload) bool { return w.Name == name })
	if i < 0 {
		return Workload{}, fmt.Errorf("workload %q is not known, see tkjepsen list", name)
	}
	return all[i], nil
}

func window(name string, limit escrow.Credits, period escrow.Millis) policy.Policy {
	return policy.Policy{
		Name: name, Strategy: policy.FixedWindow, Limit: limit, MaxKeys: policy.DefaultMaxKeys,
		Cadence: escrow.Cadence{Kind: escrow.Fixed, Period: period},
	}
}

// needs raises the default needs.
func needs(edit func(*check.Needs)) check.Needs {
	n := check.DefaultNeeds()
	n.Repeats = 5
	edit(&n)
	return n
}

func hot() Workload {
	return Workload{
		Name: "hot", About: "every edge spends from the same three budgets as fast as it can, far beyond their limits",
		Policies: []policy.Policy{window("hot", 1000, 1000)},
		Edge:     EdgeLoad{Policies: []string{"hot"}, Keys: 3, Rate: 3000, Units: 3, Checks: 0.05, IdleAfter: 500 * time.Millisecond, Horizon: 300 * time.Millisecond},
		Needs:    needs(func(n *check.Needs) { n.Admissions, n.Denials, n.Windows, n.Full = 10_000, 1000, 20, 10 }),
	}
}

func zipf() Workload {
	return Workload{
		Name: "zipf", About: "many budgets, a few of them hot: some run dry, most are touched now and then",
		Policies: []policy.Policy{window("zipf", 300, 1000)},
		Edge:     EdgeLoad{Policies: []string{"zipf"}, Keys: 300, Zipf: 1.2, Rate: 1500, Units: 2, Checks: 0.1, IdleAfter: 500 * time.Millisecond, Horizon: 500 * time.Millisecond},
		Needs:    needs(func(n *check.Needs) { n.Admissions, n.Denials, n.Windows, n.Full = 5000, 100, 200, 5 }),
	}
}

func boundaries() Workload {
	return Workload{
		Name: "boundaries", About: "windows of 200 ms: most of what can go wrong happens where one ends and the next begins",
		Policies: []policy.Policy{window("short", 200, 200)},
		Edge:     EdgeLoad{Policies: []string{"short"}, Keys: 4, Rate: 2500, Units: 1, Checks: 0.1, IdleAfter: 200 * time.Millisecond, Horizon: 100 * time.Millisecond},
		Needs:    needs(func(n *check.Needs) { n.Admissions, n.Denials, n.Windows, n.Full = 5000, 100, 100, 20 }),
	}
}

func returns() Workload {
	return Workload{
		Name: "returns", About: "edges work in turns and give back what they did not spend, within windows long enough for others to spend it",
		Policies: []policy.Policy{window("bursts", 2000, 3000)},
		Edge: EdgeLoad{
			Policies: []string{"bursts"}, Keys: 4, Rate: 2000, Units: 5, Checks: 0.1, On: 250 * time.Millisecond, Off: 350 * time.Millisecond,
			IdleAfter: 60 * time.Millisecond, Horizon: 400 * time.Millisecond,
		},
		Needs: needs(func(n *check.Needs) { n.Admissions, n.Denials, n.Windows, n.Full = 5000, 100, 8, 4 }),
	}
}

func limits() Workload {
	base := []policy.Policy{window("moving", 1500, 1500)}
	return Workload{
		Name: "limits", About: "an operator raises and lowers limits in the middle of windows that are being spent",
		Policies: base,
		Edge:     EdgeLoad{Policies: []string{"moving"}, Keys: 3, Rate: 2500, Units: 3, Checks: 0.05, IdleAfter: 300 * time.Millisecond, Horizon: 300 * time.Millisecond},
		Admin:    &AdminLoad{Every: 300 * time.Millisecond, Policies: base},
		Needs:    needs(func(n *check.Needs) { n.Admissions, n.Denials, n.Windows, n.Full, n.Changes = 8000, 500, 10, 5, 15 }),
	}
}

func churn() Workload {
	base := []policy.Policy{window("one", 400, 500), window("two", 800, 1000), window("three", 200, 250)}
	return Workload{
		Name: "churn", About: "policies are deleted, made anew and given other windows while edges spend under them",
		Policies: base,
		Edge:     EdgeLoad{Policies: []string{"one", "two", "three"}, Keys: 3, Rate: 2000, Units: 2, Checks: 0.1, IdleAfter: 300 * time.Millisecond, Horizon: 200 * time.Millisecond},
		Admin:    &AdminLoad{Every: 250 * time.Millisecond, Policies: base, Churn: true},
		Needs:    needs(func(n *check.Needs) { n.Admissions, n.Denials, n.Windows, n.Full, n.Changes = 3000, 100, 30, 5, 20 }),
	}
}
