// Package monitor observes decisions: counts of the current window, the keys
// asked for and denied most, latencies, and the newest denials, as the
// ThrottleKit contract defines them. Each node has a Hub; the Reports of several
// merge into one Snapshot of the cluster.
//
// Observing never changes or fails a decision: recording is bounded in time and
// memory, and nothing that is recorded is ever read by what decides.
//
// Reports and snapshots carry keys, which may be personal data. What the Hub
// writes for Prometheus carries none.
package monitor

import (
	"strings"
	"unicode/utf8"

	"github.com/tkcoord/tkcoord/strategy"
)

// Constants of the contract.
const (
	Window  = 60_000 // ms; counters are of one window, which begins at a multiple of it
	Top     = 10     // keys of a list of heavy hitters
	Recent  = 200    // denials that are remembered
	Samples = 256    // latencies that are remembered of each policy
)

// Bounds of a Hub.
const (
	// MaxPolicies have counts of their own. What is recorded of others is summed
	// up under the name Other.
	MaxPolicies = 500
	// MaxKey is how many bytes of a key are kept. Keys that agree in them count as one, so
	// that counts of keys stay over-estimates.
	MaxKey = 256
	// MaxWatchers may watch a Hub at once.
	MaxWatchers = 256
)

// Other is the policy that the ones beyond MaxPolicies are summed up under.
const Other = "other"

// Kind tells what a policy's requests are decided by.
type Kind uint8

const (
	Limiter  Kind = iota // Check
	Admitter             // Admit
)

func (k Kind) String() string {
	if k == Admitter {
		return "admitter"
	}
	return "limiter"
}

// A Lane is what denied an admission.
type Lane uint8

const (
	None Lane = iota // admitted, or not an admission
	Rate
	Concurrency
	Cost
	Policy // refused by a policy as a whole: no axis bound it

	lanes = int(Policy)
)

var laneNames = [...]string{"", "rate", "concurrency", "cost", "policy"}

// Lanes are all lanes that can deny, in the contract's order.
var Lanes = [lanes]Lane{Rate, Concurrency, Cost, Policy}

// String returns the contract's name of a lane, "" for None.
func (l Lane) String() string {
	if int(l) >= len(laneNames) {
		return ""
	}
	return laneNames[l]
}

// LaneOf returns the lane of a name, None for any other text.
func LaneOf(name string) Lane {
	for _, l := range Lanes {
		if name == l.String() {
			return l
		}
	}
	return None
}

// A Denial is one denied request.
type Denial struct {
	At       int64 // cluster clock, Unix ms
	Policy   string
	Key      string // at most MaxKey bytes of it
	Lane     Lane
	Decision strategy.Decision
	Node     string // that decided; "" is this one
}

// shown returns the part of a key that is kept. It never ends within a character,
// and does not keep the rest alive.
func shown(key string) string {
	if len(key) <= MaxKey {
		return key
	}
	n := MaxKey
	for n > MaxKey-utf8.UTFMax && !utf8.RuneStart(key[n]) {
		n--
	}
	return strings.Clone(key[:n])
}
