package escrow

// Target returns the total that h's grant should be raised to when it needs
// its grant to reach at least need and would like want, both totals for the
// window. Away from exhaustion that is want. Near it a holder may keep unspent,
// beyond what it needs now, only one part in k+1 of the credits that nobody
// else has,
//
//	pool = left + h's own unspent credits,   share = ⌈pool / (k+1)⌉,
//
// where k counts the holders with h among them. One part stays free for the
// next holder, so a window ends spent and not stranded with whoever asked first.
// A grant moves credits from left to h's own and leaves the pool as it was:
// asking again gives the same target.
//
// The state machine applies the rule, since only it knows what is left at the
// instant of the grant. How much a holder would like is decided outside and
// never matters to safety.
func (l *Ledger) Target(h HolderID, need, want Credits) Credits {
	a, known := l.Of(h)
	k := Credits(l.Holders())
	if !known {
		k++
	}
	pool := l.Left() + a.Unspent()
	share := (pool + k) / (k + 1)
	return max(min(need, MaxCredits), min(want, a.Used+a.Returned+share))
}
