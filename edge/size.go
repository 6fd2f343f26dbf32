package edge

import (
	"time"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm/clock"
)

// How much an edge asks for never matters to safety; it trades exchanges
// against credits that lie idle. The rule, per key:
//
//	demand   = (credits spent + credits missed since the last answer) per Horizon
//	size     = demand, but at most 4 times and at least half of the size before,
//	           and at least 4; 8 for a new key
//	prefetch = size for the part of the Horizon that the window still has, but
//	           at most 1/8 of the limit
//
// An ask wants the credits that requests wait for and prefetch on top. Half of
// prefetch is the low-water mark: falling to it asks for more, so a key in steady
// use holds credits for half a Horizon at any time. That outlasts a round trip and,
// with the default, an election: a new leader grants again within a second or so.
// With limits below 8 nothing is prefetched for Check, and one credit for Allow,
// which cannot wait: there every credit that lies idle at the wrong edge is a
// denial somewhere else.
const (
	firstSize  = 8
	minSize    = 4 // so that a slow key does not ask for each request
	maxGrowth  = 4
	limitShare = 8
	lowShare   = 2
)

// maxSize keeps sizes far from overflow.
const maxSize = escrow.MaxCredits / 8

// nextSize follows the demand of one horizon.
func nextSize(size, demand escrow.Credits) escrow.Credits {
	return min(max(demand, size/2, minSize), maxGrowth*max(size, 1), maxSize)
}

// demand extrapolates what n credits in a span come to in one horizon, rounded
// up. Spans below a millisecond count as one.
func demand(n escrow.Credits, span clock.Nanos, horizon time.Duration) escrow.Credits {
	if n <= 0 {
		return 0
	}
	d := float64(n) * float64(horizon) / float64(max(span, clock.NanosPerMilli))
	if d >= float64(maxSize) {
		return maxSize
	}
	return escrow.Credits(d) + 1
}

// prefetch is what to hold beyond what requests wait for. rest is what the
// window still has, 0 if that is not known; limit is 0 if it is not known. local
// says that the key is used by Allow.
func prefetch(size escrow.Credits, rest, horizon time.Duration, limit escrow.Credits, local bool) escrow.Credits {
	if rest > 0 && rest < horizon {
		size = escrow.Credits(float64(size)*float64(rest)/float64(horizon)) + 1
	}
	size = min(size, limit/limitShare)
	if local {
		size = max(size, 1)
	}
	return size
}

// lowWater is the mark for a key that holds left and would like to hold pre:
// -1, never, if nothing is prefetched, nothing is held or nobody else has
// anything left. A grant that came short moves it down, so that the same short
// answer is not asked for again at once.
func lowWater(pre, left, elsewhere escrow.Credits) int64 {
	if pre <= 0 || left <= 0 || elsewhere <= 0 {
		return -1
	}
	return int64(min(pre/lowShare, left/2))
}
