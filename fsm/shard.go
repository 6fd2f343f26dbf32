package fsm

import (
	"slices"

	"github.com/tkcoord/tkcoord/fsm/clock"
)

// A shard is a hash table that keeps its values side by side: copying it after a
// freeze is copying memory, and the garbage collector does not follow a pointer
// to each. A pointer to a value is good until the next add or remove.
//
// Invariant: each slot is in the index exactly once, on the way from its home,
// tag mod len(index), to the next empty place.
type shard[V any] struct {
	epoch uint32
	quiet clock.Millis // nothing in it ends before then; 0 if nobody has looked
	slots []slot[V]    // in no particular order
	index []place      // a power of two of them, or none
}

type slot[V any] struct {
	key   string
	tag   uint32 // of key
	value V
}

// A place of the index has the tag of a key, which is a hash of it, and one more
// than the number of its slot. 0 is an empty place.
type place uint64

func placeOf(tag uint32, n int) place { return place(tag)<<32 | place(n+1) }

func (p place) tag() uint32 { return uint32(p >> 32) }
func (p place) slot() int   { return int(uint32(p)) - 1 }

// find returns the number of key's slot, or -1.
func (s *shard[V]) find(key []byte, tag uint32) int {
	if len(s.index) == 0 {
		return -1
	}
	mask := uint32(len(s.index) - 1)
	for i := tag & mask; s.index[i] != 0; i = (i + 1) & mask {
		if p := s.index[i]; p.tag() == tag && s.slots[p.slot()].key == string(key) {
			return p.slot()
		}
	}
	return -1
}

// first returns the place where find looks first, 0 if there is nothing.
func (s *shard[V]) first(tag uint32) place {
	if len(s.index) == 0 {
		return 0
	}
	return s.index[tag&uint32(len(s.index)-1)]
}

// where returns the place in the index that has slot n, whose key has a tag.
func (s *shard[V]) where(tag uint32, n int) uint32 {
	mask := uint32(len(s.index) - 1)
	i := tag & mask
	for s.index[i] != placeOf(tag, n) {
		i = (i + 1) & mask
	}
	return i
}

// add makes an empty slot for a key that has none and returns its number.
func (s *shard[V]) add(key string, tag uint32) int {
	n := len(s.slots)
	if n == cap(s.slots) { // append would double it
		s.slots = append(make([]slot[V], 0, n+n/4+4), s.slots...)
	}
	s.slots = append(s.slots, slot[V]{key: key, tag: tag})
	if 4*len(s.slots) > 3*len(s.index) {
		s.reindex(max(8, 2*len(s.index)))
	} else {
		s.link(tag, n)
	}
	return n
}

// link puts slot n into the index.
func (s *shard[V]) link(tag uint32, n int) {
	mask := uint32(len(s.index) - 1)
	i := tag & mask
	for s.index[i] != 0 {
		i = (i + 1) & mask
	}
	s.index[i] = placeOf(tag, n)
}

func (s *shard[V]) reindex(size int) {
	s.index = make([]place, size)
	for n := range s.slots {
		s.link(s.slots[n].tag, n)
	}
}

// remove deletes slot n. The last slot takes its number.
func (s *shard[V]) remove(n int) {
	s.unlink(s.where(s.slots[n].tag, n))
	last := len(s.slots) - 1
	if n < last {
		s.index[s.where(s.slots[last].tag, last)] = placeOf(s.slots[last].tag, n)
		s.slots[n] = s.slots[last]
	}
	s.slots[last] = slot[V]{} // nothing of it stays reachable
	s.slots = s.slots[:last]
}

// unlink empties place i and moves up those behind it that were pushed there.
func (s *shard[V]) unlink(i uint32) {
	mask := uint32(len(s.index) - 1)
	for j := (i + 1) & mask; s.index[j] != 0; j = (j + 1) & mask {
		if home := s.index[j].tag() & mask; (j-home)&mask >= (j-i)&mask {
			s.index[i] = s.index[j]
			i = j
		}
	}
	s.index[i] = 0
}

// shrink gives memory back when most of it is unused.
func (s *shard[V]) shrink() {
	if cap(s.slots) <= 16 || 4*len(s.slots) > cap(s.slots) {
		return
	}
	s.slots = slices.Clone(s.slots)
	size := 8
	for 4*len(s.slots) > 3*size {
		size *= 2
	}
	s.reindex(size)
}

// copy returns a shard with the same values, parted from these.
func (s *shard[V]) copy(part func(*V)) *shard[V] {
	c := &shard[V]{quiet: s.quiet, slots: slices.Clone(s.slots), index: slices.Clone(s.index)}
	if part != nil {
		for n := range c.slots {
			part(&c.slots[n].value)
		}
	}
	return c
}
