package real

import "fmt"

// A Rule is one that carries weight. A world that breaks it must be refuted, and
// the same world with everything intact must not: that shows both that the rule
// is needed and that the checks can fail. All of them are broken in the world
// around the core, by doing what a program without the rule would do.
type Rule string

const (
	Intact Rule = "" // no rule is broken

	// NoGuard: a holder spends for the whole ttl on its own clock.
	NoGuard Rule = "no-guard"
	// LateReading: a holder counts the ttl from the arrival of the answer.
	LateReading Rule = "late-reading"
	// EarlyStamp: the leader reads the stamp before the batch is closed.
	EarlyStamp Rule = "early-stamp"
	// WallClock: a new leader continues from its wall clock, which is ahead.
	WallClock Rule = "wall-clock"
	// NoBarrier: a new leader continues from the pair it has, though there are
	// entries that it has not applied.
	NoBarrier Rule = "no-barrier"
	// KeptStamp: a node never stamps less than it once stamped, also when it leads
	// again and others have led meanwhile.
	KeptStamp Rule = "kept-stamp"
	// NoStretch: a step leaves the ends of windows where they are.
	NoStretch Rule = "no-stretch"
	// KeptDeadline: a holder that returned everything keeps its deadline for what
	// it is granted next.
	KeptDeadline Rule = "kept-deadline"
	// Increments: asks and answers carry increments instead of totals.
	Increments Rule = "increments"
	// ReportFirst: a holder reports credits as returned while it may still spend
	// them.
	ReportFirst Rule = "report-first"
	// RollBack: a holder takes any window that differs for a new one, instead of a
	// later one.
	RollBack Rule = "roll-back"
	// ForgetUsed: the owner evicts holders that have nothing left to spend, and
	// forgets what they used.
	ForgetUsed Rule = "forget-used"
	// SameIncarnation: an edge that starts again goes on as the same holder.
	SameIncarnation Rule = "same-incarnation"
)

// Rules lists the rules that can be broken.
func Rules() []Rule {
	return []Rule{
		NoGuard, LateReading, EarlyStamp, WallClock, NoBarrier, KeptStamp, NoStretch, KeptDeadline,
		Increments, ReportFirst, RollBack, ForgetUsed, SameIncarnation,
	}
}

func (r Rule) validate() error {
	if r == Intact {
		return nil
	}
	for _, known := range Rules() {
		if r == known {
			return nil
		}
	}
	return fmt.Errorf("rule %q: want one of %v", string(r), Rules())
}
