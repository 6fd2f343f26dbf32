package edge

import (
	"cmp"
	"slices"
	"time"

	"github.com/tkcoord/tkcoord/escrow"
)

// Stats are counters since the edge was opened, and what it holds now.
type Stats struct {
	Exchanges     uint64        // answered
	Asks          uint64        // answered, over all keys
	Failures      uint64        // attempts without an answer
	SessionsEnded uint64        // by the cluster
	Away          bool          // the fail policy decides
	RoundTrip     time.Duration // of exchanges, smoothed
	Keys          int           // in the table
	Forgotten     uint64        // keys that made room for others
	TooManyKeys   uint64        // times that there was no room
	Policies      []PolicyStats // by name
}

// PolicyStats are those of one limiter.
type PolicyStats struct {
	Policy       string
	Keys         int
	Held         int64 // credits in hand, also those whose time is over
	Spent        int64 // credits that admissions took
	Denied       int64 // requests
	Shadowed     int64 // of these, let pass in shadow mode
	FailedOpen   int64 // requests admitted by the fail policy
	FailedClosed int64 // requests denied by it, among Denied
}

// Stats counts over all keys, so its cost grows with their number: about a
// millisecond for 65,536.
func (e *Edge) Stats() Stats {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.tables.Lock()
	defer e.tables.Unlock()
	s := Stats{
		Exchanges: e.exchanges, Asks: e.asks, Failures: e.failures, SessionsEnded: e.sessionsEnded,
		Away: e.away.Load(), RoundTrip: time.Duration(e.rtt),
		Keys: e.keys, Forgotten: e.evicted, TooManyKeys: e.crowdedOut,
	}
	for _, l := range e.limiters {
		s.Policies = append(s.Policies, l.stats())
	}
	slices.SortFunc(s.Policies, func(a, b PolicyStats) int { return cmp.Compare(a.Policy, b.Policy) })
	return s
}

func (l *Limiter) stats() PolicyStats {
	var left escrow.Credits
	spent := l.spent
	l.keys.each(func(k *Key) bool {
		if lease := k.lease.Load(); lease != nil {
			left += lease.Left()
			spent += lease.Totals().Used
		}
		return true
	})
	return PolicyStats{
		Policy: l.policy, Keys: l.keys.live, Held: int64(left), Spent: int64(spent),
		Denied: l.denied.Load(), Shadowed: l.shadowed.Load(),
		FailedOpen: l.failedOpen.Load(), FailedClosed: l.failedClosed.Load(),
	}
}
