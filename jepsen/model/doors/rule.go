package doors

import "fmt"

// A Rule is one that carries weight. A world that breaks it must be refuted, and
// the same world with everything intact must not: that shows both that the rule
// is needed and that the checks can fail. All of them are broken in the world
// around the core, by doing what a program without the rule would do.
type Rule string

const (
	Intact Rule = "" // no rule is broken

	// NoGuard: a client trusts its slot for the whole ttl on its own clock.
	NoGuard Rule = "slot-no-guard"
	// NoGrain: a client forgets that stamps are rounded down to a millisecond.
	NoGrain Rule = "slot-no-grain"
	// LateReading: a client counts the ttl from the arrival of the answer.
	LateReading Rule = "slot-late-reading"
	// UnheardBeat: a client takes a heartbeat for heard when it has sent it.
	UnheardBeat Rule = "slot-unheard-beat"
	// ReleaseFirst: a client gives its slot back and then ends its work.
	ReleaseFirst Rule = "slot-release-first"
	// WallClock: a new leader continues from its wall clock, which is ahead, and
	// reclaims slots by that.
	WallClock Rule = "slot-wall-clock"
	// StepReclaims: a step leaves the ends of slots where they are.
	StepReclaims Rule = "slot-step-reclaims"
	// Revive: a heartbeat keeps a slot that has ended.
	Revive Rule = "slot-revive"
	// ForgetSlots: slots are no part of snapshots, so a replica that was restored
	// has none.
	ForgetSlots Rule = "slot-forgotten"
	// FreeChecks: strict checks are counted by themselves, not against leases.
	FreeChecks Rule = "check-uncounted"
	// FreeReserves: what was reserved is not counted against others.
	FreeReserves Rule = "reserve-uncounted"
	// ReserveNoStretch: a step leaves windows where they are in which credits were
	// given away.
	ReserveNoStretch Rule = "reserve-no-stretch"
	// ForgetMeters: nor are meters.
	ForgetMeters Rule = "debit-forgotten"
	// CutDebit: the debit that crosses the budget is counted up to the budget only.
	CutDebit Rule = "debit-cut"
	// RestartMeters: a changed budget begins a window anew.
	RestartMeters Rule = "debit-change-restarts"
)

// Rules lists the rules that can be broken.
func Rules() []Rule {
	return []Rule{
		NoGuard, NoGrain, LateReading, UnheardBeat, ReleaseFirst, WallClock, StepReclaims, Revive, ForgetSlots,
		FreeChecks, FreeReserves, ReserveNoStretch, ForgetMeters, CutDebit, RestartMeters,
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
