package model

import (
	"math/bits"

	"github.com/cespare/xxhash/v2"
)

// A digest stands for a state. It is never zero, which marks a free slot.
type digest struct{ a, b uint64 }

// secondSeed makes the second half of a digest; any value but zero, the seed of
// the first half, will do.
const secondSeed = 0x9e3779b97f4a7c15

// A hasher computes digests. It belongs to one goroutine.
type hasher struct{ second *xxhash.Digest }

func newHasher() hasher { return hasher{xxhash.NewWithSeed(secondSeed)} }

func (h hasher) sum(data []byte) digest {
	h.second.ResetWithSeed(secondSeed)
	_, _ = h.second.Write(data) // never fails
	d := digest{xxhash.Sum64(data), h.second.Sum64()}
	if d == (digest{}) {
		d.a = 1
	}
	return d
}

// A hashSet is an open-addressed set of digests with linear probing. It grows by
// half when four fifths of its slots are taken, so a member costs between 20 and
// 30 bytes; a power of two would cost up to 40.
//
// Invariant: n <= 4/5 of the slots, so every probe meets a free slot.
type hashSet struct {
	slots []digest
	n     int
}

const firstSlots = 8

// has reports whether d is a member. Several goroutines may ask at once while
// nobody inserts.
func (s *hashSet) has(d digest) bool {
	if len(s.slots) == 0 {
		return false
	}
	_, found := s.find(d)
	return found
}

// insert adds d and reports whether it was new.
func (s *hashSet) insert(d digest) bool {
	if s.n+1 > len(s.slots)/5*4 {
		s.grow()
	}
	i, found := s.find(d)
	if found {
		return false
	}
	s.slots[i] = d
	s.n++
	return true
}

// find returns the slot that holds d, or the free slot where it belongs.
func (s *hashSet) find(d digest) (slot int, found bool) {
	// The high word of the product spreads b evenly over any number of slots. The
	// shard is taken from a, so b is uniform within a shard.
	hi, _ := bits.Mul64(d.b, uint64(len(s.slots)))
	for i := int(hi); ; {
		switch s.slots[i] {
		case d:
			return i, true
		case digest{}:
			return i, false
		}
		if i++; i == len(s.slots) {
			i = 0
		}
	}
}

func (s *hashSet) grow() {
	old := s.slots
	s.slots = make([]digest, max(firstSlots, len(old)+len(old)/2))
	for _, d := range old {
		if d != (digest{}) {
			i, _ := s.find(d)
			s.slots[i] = d
		}
	}
}
