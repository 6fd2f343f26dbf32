// Package policy holds the limits that a cluster enforces: what a policy is,
// how a file of them is read, and what a change would do.
//
// The package is pure: it is given bytes and gives back values.
package policy

import (
	"fmt"

	"github.com/tkcoord/tkcoord/concurrency"
	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/strategy"
)

// Strategy names how a policy counts, as written in its file.
type Strategy = strategy.Name

// The strategies that a policy may have.
const (
	GCRA             = strategy.GCRA             // evenly spaced, with a burst
	TokenBucket      = strategy.TokenBucket      // a bucket that refills
	FixedWindow      = strategy.FixedWindow      // windows of one length, aligned on the epoch
	SlidingWindow    = strategy.SlidingWindow    // the last Period, by buckets
	SlidingWindowLog = strategy.SlidingWindowLog // the last Period, exactly
	Quota            = strategy.Quota            // calendar windows, fixed ones with an anchor, or a sliding one
)

// Limits on policies. A file beyond them is refused.
const (
	MaxPolicies = 10_000
	MaxNameLen  = 256     // bytes
	MaxFileSize = 4 << 20 // bytes
	// DefaultMaxKeys is how many keys of a policy may be live at once unless the
	// policy says otherwise.
	DefaultMaxKeys = 1_000_000
	MaxMaxKeys     = 100_000_000
)

// Kind says what a policy does with its keys. It follows from the blocks that
// its file has.
type Kind uint8

const (
	Plain     Kind = iota // a strategy and no block: Check, Peek, Forecast
	TwoTier               // a strategy and twoTier: Check, and Peek and Forecast in mode strict
	Federated             // a strategy and federated: Check and Reserve
	Meter                 // tokenBudget or fleetBudget: Debit
	Guarded               // concurrency, with or without a strategy: Admit, Release, Heartbeat
)

var kindNames = [...]string{Plain: "plain", TwoTier: "twoTier", Federated: "federated", Meter: "meter", Guarded: "guarded"}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// Mode says how a TwoTier policy decides.
type Mode string

const (
	Strict     Mode = "strict"      // every check is a command
	CachedDeny Mode = "cached-deny" // a denial is repeated by the node that saw it until it may end
	Leased     Mode = "leased"      // a node spends credits that it holds and asks for Batch more
)

// A Tier holds the keys of the block twoTier. In the modes Strict and CachedDeny
// only Mode has an effect.
type Tier struct {
	Mode Mode
	// Batch is how many credits a node asks for at once, in [1,
	// escrow.MaxCredits] in mode Leased. Credits that are left in a node at the
	// end of a window are lost. It may be 0, for none, in the other modes.
	Batch int
	// LowWater is how many credits are left when a node asks for more before it
	// needs them, in [0, escrow.MaxCredits]. 0 asks only when they are gone.
	LowWater float64
	// WindowCoupled lets credits die once the ResetAt of the newest reply has
	// passed. With a Ledger they always die with their window.
	WindowCoupled bool
	// ReturnIdleAfter is how long a key is unused before a node gives its credits
	// up, in [0, escrow.MaxPeriod]; 0 is never.
	ReturnIdleAfter escrow.Millis
}

// MeterName is the block by which a file declares a meter. Both kinds count in
// the whole cluster here: the name is kept so that a file is written back as it
// was read.
type MeterName string

const (
	TokenBudget MeterName = "tokenBudget"
	FleetBudget MeterName = "fleetBudget"
)

// A Policy is one named limit. Each key under it is counted on its own, and
// apart from equal keys of other policies. Policies are comparable: equal values
// mean the same policy. Fields that the kind does not use are zero.
type Policy struct {
	Name string // 1 to MaxNameLen bytes, no control characters
	Kind Kind
	// Strategy is "" for a Meter and for a Guarded policy that limits nothing but
	// concurrency.
	Strategy Strategy
	// Limit is how many credits each window of Cadence has, in [1,
	// escrow.MaxCredits]: of policies with a Ledger, and the budget of a Meter. It
	// is the floor of a limit with a fraction, which gives the same answers since
	// costs are whole. 0 for the others, whose limit is in Rate.
	Limit   escrow.Credits
	Cadence escrow.Cadence // of what has a Limit
	// MaxKeys bounds the keys that are live, in [1, MaxMaxKeys]: those with a
	// window that runs, or a state that is not yet as good as none. A new key
	// beyond it is refused with an error; nothing is ever forgotten to make room,
	// since that would break the limit.
	MaxKeys int
	// Rate holds the parameters of a strategy that has a state for each key: gcra,
	// tokenBucket, slidingWindow, slidingWindowLog and a rolling quota. Zero for
	// policies with a Ledger and for those without a strategy. Params has both.
	Rate  strategy.Params
	Tier  Tier               // of a TwoTier policy
	Batch int                // of a Federated policy: credits that a node asks for, in [1, escrow.MaxCredits]
	Meter MeterName          // of a Meter
	Guard concurrency.Config // of a Guarded policy
}

// Ledger reports whether the policy counts on an escrow.Ledger: fixedWindow, a
// quota that is not rolling, and whatever is federated, since that counts in
// fixed windows. The ledger's limit is Limit, its windows are those of Cadence.
func (p *Policy) Ledger() bool {
	return p.Strategy != "" && p.Rate == strategy.Params{}
}

// Params returns the parameters of the policy's strategy, those of a ledger
// too; the zero Params if it has none. What is federated counts as fixedWindow.
func (p *Policy) Params() strategy.Params {
	switch {
	case !p.Ledger():
		return p.Rate
	case p.Strategy == Quota && p.Kind != Federated:
		return strategy.Params{Name: Quota, Limit: float64(p.Limit), Cadence: p.Cadence}
	}
	return strategy.Params{Name: FixedWindow, Limit: float64(p.Limit), Period: float64(p.Cadence.Period)}
}
