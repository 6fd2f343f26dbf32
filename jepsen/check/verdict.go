// Package check judges runs. A checker is a pure function of what a run left
// behind: what clients recorded, the committed log, the faults and what the
// nodes logged. It proves nothing about runs that did not happen; what it says
// about this one, it says without a doubt: every problem that it reports is one.
//
// Three sources are set against each other. The clients' own records say what
// was admitted and acknowledged, and when. The log says what was decided; it is
// replayed through the real state machine, and beside it through a ledger that
// is kept in the dumbest way (books). The dates that raft gives entries place
// both on one time line.
package check

import (
	"fmt"

	"github.com/tkcoord/tkcoord/jepsen/history"
)

// A Verdict is what one checker found.
type Verdict struct {
	Name  string `json:"name"`
	Claim string `json:"claim"` // what holds if it is OK
	OK    bool   `json:"ok"`
	// Problems are the first ones found; Found is how many there were.
	Problems []Problem `json:"problems,omitempty"`
	Found    int       `json:"found"`
	// Stats say how much was looked at.
	Stats []Stat `json:"stats,omitempty"`
}

// A Problem is one thing that must not be, and where to find it.
type Problem struct {
	Text string `json:"text"`
	// Where it belongs on the time line; 0 if it has no place there.
	At     history.Time `json:"at,omitempty"`
	Index  uint64       `json:"index,omitempty"` // of the log
	Client string       `json:"client,omitempty"`
	Op     int64        `json:"op,omitempty"`
	Budget string       `json:"budget,omitempty"`
	place  int          // in the entry
}

// A Stat is a number with its name.
type Stat struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// maxProblems bounds the list of one verdict.
const maxProblems = 20

// problems collects what a checker finds.
type problems struct {
	list  []Problem
	found int
	stats []Stat
}

// add reports a problem at a place.
func (p *problems) add(at Problem, format string, args ...any) {
	p.found++
	if len(p.list) < maxProblems {
		at.Text = fmt.Sprintf(format, args...)
		p.list = append(p.list, at)
	}
}

func (p *problems) stat(name, format string, args ...any) {
	p.stats = append(p.stats, Stat{name, fmt.Sprintf(format, args...)})
}

// take adds the problems of another collection.
func (p *problems) take(from problems) {
	p.found += from.found
	p.list = append(p.list, from.list[:min(len(from.list), maxProblems-len(p.list))]...)
	p.stats = append(p.stats, from.stats...)
}

// A Checker judges one claim.
type Checker struct {
	Name  string
	Claim string
	check func(*Case, *problems)
}

// Judge runs the checker.
func (c Checker) Judge(x *Case) Verdict {
	var p problems
	c.check(x, &p)
	return Verdict{Name: c.Name, Claim: c.Claim, OK: p.found == 0, Problems: p.list, Found: p.found, Stats: p.stats}
}

// Checkers lists all of them, in the order in which a report shows them. The
// first one is about the evidence itself.
func Checkers() []Checker {
	return []Checker{
		{"evidence", "the records of the run are sound: the rest of the verdict means something", evidence},
		{"I1 limit", "the units admitted at all edges in a window are at most its limit, and at each edge at most what it was granted and did not return", limits},
		{"I1 owner", "every unit was admitted before its window had ended on the owner's clock", owners},
		{"I2 conservation", "after every entry, what holders have been granted and did not return sums up to at most the capacity, and every answer says so", conservation},
		{"I3 acknowledged", "every acknowledged exchange stands in the log where and as it was answered, and no refused one does", acknowledged},
		{"I4 repeats", "however often and in whatever order a request is repeated, it never raises a grant beyond the total that it asks for", repeats},
		{"I7 clock", "the cluster clock never runs back, and between any two stamps no faster than Lemma 1 allows; no ttl reaches the end of its window", clocks},
		{"I9 replicas", "all replicas have the same state at the same index, which is the state of a replay; so do snapshots", replicas},
		{"I10 liveness", "after the faults the cluster answers soon, as fast as before, and all nodes catch up", liveness},
		{"I12 logs", "no node panicked, raced or reported an error that the faults do not explain", nodeLogs},
		{"linearizable", "takes, returns and reads of each budget have an order that the clients' times allow; so has the log", linearizable},
		{"P1 decided", "every answer of the public contract stands in the log where it says and as a replay gives it, and no refused call does", decided},
		{"P2 limits", "what checks, reservations and edges together were admitted is within every limit, in each window and over any span", publicLimits},
		{"P3 order", "a call that was sent after another was answered comes after it; calls on each key have an order in which the strategy gives their answers", publicOrder},
		{"P4 debits", "a meter is overdrawn by less than one debit, and no acknowledged one is forgotten", publicDebits},
		{"P5 slots", "never are more slots held than the ceiling, as their holders see it; fences grow; a slot that was given up is free in time, and none comes back", publicSlots},
		{"traffic", "the run saw enough traffic to mean something", traffic},
		{"faults", "every fault really hit operations", faults},
		{"last write", "a write at the end of the run succeeded", lastWrite},
	}
}

// Judge runs all checkers over a run.
func Judge(x *Case) []Verdict {
	var all []Verdict
	for _, c := range Checkers() {
		all = append(all, c.Judge(x))
	}
	return all
}

// OK reports whether all verdicts are.
func OK(all []Verdict) bool {
	for _, v := range all {
		if !v.OK {
			return false
		}
	}
	return len(all) > 0
}
