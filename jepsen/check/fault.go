package check

import (
	"slices"

	"github.com/tkcoord/tkcoord/jepsen/history"
)

// An Event is one thing that a nemesis did.
type Event struct {
	At      history.Time `json:"at"`
	Nemesis string       `json:"nemesis"`
	Phase   string       `json:"phase"`
	Targets []string     `json:"targets,omitempty"`
	Detail  string       `json:"detail,omitempty"`
}

// Phases of an event.
const (
	PhaseStart = "start" // the fault is in effect from here
	PhaseStop  = "stop"  // it was taken back
)

// A Fault is one fault from its beginning to its end.
type Fault struct {
	Nemesis  string
	Targets  []string
	Detail   string
	From, To history.Time // To is Never if it was not taken back
}

// Pair joins the events of each nemesis to faults. A nemesis has at most one
// fault at a time.
func Pair(events []Event) []Fault {
	var all []Fault
	open := make(map[string]int) // index of the open fault, plus one
	for _, e := range events {
		switch e.Phase {
		case PhaseStart:
			all = append(all, Fault{Nemesis: e.Nemesis, Targets: e.Targets, Detail: e.Detail, From: e.At, To: history.Never})
			open[e.Nemesis] = len(all)
		case PhaseStop:
			if i := open[e.Nemesis]; i > 0 {
				all[i-1].To = e.At
				delete(open, e.Nemesis)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b Fault) int { return int(max(-1, min(1, a.From-b.From))) })
	return all
}
