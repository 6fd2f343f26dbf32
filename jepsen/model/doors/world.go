package doors

import (
	"errors"
	"fmt"
	"slices"

	"github.com/tkcoord/tkcoord/concurrency"
	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/jepsen/model/cluster"
	"github.com/tkcoord/tkcoord/policy"
)

// Traffic is what the clients of a world ask for. The three share nothing in the
// state machine but its clock, so a world explores each by itself.
type Traffic string

const (
	// Slots: clients take slots of a fixed limit, keep them, give them back or
	// abandon them.
	Slots Traffic = "slots"
	// Units: strict checks, reserves and the lease of an edge draw on one budget.
	// The first client is the edge, the others reserve; who checks does not matter.
	Units Traffic = "units"
	// Tokens: debits of one meter.
	Tokens Traffic = "tokens"
)

var traffics = []Traffic{Slots, Units, Tokens}

// A World is a small cluster and its clients: how many there are, what may go
// wrong, and how often. Counts that are zero switch the thing off.
type World struct {
	Traffic []string // of Slots, Units, Tokens; each is explored
	Clients int
	Leaders int // nodes that can lead

	// Windows is how many windows a fast clock passes before real time ends. A slot
	// is kept for fsm.SlotTTL, which is what time is scaled to.
	Windows int
	Length  clock.Millis // of a window
	Longest clock.Millis // lease
	// Limit is the ceiling of slots, the limit of units or the budget of tokens,
	// at first.
	Limit  int
	Debits []int // how many tokens a debit may be for. A check is for one unit

	cluster.Time
	Clocks Clocks

	// What may be under way: requests and answers of each client.
	Requests, Answers int

	// How often, in one run, a message is delivered again after it was delivered, a
	// node is elected though another leads, a node crashes, all nodes crash, the
	// clock steps by one of Jumps, the policy changes, a client crashes, the state
	// is restored from a snapshot.
	Duplicates, Elections, Crashes, Restarts, Steps, Changes, Deaths, Restores int
	// Faults is how many of all these may happen in one run.
	Faults int

	Jumps  []int // how far a step may go, in ms
	Limits []int // that a change may set
	Delete bool  // a change may delete the policy of slots and bring it back

	Rule Rule // that is broken; Intact for none

	raw bool // tests only: leave states as they come
}

// Clocks says at which ends of the drift the clocks run.
type Clocks string

const (
	// AllClocks starts from every assignment of fast and slow to processes.
	AllClocks Clocks = "all"
	// WorstClocks has slow clients and fast nodes: the holder thinks that less time
	// has passed than the cluster does.
	WorstClocks Clocks = "worst"
)

// Small returns a world with two of each and everything that may go wrong
// switched off.
func Small() World {
	return World{
		Traffic: []string{string(Slots), string(Units), string(Tokens)},
		Clients: 2, Leaders: 2,
		Windows: 1, Length: 2000, Longest: 100_000, Limit: 1, Debits: []int{1},
		Time: cluster.Time{Beat: 800, Drift: 250_000}, Clocks: WorstClocks,
		Requests: 1, Answers: 1,
		Faults: 100,
		Rule:   Intact,
	}
}

// Limits of a world.
const (
	maxProcesses = 4
	maxFlying    = 4
	maxOptions   = 7
	maxLimit     = 4
	maxSlots     = 16 // that the state machine may have, a rule being broken
)

// Validate reports everything that makes no sense.
func (w *World) Validate() error {
	var errs []error
	within := func(name string, v, least, most int64) {
		if v < least || v > most {
			errs = append(errs, fmt.Errorf("%s %d: want %d to %d", name, v, least, most))
		}
	}
	within("clients", int64(w.Clients), 1, maxProcesses)
	within("leaders", int64(w.Leaders), 1, maxProcesses)
	within("windows", int64(w.Windows), 0, 10)
	within("length", int64(w.Length), 2, 100_000)
	within("longest", int64(w.Longest), 1, 100_000)
	within("limit", int64(w.Limit), 1, maxLimit)
	within("beat", int64(w.Beat), 1, 100_000)
	within("drift", int64(w.Drift), 0, int64(clock.MaxRate))
	within("slew", int64(w.Slew), 0, 0)
	within("requests", int64(w.Requests), 1, maxFlying)
	within("answers", int64(w.Answers), 1, maxFlying)
	within("debits", int64(len(w.Debits)), 1, maxOptions)
	within("jumps", int64(len(w.Jumps)), 0, maxOptions)
	within("limits", int64(len(w.Limits)), 0, maxOptions-1)
	for name, n := range map[string]int{
		"duplicates": w.Duplicates, "elections": w.Elections, "crashes": w.Crashes, "restarts": w.Restarts,
		"steps": w.Steps, "changes": w.Changes, "deaths": w.Deaths, "restores": w.Restores,
	} {
		within(name, int64(n), 0, 15)
	}
	within("faults", int64(w.Faults), 0, 100)
	for _, n := range w.Debits {
		within("debit", int64(n), 1, maxLimit)
	}
	for _, n := range w.Limits {
		within("limits", int64(n), 1, maxLimit)
	}
	if w.Steps > 0 && len(w.Jumps) == 0 {
		errs = append(errs, errors.New("steps without a jump"))
	}
	if w.Changes > 0 && w.choices() == 0 {
		errs = append(errs, errors.New("changes without a limit or delete to change to"))
	}
	if w.Clocks != AllClocks && w.Clocks != WorstClocks {
		errs = append(errs, fmt.Errorf("clocks %q: want %s or %s", w.Clocks, AllClocks, WorstClocks))
	}
	for i, t := range w.Traffic {
		if !slices.Contains(traffics, Traffic(t)) || slices.Contains(w.Traffic[:i], t) {
			errs = append(errs, fmt.Errorf("traffic %q: want each of %v at most once", t, traffics))
		}
	}
	if len(w.Traffic) == 0 {
		errs = append(errs, fmt.Errorf("no traffic: want some of %v", traffics))
	}
	return errors.Join(append(errs, w.Rule.validate())...)
}

// ticks returns how often real time advances.
func (w *World) ticks() int { return w.Ticks(clock.Millis(w.Windows) * w.Length) }

// base is the cluster clock at the beginning, when a window starts.
func (w *World) base() clock.Millis { return 100 * w.Length }

// choices is how many changes of the policy there are: limits, and to delete it
// or bring it back.
func (w *World) choices() int {
	if w.Delete {
		return len(w.Limits) + 1
	}
	return len(w.Limits)
}

// policy is that of the traffic, with a limit.
func (w *World) policy(t Traffic, limit int) policy.Policy {
	p := policy.Policy{
		Name: policyName, Limit: escrow.Credits(limit), MaxKeys: 10,
		Cadence: escrow.Cadence{Kind: escrow.Fixed, Period: w.Length},
	}
	switch t {
	case Slots:
		p = policy.Policy{Name: policyName, Kind: policy.Guarded, MaxKeys: 10, Guard: fixed(limit)}
	case Units:
		p.Kind, p.Strategy, p.Batch = policy.Federated, policy.FixedWindow, 1
	case Tokens:
		p.Kind, p.Meter = policy.Meter, policy.TokenBudget
	}
	return p
}

// fixed is the configuration of a limit that does not adapt.
func fixed(limit int) concurrency.Config {
	c := concurrency.DefaultConfig()
	c.MinLimit, c.MaxLimit, c.InitialLimit, c.RTTWindow = limit, limit, limit, 1
	return c
}
