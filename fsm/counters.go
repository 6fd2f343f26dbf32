package fsm

import (
	"encoding/binary"
	"math"
	"math/bits"

	"github.com/tkcoord/tkcoord/escrow"
)

// Counters are sums over the keys of one policy, in credits. A sum beyond
// math.MaxInt64 shows as that.
type Counters struct {
	// Over the keys that have a record now. The credits are of windows that edges
	// may have leases of; other strategies and meters count keys alone.
	LiveKeys                          int64
	LiveCapacity, LiveOut, LiveUsed   escrow.Credits
	GrantedTotal, ReturnedTotal, Used escrow.Credits // since the policy was made
	Refused                           int64          // asks whose need was not met, and denials
	// WorstOvershoot is the largest used − capacity of any window, at most 0
	// while G1 holds; it counts a window's highest capacity.
	WorstOvershoot escrow.Credits
}

// counters are the Counters as replicas keep them.
//
// Invariant: the first four are the sums over the ledgers of the policy, and
// states counts its cells and meters.
type counters struct {
	keys                         int64
	capacity, out, used          sum
	granted, returned, usedTotal escrow.Credits // stay at the largest number once there
	refused                      int64
	overshoot                    escrow.Credits
	states                       int64
}

// add counts a ledger.
func (c *counters) add(l *escrow.Ledger) {
	c.keys++
	c.capacity.add(l.Capacity())
	c.out.add(l.Out())
	c.used.add(l.Used())
}

// remove takes back what add counted. Between the two the ledger must not change.
func (c *counters) remove(l *escrow.Ledger) {
	c.keys--
	c.capacity.sub(l.Capacity())
	c.out.sub(l.Out())
	c.used.sub(l.Used())
}

// moved adds what one ask moved to the totals.
func (c *counters) moved(before, after escrow.Allotment) {
	c.granted = saturated(c.granted, after.Granted-before.Granted)
	c.returned = saturated(c.returned, after.Returned-before.Returned)
	c.usedTotal = saturated(c.usedTotal, after.Used-before.Used)
}

// spent adds what the owner took or gave away by itself.
func (c *counters) spent(taken, given escrow.Credits) {
	c.granted = saturated(c.granted, taken+given)
	c.usedTotal = saturated(c.usedTotal, taken)
}

// saturated is a + b for numbers that are not negative, at most the largest.
func saturated(a, b escrow.Credits) escrow.Credits { return a + min(b, math.MaxInt64-a) }

func (c *counters) shown() Counters {
	return Counters{
		LiveKeys: c.keys + c.states, LiveCapacity: c.capacity.credits(), LiveOut: c.out.credits(), LiveUsed: c.used.credits(),
		GrantedTotal: c.granted, ReturnedTotal: c.returned, Used: c.usedTotal,
		Refused: c.refused, WorstOvershoot: c.overshoot,
	}
}

func appendCounters(b []byte, c *counters) []byte {
	b = binary.AppendUvarint(b, uint64(c.keys))
	b = binary.AppendUvarint(b, uint64(c.states))
	for _, s := range [...]sum{c.capacity, c.out, c.used} {
		b = binary.AppendUvarint(b, s.hi)
		b = binary.AppendUvarint(b, s.lo)
	}
	for _, n := range [...]escrow.Credits{c.granted, c.returned, c.usedTotal, escrow.Credits(c.refused)} {
		b = binary.AppendUvarint(b, uint64(n))
	}
	return binary.AppendVarint(b, int64(c.overshoot))
}

func (r *reader) counters() counters {
	total := func() escrow.Credits { return escrow.Credits(r.count(math.MaxInt64)) }
	return counters{
		keys: int64(r.count(math.MaxInt64)), states: int64(r.count(math.MaxInt64)),
		capacity: sum{r.uvarint(), r.uvarint()}, out: sum{r.uvarint(), r.uvarint()}, used: sum{r.uvarint(), r.uvarint()},
		granted: total(), returned: total(), usedTotal: total(), refused: int64(total()),
		overshoot: escrow.Credits(r.varint()),
	}
}

// A sum adds up credits in 128 bits: a thousand keys with the largest limit are
// more than 64 hold.
type sum struct{ hi, lo uint64 }

func (s *sum) add(n escrow.Credits) {
	var carry uint64
	s.lo, carry = bits.Add64(s.lo, uint64(n), 0)
	s.hi += carry
}

func (s *sum) sub(n escrow.Credits) {
	var borrow uint64
	s.lo, borrow = bits.Sub64(s.lo, uint64(n), 0)
	s.hi -= borrow
}

// credits returns the sum, at most math.MaxInt64.
func (s sum) credits() escrow.Credits {
	if s.hi > 0 || s.lo > math.MaxInt64 {
		return math.MaxInt64
	}
	return escrow.Credits(s.lo)
}
