package policy

import "github.com/tkcoord/tkcoord/concurrency"

// What a change does, as the state machine does it.
const (
	noteKind      = "it becomes another kind of policy: requests that the new kind does not serve are refused at once"
	noteRaise     = "the higher limit acts at once, on windows that run too"
	noteLower     = "the lower limit acts at once, on windows that run too: what is out stays out, and what is left of them shrinks"
	noteCadence   = "windows that run keep their end; the new cadence starts after it"
	noteStrategy  = "the strategy has another name and the same windows: nothing else changes"
	noteAfresh    = "every key starts afresh: what was used before does not count, so up to one more limit may pass"
	noteCounts    = "the new parameters act at once, and what keys have used goes on to count"
	noteTier      = "nodes follow the new tier with their next request; credits that they hold may be spent until their leases end"
	noteBatch     = "nodes ask for batches of the new size from now on"
	noteMeter     = "the block has another name and the same meaning: nothing else changes"
	noteGuard     = "the new bounds act at once: slots that are held stay held, and the estimate moves within the bounds"
	noteUnguarded = "slots that are held end within two seconds: nothing keeps them any more"
	noteNoRate    = "nothing but concurrency is limited from now on"
	noteRate      = "concurrency was the only limit; every key starts afresh with the strategy"
	noteMoreKeys  = "more keys are taken at once"
	noteLessKeys  = "keys that are live stay; no key is added until there are fewer than the new bound"
	noteDelete    = "requests for it are refused at once; credits that edges hold may be spent until their leases end"
	noteKept      = "not in the file: kept"
)

// How the keys of a policy are counted. What was counted in one way means nothing
// in another.
const (
	inWindows = "windows of a ledger"
	asTokens  = "tokens of a meter"
)

// counting says how keys are counted: inWindows, asTokens, by a strategy, or ""
// for not at all.
func counting(p *Policy) string {
	switch {
	case p.Kind == Meter:
		return asTokens
	case p.Ledger():
		return inWindows
	}
	return string(p.Rate.Name)
}

// effects explains an update.
func effects(o, n Policy) []string {
	var notes []string
	note := func(when bool, s string) {
		if when {
			notes = append(notes, s)
		}
	}
	sameKind := o.Kind == n.Kind
	before, after := counting(&o), counting(&n)
	note(!sameKind, noteKind)
	note(before == "" && after != "", noteRate)
	note(before != "" && after == "", noteNoRate)
	note(before != after && before != "" && after != "", noteAfresh)
	if before == after {
		note(n.Limit > o.Limit, noteRaise)
		note(n.Limit < o.Limit, noteLower)
		note(n.Cadence != o.Cadence, noteCadence)
		note(n.Strategy != o.Strategy && n.Cadence == o.Cadence && n.Rate == o.Rate, noteStrategy)
		note(n.Rate != o.Rate, noteCounts)
	}
	note(sameKind && n.Tier != o.Tier, noteTier)
	note(sameKind && n.Batch != o.Batch, noteBatch)
	note(sameKind && n.Meter != o.Meter, noteMeter)
	note(sameKind && n.Guard != o.Guard, noteGuard)
	note(o.Guard != (concurrency.Config{}) && !sameKind, noteUnguarded)
	note(n.MaxKeys > o.MaxKeys, noteMoreKeys)
	note(n.MaxKeys < o.MaxKeys, noteLessKeys)
	return notes
}
