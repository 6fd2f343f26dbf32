package main

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A lane is traffic of all clients on one budget, which goes on while leaders die.
// A client goes through it call by call, and once it is told to stop goes on
// without pauses until it is denied.
type lane struct {
	Name   string `json:"name"`
	Op     string `json:"op"` // check, debit, reserve, spend (what was reserved) or hold (a slot)
	Policy string `json:"policy"`
	Key    string `json:"key"`
	Amount int64  `json:"amount"` // of each call
	Every  int64  `json:"every"`  // ms from one call to the next
	Hold   int64  `json:"hold"`   // ms that a slot is held

	limit int64
	// counter: each reply tells how much of the budget is left after it, so that the
	// replies can be put into an order.
	counter bool
}

// lanes are the budgets of policies.yaml that all share.
var lanes = []lane{
	{Name: "fixed window", Op: "check", Policy: "shared-window", Key: "all", Amount: 1, Every: 40, limit: sharedLimit, counter: true},
	{Name: "gcra", Op: "check", Policy: "shared-gcra", Key: "all", Amount: 1, Every: 40, limit: sharedLimit, counter: true},
	{Name: "meter", Op: "debit", Policy: "shared-tokens", Key: "all", Amount: 1, Every: 40, limit: sharedLimit, counter: true},
	{Name: "reserved", Op: "reserve", Policy: "shared-fleet", Key: "all", Amount: 7, Every: 200, limit: sharedLimit},
	{Name: "spent locally", Op: "spend", Policy: "shared-fleet", Key: "all", Amount: 10, Every: 20, limit: sharedLimit},
	{Name: "leased by nodes", Op: "check", Policy: "shared-leased", Key: "all", Amount: 1, Every: 30, limit: sharedLimit},
	{Name: "federated check", Op: "check", Policy: "shared-fleet", Key: "all", Amount: 1, Every: 50, limit: sharedLimit},
	{Name: "slots", Op: "hold", Policy: "shared-slots", Key: "all", Amount: 1, Every: 20, Hold: 30, limit: sharedSlots},
}

// Limits of the shared policies.
const (
	sharedLimit = 1500
	sharedSlots = 3
)

// A tally is what became of one budget.
type tally struct {
	policy   string
	limit    int64
	admitted int64 // units that some client was told it may use
	unknown  int64 // units of calls without an answer
	denied   int   // calls
	wrong    []string
}

// tallies judges all calls on shared budgets.
func tallies(calls []*call) (all []*tally) {
	by := make(map[string][]*call)
	counter := make(map[string]bool)
	limit := make(map[string]int64)
	for _, l := range lanes {
		counter[l.Policy] = l.counter
		limit[l.Policy] = l.limit
	}
	for _, c := range calls {
		if c.Lane != "" {
			by[c.Policy] = append(by[c.Policy], c)
		}
	}
	for _, policy := range sorted(by) {
		t := &tally{policy: policy, limit: limit[policy]}
		if policy == "shared-slots" {
			t.slots(by[policy])
		} else {
			t.budget(by[policy], counter[policy])
		}
		all = append(all, t)
	}
	return all
}

func sorted[V any](m map[string]V) (keys []string) {
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// fail notes the first few things that are wrong.
func (t *tally) fail(format string, args ...any) {
	if len(t.wrong) < 5 {
		t.wrong = append(t.wrong, fmt.Sprintf(format, args...))
	}
}

// budget judges calls on one budget in one window.
func (t *tally) budget(calls []*call, counter bool) {
	var ends []int64
	var allowed, denied []*call
	for _, c := range calls {
		switch {
		case c.interrupted():
			t.unknown += c.Amount
			continue
		case c.Error != nil:
			t.fail("%s: %s: %s", c.client, c.Error.Code, c.Error.Text)
			continue
		}
		granted, end := c.granted()
		ends = append(ends, end)
		t.admitted += granted
		switch {
		case granted > 0:
			allowed = append(allowed, c)
		default:
			t.denied++
			denied = append(denied, c)
		}
	}
	slices.Sort(ends)
	switch windows := len(slices.Compact(ends)); {
	case windows == 0:
		t.fail("no call was answered")
	case windows > 1 && !movingReset(t.policy):
		t.fail("%d windows, want 1: run it again, an hour has ended", windows)
	}
	if t.admitted > t.limit {
		t.fail("%d admitted, %d more than the limit", t.admitted, t.admitted-t.limit)
	}
	if len(denied) > 0 && t.lossless() && t.admitted+t.unknown < t.limit {
		t.fail("denied with %d admitted and %d unknown of %d: acknowledged capacity was lost", t.admitted, t.unknown, t.limit)
	}
	if counter {
		t.ordered(allowed, denied)
	}
}

// movingReset: of gcra the reset moves with each call.
func movingReset(policy string) bool { return policy == "shared-gcra" }

// lossless reports whether every unit ends with a client. Credits that a node leases
// for its own checks end with the node when it is killed.
func (t *tally) lossless() bool { return t.policy != "shared-leased" && t.policy != "shared-fleet" }

// granted returns the units that a call got, and the end of their window.
func (c *call) granted() (units, end int64) {
	switch {
	case c.Reply == nil:
		return 0, 0
	case c.Reply.Reserved != nil:
		return c.Reply.Reserved.Capacity, c.Reply.Reserved.Expiry
	case c.Reply.Decision == nil:
		return 0, 0
	case c.Reply.Decision.Allowed && c.Op == "spend":
		return 1, c.Reply.Decision.Reset // the amount is what is reserved at once
	case c.Reply.Decision.Allowed:
		return c.Amount, c.Reply.Decision.Reset
	}
	return 0, c.Reply.Decision.Reset
}

// ordered judges a budget whose replies tell what is left, as a counter that goes
// down by one with each admission: no two admissions leave the same, and a call
// that begins after another has ended finds less.
func (t *tally) ordered(allowed, denied []*call) {
	left := func(c *call) int64 { return c.Reply.Decision.Left }
	seen := make(map[int64]*call, len(allowed))
	for _, c := range allowed {
		if other := seen[left(c)]; other != nil {
			t.fail("%s and %s were both told that %d are left", other.client, c.client, left(c))
		}
		seen[left(c)] = c
	}
	ended := slices.Clone(allowed)
	slices.SortFunc(ended, func(a, b *call) int { return cmp.Compare(a.End, b.End) })
	begun := append(slices.Clone(allowed), denied...)
	slices.SortFunc(begun, func(a, b *call) int { return cmp.Compare(a.Begin, b.Begin) })
	least := t.limit
	for _, c := range begun {
		for len(ended) > 0 && ended[0].End < c.Begin {
			least = min(least, left(ended[0]))
			ended = ended[1:]
		}
		if d := c.Reply.Decision; !d.Allowed && d.Left >= c.Amount {
			t.fail("%s was denied %d with %d left", c.client, c.Amount, d.Left)
		}
		if got := left(c); got > least || c.Reply.Decision.Allowed && got == least {
			t.fail("%s was told that %d are left after somebody had been told %d: consumption was forgotten", c.client, got, least)
		}
	}
}

// slots judges admissions and releases: never more are held than the ceiling, and
// fencing tokens grow.
func (t *tally) slots(calls []*call) {
	releases := make(map[string]*call)
	for _, c := range calls {
		if c.Op == "release" {
			releases[c.Key] = c
		}
	}
	type edge struct {
		at    int64
		delta int
	}
	var edges []edge
	var admitted []*call
	for _, c := range calls {
		switch {
		case c.Op == "release":
		case c.interrupted():
			t.unknown++
		case c.Error != nil:
			t.fail("%s: %s: %s", c.client, c.Error.Code, c.Error.Text)
		case !c.Reply.Decision.Allowed:
			t.denied++
		default:
			t.admitted++
			admitted = append(admitted, c)
			// It is held for certain from the reply until the release is sent, or until it
			// would end by itself.
			end := c.Begin + slotEnd
			if r := releases[c.Reply.Lease]; r != nil {
				end = min(end, r.Begin)
			}
			if c.End < end {
				edges = append(edges, edge{c.End, 1}, edge{end, -1})
			}
		}
	}
	slices.SortFunc(edges, func(a, b edge) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.delta, b.delta)) })
	held := 0
	for _, e := range edges {
		if held += e.delta; int64(held) > t.limit {
			t.fail("%d slots are held at once, want at most %d", held, t.limit)
		}
	}
	t.fences(admitted)
}

// slotEnd is when a slot that nobody released may end, in ns after the call that took
// it was sent.
const slotEnd = 1_900_000_000

// fences checks that a slot that was taken after another has the larger token.
func (t *tally) fences(admitted []*call) {
	ended := slices.Clone(admitted)
	slices.SortFunc(ended, func(a, b *call) int { return cmp.Compare(a.End, b.End) })
	slices.SortFunc(admitted, func(a, b *call) int { return cmp.Compare(a.Begin, b.Begin) })
	var largest uint64
	for _, c := range admitted {
		for len(ended) > 0 && ended[0].End < c.Begin {
			largest = max(largest, fence(ended[0].Reply.Lease))
			ended = ended[1:]
		}
		if got := fence(c.Reply.Lease); got <= largest {
			t.fail("%s got the fencing token %x after %x had been given", c.client, got, largest)
		}
	}
}

// fence returns the token in the id of a slot, 0 if there is none.
func fence(id string) uint64 {
	token, _, _ := strings.Cut(id, "-")
	n, _ := strconv.ParseUint(token, 16, 64)
	return n
}
