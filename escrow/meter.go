package escrow

// A Meter counts one budget of tokens whose number is known only once they are
// spent (the ThrottleKit contract, token budget). The debit that crosses the
// budget is counted in full, so a window is overshot by less than its largest
// debit; later ones are denied until it ends.
//
// Unlike a Ledger it is decided by its owner alone: there is nothing to hold and
// nothing to return.
type Meter struct {
	End    Millis // of the window
	Served Credits
}

// Debit counts tokens, from 1 to MaxCredits, if less than the budget was served
// before. Otherwise it reports false and counts nothing.
func (m *Meter) Debit(budget, tokens Credits) bool {
	if m.Served >= budget {
		return false
	}
	m.Served += tokens // < 2^53 + 2^53
	return true
}
