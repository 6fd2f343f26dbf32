package edge

import (
	"time"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm/clock"
)

// A Decision answers Check. All numbers are units of the budget.
type Decision struct {
	Allowed bool
	// Limit of the policy for a window; 0 while it is not known.
	Limit int64
	// Remaining estimates what could still be admitted in the window: what this
	// edge holds and what nobody held when the coordinator last answered. Never
	// above Limit.
	Remaining int64
	// Held is what this edge holds, and Left what nobody held when the coordinator
	// last answered: the parts of Remaining.
	Held, Left int64
	// ResetAt is the end of the window on the cluster clock, and ResetAfter how
	// far away that is. Zero while they are not known.
	ResetAt    time.Time
	ResetAfter time.Duration
	// RetryAfter says when asking again may help. 0 if Allowed.
	RetryAfter time.Duration
	// Window is the length of the policy's windows, 0 for calendar windows.
	Window time.Duration
	// Source says what the decision rests on.
	Source Source
	// Shadow: it was to be denied, but the edge runs in shadow mode.
	Shadow bool
}

// Source is what a decision rests on.
type Source uint8

const (
	NoSource     Source = iota // none: Check returned an error that the fail policy does not cover
	FromCredits                // credits in hand
	FromExchange               // an answer of the coordinator that Check waited for
	FromRefusal                // an answer of the coordinator that is remembered
	FromFail                   // the fail policy
)

func (s Source) String() string {
	switch s {
	case FromCredits:
		return "credits"
	case FromExchange:
		return "exchange"
	case FromRefusal:
		return "refusal"
	case FromFail:
		return "fail-policy"
	}
	return "none"
}

// A verdict is what the newest answer about a key said. It never changes.
type verdict struct {
	err    error // why the cluster refused the question; the rest is 0 then
	spent  bool  // nobody has credits left until rollAt, unless some come back
	limit  escrow.Credits
	left   escrow.Credits // nobody had it
	end    clock.Millis   // of the window, on the cluster clock
	rollAt clock.Nanos    // reading at which the window ends, about
	length clock.Millis   // by the policy, 0 for calendar windows
	at     clock.Nanos    // reading when the answer arrived
}

// exhausted reports whether the newest answer says that the window is spent.
func (k *Key) exhausted(at clock.Nanos) bool {
	v := k.verdict.Load()
	return v != nil && v.spent && at < v.rollAt
}

// held returns the credits that can be spent at a reading.
func (k *Key) held(at clock.Nanos) escrow.Credits {
	if l := k.lease.Load(); l != nil && !l.Expired(at) {
		return l.Left()
	}
	return 0
}

// decision describes the key as it stands at a reading, with held credits left.
func (k *Key) decision(at clock.Nanos, allowed bool, from Source, held escrow.Credits) Decision {
	d := Decision{Allowed: allowed, Source: from, Held: int64(held)}
	v := k.verdict.Load()
	if v == nil || v.err != nil {
		if l := k.lease.Load(); l != nil && allowed {
			d.ResetAt = time.UnixMilli(int64(l.Window().End))
		}
		return d
	}
	d.Limit, d.Left = int64(v.limit), int64(v.left)
	d.Remaining = int64(min(v.left+held, v.limit))
	d.ResetAt = time.UnixMilli(int64(v.end))
	d.ResetAfter = time.Duration(max(0, v.rollAt-at))
	d.Window = time.Duration(v.length) * time.Millisecond
	if !allowed {
		d.RetryAfter = max(d.ResetAfter, time.Millisecond)
	}
	return d
}
