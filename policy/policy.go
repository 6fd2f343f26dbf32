// Package policy holds the limits that a cluster enforces: what a policy is,
// how a file of them is read, and what a change would do.
//
// The package is pure: it is given bytes and gives back values.
package policy

import "github.com/tkcoord/tkcoord/escrow"

// Strategy names how a policy counts, as written in its file.
type Strategy string

const (
	FixedWindow Strategy = "fixedWindow" // windows of one length, aligned on the epoch
	Quota       Strategy = "quota"       // calendar windows, or fixed ones with an anchor
)

// Limits on policies. A file beyond them is refused.
const (
	MaxPolicies = 10_000
	MaxNameLen  = 256     // bytes
	MaxFileSize = 4 << 20 // bytes
	// DefaultMaxKeys is how many keys of a policy may have a live window at
	// once unless the policy says otherwise.
	DefaultMaxKeys = 1_000_000
	MaxMaxKeys     = 100_000_000
)

// A Policy is one named limit. Each key under it is a budget of its own: Limit
// credits in each window of Cadence.
type Policy struct {
	Name     string // 1 to MaxNameLen bytes, no control characters
	Strategy Strategy
	Limit    escrow.Credits // in [1, escrow.MaxCredits]
	Cadence  escrow.Cadence
	// MaxKeys bounds the keys with a live window, in [1, MaxMaxKeys]. A new key
	// beyond it is refused with an error; nothing is ever forgotten to make
	// room, since that would break the limit.
	MaxKeys int
}
