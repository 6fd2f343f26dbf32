package run

import (
	"slices"
	"time"

	"github.com/tkcoord/tkcoord/internal/bug"
	"github.com/tkcoord/tkcoord/jepsen/report"
)

// A Plant is a bug that builds are given on purpose, the scenario that must turn
// red with it, and the verdicts of which one must.
type Plant struct {
	Bug      bug.Name
	About    string
	Scenario Scenario
	Verdicts []string
}

// Caught reports whether a run found the bug: the right verdict failed, and not
// only some other.
func (p Plant) Caught(r report.Result) bool {
	return slices.ContainsFunc(r.Failed(), func(name string) bool { return slices.Contains(p.Verdicts, name) })
}

// Plants lists all planted bugs. The checkers share the bugs in the state machine
// with the nodes, as they would if nobody knew of them; what finds these does not
// rest on the replay being right.
func Plants() []Plant {
	plant := func(name bug.Name, about, verdict, workload string, edit func(*Scenario), nemeses ...string) Plant {
		s := DefaultScenario()
		s.Name, s.Workload, s.Nemeses, s.Time = string(name), workload, nemeses, 12*time.Second
		if edit != nil {
			edit(&s)
		}
		return Plant{Bug: name, About: about, Scenario: s, Verdicts: []string{verdict}}
	}
	return []Plant{
		plant(bug.ForgetUsed, "a budget that is granted in full is forgotten, and granted again", "I1 limit", "hot", nil),
		plant(bug.GrantTwice, "a repeated exchange is granted twice what it asks for", "I4 repeats", "hot", nil),
		plant(bug.TTLToEnd, "a ttl reaches the end of its window, less nothing for rounding", "I7 clock", "boundaries", nil),
		plant(bug.DropSessions, "a restored replica has lost the sessions", "I9 replicas", "hot", func(s *Scenario) { s.Compact = true }, "kill-minority"),
		plant(bug.StampEarly, "the stamp is read before the batch is sealed", "I7 clock", "hot", nil),
		plant(bug.AckEarly, "an exchange is answered before its entry is committed", "I3 acknowledged", "hot", nil, "partition-leader"),
		plant(bug.WallClock, "a new leader continues from its wall clock", "I7 clock", "hot", nil, "clock-bump+leader-transfer"),
		plant(bug.ReadLate, "an edge reads its clock after the reply instead of before sending", "I1 owner", "boundaries", nil, "link-delay"),
		plant(bug.NoGuard, "an edge spends for the whole ttl by its own clock", "I1 owner", "zipf", func(s *Scenario) { s.DriftPPM = 100_000 }, "clock-drift"),
		plant(bug.NoStretch, "a step of the clock ends windows with credits out", "I1 owner", "returns", nil, "clock-step"),
		plant(bug.SameHolder, "an edge that starts again is the holder that it was", "I1 limit", "returns", nil, "edge-crash"),
		plant(bug.ReturnEarly, "an edge reports credits as returned before it takes them away", "I1 limit", "returns", nil),
		plant(bug.LocalRead, "a peek is answered by any node from what it has applied", "P3 order", "strict", nil),
		plant(bug.CheckTwice, "a call that was passed on and takes long is passed on again", "P1 decided", "strict", nil),
		plant(bug.StrictApart, "strict checks do not see what edges have been granted", "P2 limits", "mixed", nil),
		plant(bug.SlotNotKept, "a heartbeat is answered and keeps no slot", "P5 slots", "slots", nil),
		plant(bug.SlotRevived, "a heartbeat brings a slot back that had ended", "P5 slots", "slots", nil),
		plant(bug.SlotForgotten, "a restored replica has lost the slots", "I9 replicas", "slots", func(s *Scenario) { s.Compact = true }, "kill-minority"),
		plant(bug.DebitForgotten, "a restored replica has lost what meters counted", "I9 replicas", "debits", func(s *Scenario) { s.Compact = true }, "kill-minority"),
	}
}
