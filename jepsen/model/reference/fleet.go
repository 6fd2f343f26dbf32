package reference

import "math/bits"

// maxNodes bounds a fleet, all whose subsets are initial states.
const maxNodes = 16

// What nodes and their coordinator do in both models of a fleet.
const (
	reallocate uint8 = iota
	join
	leave
	acquire
	release
)

var fleetKinds = []string{"Reallocate", "Join", "Leave", "Acquire", "Release"}

// A Hold is the part of the limit that a node is taken to occupy when the share
// of another is computed.
type Hold string

const (
	HoldNone      Hold = "none"      // nothing: the stateless split, refuted
	HoldShare     Hold = "share"     // its share: refuted, since work in progress outlives a share
	HoldOccupancy Hold = "occupancy" // the greater of its share and its slots in use
)

func (h Hold) of(share, inflight int) int {
	switch h {
	case HoldShare:
		return share
	case HoldOccupancy:
		return max(share, inflight)
	}
	return 0
}

// A Target is the share that a node would get if nobody stood in the way.
type Target string

const (
	EqualSplit         Target = "equal"  // ⌈limit/n⌉
	DemandProportional Target = "demand" // a satisfied node what it uses and one more, hungry ones the rest
)

var (
	holds   = []Hold{HoldNone, HoldShare, HoldOccupancy}
	targets = []Target{EqualSplit, DemandProportional}
)

// target returns what node self is to have. A node is hungry if it uses all of
// its share. The satisfied ones are left room for one slot more than they use,
// and the hungry ones divide what remains, the first of them a slot more where
// it does not come out even.
func (m *Heartbeat) target(s *heartbeatState, self int) int {
	if m.Target == EqualSplit {
		return ceilDiv(m.Limit, bits.OnesCount32(s.live))
	}
	if s.inflight[self] < s.share[self] {
		return s.inflight[self] + 1
	}
	spare, hungry, rank := m.Limit, 0, 0
	for n := range m.Nodes {
		switch {
		case !s.alive(n):
		case s.inflight[n] < s.share[n]:
			spare -= s.inflight[n] + 1
		default:
			hungry++
			if n < self {
				rank++
			}
		}
	}
	spare = max(0, spare)
	target := spare / hungry // self is one of them
	if rank < spare%hungry {
		target++
	}
	return max(1, target)
}

func ceilDiv(a, b int) int { return (a + b - 1) / b }
