package fsm

import (
	"cmp"
	"hash/maphash"
	"iter"
	"slices"

	"github.com/cespare/xxhash/v2"
	"github.com/tkcoord/tkcoord/fsm/clock"
)

// A table is a map that can be frozen in constant time. It is cut into shards by
// a hash of the key; freezing shares the shards, and the first write to a
// shared shard copies it. So a frozen view can be read by another goroutine
// while the table goes on, and the cost of a freeze is spread over the writes
// that follow it.
//
// The goroutine that applies the log owns the table; frozen views are
// read-only.
type table[V any] struct {
	shards []*shard[V]
	epoch  uint32 // counts freezes; a shard of an older epoch is shared
	len    int
	seed   maphash.Seed
	part   func(*V) // parts a copied value from its original, nil if it shares nothing
}

// newTable returns an empty table with a power of two of shards.
func newTable[V any](shards int, part func(*V)) *table[V] {
	t := &table[V]{shards: make([]*shard[V], shards), seed: maphash.MakeSeed(), part: part}
	empty := make([]shard[V], shards) // in one piece: machines are made often in tests
	for i := range t.shards {
		t.shards[i] = &empty[i]
	}
	return t
}

// A spot is where a key belongs.
type spot struct {
	shard int    // the same on every replica: frozen views are written in this order
	tag   uint32 // within the shard
}

// spotOf returns the spot of a key. Tags differ between processes, so that nobody
// can choose keys that collide, and nothing of them reaches the state.
func (t *table[V]) spotOf(key []byte) spot {
	return spot{int(xxhash.Sum64(key) & uint64(len(t.shards)-1)), uint32(maphash.Bytes(t.seed, key))}
}

// touchIndex and touchSlot read what editAt will read first, and then.
func (t *table[V]) touchIndex(at spot) uint32 { return t.shards[at.shard].first(at.tag).tag() }

func (t *table[V]) touchSlot(at spot) uint32 {
	s := t.shards[at.shard]
	if p := s.first(at.tag); p != 0 {
		return s.slots[p.slot()].tag + uint32(s.slots[p.slot()].key[0])
	}
	return 0
}

// get returns the value of key for reading only, or nil.
func (t *table[V]) get(key []byte) *V {
	at := t.spotOf(key)
	s := t.shards[at.shard]
	if n := s.find(key, at.tag); n >= 0 {
		return &s.slots[n].value
	}
	return nil
}

// edit returns the value of key for writing, or nil. It must be asked for again
// after a freeze, and after a put or a drop.
func (t *table[V]) edit(key []byte) *V { return t.editAt(t.spotOf(key), key) }

// editAt is edit for a key whose spot is known.
func (t *table[V]) editAt(at spot, key []byte) *V {
	n := t.shards[at.shard].find(key, at.tag)
	if n < 0 {
		return nil
	}
	return &t.own(at.shard).slots[n].value
}

// put adds a value, or replaces the one present, and returns it for writing.
func (t *table[V]) put(key []byte, v *V) *V { return t.putAt(t.spotOf(key), key, v) }

// putAt is put for a key whose spot is known.
func (t *table[V]) putAt(at spot, key []byte, v *V) *V {
	s := t.own(at.shard)
	n := s.find(key, at.tag)
	if n < 0 {
		n = s.add(string(key), at.tag)
		t.len++
	}
	s.slots[n].value = *v
	s.quiet = 0
	return &s.slots[n].value
}

// drop deletes the value of a key, if there is one.
func (t *table[V]) drop(key []byte) {
	at := t.spotOf(key)
	if n := t.shards[at.shard].find(key, at.tag); n >= 0 {
		s := t.own(at.shard)
		s.remove(n)
		s.shrink()
		t.len--
	}
}

// dropFrom deletes the values of shard i that have ended, telling gone about
// each, and returns how many values the shard had. The order is arbitrary: it
// must not matter. A shard without ended values is not touched, so not copied
// either.
func (t *table[V]) dropFrom(i int, ended func(*V) bool, gone func(*V)) int {
	s := t.shards[i]
	before := len(s.slots)
	for n := 0; n < len(s.slots); {
		if !ended(&s.slots[n].value) {
			n++
			continue
		}
		s = t.own(i)
		gone(&s.slots[n].value)
		s.remove(n)
		t.len--
	}
	if len(s.slots) < before {
		s.shrink()
	}
	return before
}

// dropEnded is dropFrom for values that end at an instant, which must not move
// closer unless endsAt or look is told. It does not look at a shard before the first of them ends.
func (t *table[V]) dropEnded(i int, now clock.Millis, end func(*V) clock.Millis, gone func(*V)) int {
	before := len(t.shards[i].slots)
	if before == 0 || now < t.shards[i].quiet {
		return before
	}
	first := clock.MaxInstant
	t.dropFrom(i, func(v *V) bool {
		e := end(v)
		if e > now {
			first = min(first, e)
		}
		return e <= now
	}, gone)
	t.shards[i].quiet = first
	return before
}

// look makes the next dropEnded look at each shard again. Call it when values may
// end sooner than they did.
func (t *table[V]) look() {
	for _, s := range t.shards {
		s.quiet = 0
	}
}

// endsAt tells that a value at that spot, which was edited, ends at an instant.
func (t *table[V]) endsAt(at spot, end clock.Millis) {
	s := t.shards[at.shard]
	s.quiet = min(s.quiet, end)
}

// editAll calls f for every value, for writing, in arbitrary order: that must
// not matter.
func (t *table[V]) editAll(f func(*V)) {
	for i := range t.shards {
		if len(t.shards[i].slots) == 0 {
			continue
		}
		s := t.own(i)
		for n := range s.slots {
			f(&s.slots[n].value)
		}
	}
}

// own returns shard i for writing, copied if a frozen view shares it.
func (t *table[V]) own(i int) *shard[V] {
	s := t.shards[i]
	if s.epoch != t.epoch {
		s = s.copy(t.part)
		s.epoch = t.epoch
		t.shards[i] = s
	}
	return s
}

// freeze returns a view of the table as it is now. Its cost depends on the
// number of shards, which is fixed, and not on what they hold.
func (t *table[V]) freeze() *table[V] {
	f := *t
	f.shards = slices.Clone(t.shards)
	t.epoch++
	return &f
}

// sorted yields all entries in an order that depends on the keys alone: by
// shard, and by key within it.
func (t *table[V]) sorted() iter.Seq2[string, *V] {
	return func(yield func(string, *V) bool) {
		var order []*slot[V]
		for _, s := range t.shards {
			order = order[:0]
			for n := range s.slots {
				order = append(order, &s.slots[n])
			}
			slices.SortFunc(order, func(a, b *slot[V]) int { return cmp.Compare(a.key, b.key) })
			for _, e := range order {
				if !yield(e.key, &e.value) {
					return
				}
			}
		}
	}
}
