package policy

// What a change does, as the state machine does it.
const (
	noteRaise    = "the higher limit acts at once, on windows that run too"
	noteLower    = "the lower limit acts at once, on windows that run too: what is out stays out, and what is left of them shrinks"
	noteCadence  = "windows that run keep their end; the new cadence starts after it"
	noteMoreKeys = "more keys are taken at once"
	noteLessKeys = "keys with a running window keep it; no key is added until there are fewer than the new bound"
	noteStrategy = "the strategy has another name and the same windows: nothing else changes"
	noteDelete   = "requests for it are refused at once; credits that edges hold may be spent until their leases end"
	noteKept     = "not in the file: kept"
)

// effects explains an update.
func effects(o, n Policy) []string {
	var notes []string
	note := func(when bool, s string) {
		if when {
			notes = append(notes, s)
		}
	}
	note(n.Limit > o.Limit, noteRaise)
	note(n.Limit < o.Limit, noteLower)
	note(n.Cadence != o.Cadence, noteCadence)
	note(n.Strategy != o.Strategy && n.Cadence == o.Cadence, noteStrategy)
	note(n.MaxKeys > o.MaxKeys, noteMoreKeys)
	note(n.MaxKeys < o.MaxKeys, noteLessKeys)
	return notes
}
