package real

import (
	"errors"
	"fmt"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/jepsen/model/cluster"
)

// A World is a small cluster and its edges: how many there are, what may go
// wrong, and how often. Every bound costs states; Small is the smallest world in
// which everything happens.
//
// Counts that are zero switch the thing off.
type World struct {
	Edges   int // processes that spend
	Leaders int // nodes that can lead

	// Windows is how many windows a fast clock passes before real time ends.
	Windows int
	Length  clock.Millis   // of a window
	Longest clock.Millis   // lease
	Limit   escrow.Credits // of a window, at first
	Wants   []int          // how many unspent credits an ask may be for

	cluster.Time
	Clocks Clocks

	// What may be under way: requests and answers of each edge, and entries that
	// are sealed and not committed; 0 commits an entry as it is sealed.
	Requests, Answers, Pipeline int

	// How often, in one run, a message is delivered again after it was delivered,
	// a node is elected, a node crashes, all nodes crash, the clock steps by one of Jumps,
	// the policy changes, an edge crashes.
	Duplicates, Elections, Crashes, Restarts, Steps, Changes, Deaths int
	// Faults is how many of all these may happen in one run.
	Faults int

	Jumps   []int        // how far a step may go, in ms
	Limits  []int        // that a change may set
	Lengths []int        // of windows, that a change may set
	Delete  bool         // a change may delete the policy and bring it back
	Returns int          // how often edges give a credit back
	Idle    clock.Millis // a session ends when it was silent for longer; 0 for never

	Rule Rule // that is broken; Intact for none

	raw bool // tests only: leave states as they come
}

// Clocks says at which ends of the drift the clocks run.
type Clocks string

const (
	// AllClocks starts from every assignment of fast and slow to processes.
	AllClocks Clocks = "all"
	// WorstClocks has slow edges and fast nodes: the holder thinks that less time
	// has passed than the owner does.
	WorstClocks Clocks = "worst"
)

// Small returns a world with two of each and everything that may go wrong
// switched off.
func Small() World {
	return World{
		Edges: 2, Leaders: 2,
		Windows: 1, Length: 10, Longest: 1000, Limit: 1, Wants: []int{1},
		Time: cluster.Time{Beat: 4, Drift: 250_000}, Clocks: WorstClocks,
		Requests: 1, Answers: 1,
		Faults: 100,
		Rule:   Intact,
	}
}

// Limits of a world. Times are encoded in a byte where possible, and an action's
// argument has room for so many.
const (
	maxProcesses = 6
	maxFlying    = 7
	maxOptions   = 7
)

// Validate reports everything that makes no sense.
func (w *World) Validate() error {
	var errs []error
	within := func(name string, v, least, most int64) {
		if v < least || v > most {
			errs = append(errs, fmt.Errorf("%s %d: want %d to %d", name, v, least, most))
		}
	}
	within("edges", int64(w.Edges), 1, maxProcesses)
	within("leaders", int64(w.Leaders), 1, maxProcesses)
	within("windows", int64(w.Windows), 0, 10)
	within("length", int64(w.Length), 2, 1000)
	within("longest", int64(w.Longest), 1, 1000)
	within("limit", int64(w.Limit), 1, 100)
	within("beat", int64(w.Beat), 1, 100)
	within("drift", int64(w.Drift), 0, int64(clock.MaxRate))
	within("slew", int64(w.Slew), 0, int64(clock.MaxRate))
	within("requests", int64(w.Requests), 1, maxFlying)
	within("answers", int64(w.Answers), 1, maxFlying)
	within("pipeline", int64(w.Pipeline), 0, 3)
	within("wants", int64(len(w.Wants)), 1, maxOptions)
	within("jumps", int64(len(w.Jumps)), 0, maxOptions)
	within("idle", int64(w.Idle), 0, 1000)
	within("changes to choose from", int64(len(w.choices())), 0, maxOptions)
	for name, n := range map[string]int{
		"duplicates": w.Duplicates, "elections": w.Elections, "crashes": w.Crashes, "restarts": w.Restarts,
		"steps": w.Steps, "changes": w.Changes, "deaths": w.Deaths,
	} {
		within(name, int64(n), 0, 15)
	}
	within("faults", int64(w.Faults), 0, 100)
	for _, n := range w.Wants {
		within("want", int64(n), 0, 100)
	}
	if w.Steps > 0 && len(w.Jumps) == 0 {
		errs = append(errs, errors.New("steps without a jump"))
	}
	if w.Changes > 0 && len(w.choices()) == 0 {
		errs = append(errs, errors.New("changes without a limit, a length or delete to change to"))
	}
	if w.Clocks != AllClocks && w.Clocks != WorstClocks {
		errs = append(errs, fmt.Errorf("clocks %q: want %s or %s", w.Clocks, AllClocks, WorstClocks))
	}
	return errors.Join(append(errs, w.Rule.validate())...)
}

// ticks returns how often real time advances: until a fast clock has passed all
// windows, and once more.
func (w *World) ticks() int { return w.Ticks(clock.Millis(w.Windows) * w.Length) }

// base is the cluster clock at the beginning, when a window starts.
func (w *World) base() clock.Millis { return 100 * w.Length }

// A choice is one change of the policy.
type choice struct {
	limit  int // set it, unless 0
	length int
	delete bool // delete it, or bring it back
}

func (w *World) choices() []choice {
	var all []choice
	for _, l := range w.Limits {
		all = append(all, choice{limit: l})
	}
	for _, l := range w.Lengths {
		all = append(all, choice{length: l})
	}
	if w.Delete {
		all = append(all, choice{delete: true})
	}
	return all
}
