package traffic

import (
	"time"

	"github.com/tkcoord/tkcoord/jepsen/check"
	"github.com/tkcoord/tkcoord/jepsen/history"
	"github.com/tkcoord/tkcoord/policy"
)

// parsed returns the policies of a file.
func parsed(text string) []policy.Policy {
	f, err := policy.Parse("workload", []byte(text))
	if err != nil {
		panic(err) // NB: a constant of this package
	}
	return f.Policies
}

// aside is what edges do beside the public clients where these matter.
func aside() EdgeLoad {
	return EdgeLoad{Policies: []string{"aside"}, Keys: 2, Rate: 400, Units: 3, Checks: 0.05, IdleAfter: 500 * time.Millisecond, Horizon: 300 * time.Millisecond}
}

func publicNeeds(edit func(*check.Needs)) check.Needs {
	return needs(func(n *check.Needs) {
		n.Admissions, n.Denials, n.Windows, n.Full = 1000, 50, 8, 4
		edit(n)
	})
}

func strict() Workload {
	w := Workload{
		Name: "strict", About: "strict checks, of one key and of many, and peeks of every strategy, on a few keys at their limits",
		Policies: append(parsed(`version: 2
limiters:
  even: { strategy: gcra, limit: 20, period: 1s, burst: 6 }
  bucket: { strategy: tokenBucket, capacity: 8, refillPerSec: 20 }
  fixed: { strategy: fixedWindow, limit: 12, period: 500ms }
  sliding: { strategy: slidingWindow, limit: 20, period: 1s, buckets: 10 }
  log: { strategy: slidingWindowLog, limit: 20, period: 1s }
`), window("aside", 300, 1000)),
		Edge:   aside(),
		Public: &PublicLoad{Clients: 8, Rate: 20, Keys: 2},
		Needs:  publicNeeds(func(n *check.Needs) { n.Public, n.PublicDenied, n.PublicLinear = 800, 100, 800 }),
	}
	for _, name := range []string{"even", "bucket", "fixed", "sliding", "log"} {
		w.Public.Calls = append(w.Public.Calls,
			PublicCall{history.Check, name, 4}, PublicCall{history.Check, name, 4}, PublicCall{history.CheckMany, name, 2}, PublicCall{history.Peek, name, 1})
	}
	return w
}

func debits() Workload {
	return Workload{
		Name: "debits", About: "tokens are debited from meters that run dry in every window",
		Policies: append(parsed(`version: 2
limiters:
  fleet: { fleetBudget: { budget: 150, windowMs: 700 } }
  tokens: { tokenBudget: { budget: 100, windowMs: 1000 } }
`), window("aside", 300, 1000)),
		Edge:   aside(),
		Public: &PublicLoad{Clients: 8, Rate: 20, Keys: 2, Calls: []PublicCall{{history.Debit, "fleet", 40}, {history.Debit, "tokens", 15}}},
		Needs:  publicNeeds(func(n *check.Needs) { n.Public, n.PublicDenied = 800, 50 }),
	}
}

func slots() Workload {
	return Workload{
		Name: "slots", About: "holders take, keep, release and abandon slots: of a fixed ceiling, of one that adapts, and of one with a rate beside it",
		Policies: append(parsed(`version: 2
limiters:
  narrow: { concurrency: { initialLimit: 3, minLimit: 3, maxLimit: 3 } }
  adaptive: { concurrency: { initialLimit: 5, minLimit: 2, maxLimit: 9 } }
  both: { strategy: gcra, limit: 10, period: 1s, burst: 2, concurrency: { initialLimit: 4, minLimit: 4, maxLimit: 4 } }
`), window("aside", 300, 1000)),
		Edge:   aside(),
		Public: &PublicLoad{Holders: 20, Keys: 2, Guards: []string{"narrow", "adaptive", "both"}},
		Needs:  publicNeeds(func(n *check.Needs) { n.Public, n.PublicDenied, n.Slots = 500, 50, 40 }),
	}
}

func mixed() Workload {
	return Workload{
		Name: "mixed", About: "edges, strict checks, nodes with leases of their own and reservations spend from the same budgets; debits and slots beside them",
		Policies: parsed(`version: 2
limiters:
  shared: { strategy: fixedWindow, limit: 300, period: 1s }
  fleet: { strategy: fixedWindow, limit: 200, period: 800ms, federated: { batch: 10 } }
  leased: { strategy: fixedWindow, limit: 200, period: 1s, twoTier: { batch: 8 } }
  paced: { strategy: gcra, limit: 40, period: 1s, burst: 20, twoTier: { batch: 5 } }
  meter: { fleetBudget: { budget: 150, windowMs: 1000 } }
  narrow: { concurrency: { initialLimit: 3, minLimit: 3, maxLimit: 3 } }
`),
		Edge: EdgeLoad{Policies: []string{"shared", "fleet", "leased"}, Keys: 2, Rate: 600, Units: 3, Checks: 0.05, On: 300 * time.Millisecond, Off: 300 * time.Millisecond, IdleAfter: 80 * time.Millisecond, Horizon: 150 * time.Millisecond},
		Public: &PublicLoad{
			Clients: 8, Rate: 30, Keys: 2, Holders: 6, Guards: []string{"narrow"},
			Calls: []PublicCall{
				{history.Check, "shared", 25}, {history.Check, "shared", 25}, {history.CheckMany, "shared", 10}, {history.Peek, "shared", 1},
				{history.Reserve, "fleet", 40}, {history.Check, "fleet", 12}, {history.Check, "fleet", 12}, {history.Check, "leased", 12}, {history.Check, "leased", 12},
				{history.Check, "paced", 4}, {history.Debit, "meter", 40},
			},
		},
		Needs: publicNeeds(func(n *check.Needs) { n.Public, n.PublicDenied, n.Slots, n.Shared, n.Local = 800, 50, 10, 10, 100 }),
	}
}
