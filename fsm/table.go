package fsm

import (
	"iter"
	"maps"
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
	clone  func(*V) *V
}

type shard[V any] struct {
	epoch uint32
	quiet clock.Millis // nothing in it ends before then; 0 if nobody has looked
	m     map[string]*V
}

// newTable returns an empty table with a power of two of shards.
func newTable[V any](shards int, clone func(*V) *V) *table[V] {
	t := &table[V]{shards: make([]*shard[V], shards), clone: clone}
	for i := range t.shards {
		t.shards[i] = &shard[V]{}
	}
	return t
}

// shardOf is the same on every replica: frozen views are written in this order.
func (t *table[V]) shardOf(key []byte) int {
	return int(xxhash.Sum64(key) & uint64(len(t.shards)-1))
}

// get returns the value of key for reading only, or nil.
func (t *table[V]) get(key []byte) *V { return t.shards[t.shardOf(key)].m[string(key)] }

// edit returns the value of key for writing, or nil. It must be asked for again
// after a freeze.
func (t *table[V]) edit(key []byte) *V {
	i := t.shardOf(key)
	s := t.shards[i]
	v := s.m[string(key)]
	if v == nil || s.epoch == t.epoch {
		return v
	}
	return t.own(i).m[string(key)]
}

// put adds a value, which the table then owns, or replaces the one present.
func (t *table[V]) put(key []byte, v *V) {
	s := t.own(t.shardOf(key))
	if s.m == nil {
		s.m = make(map[string]*V)
	}
	before := len(s.m)
	s.m[string(key)] = v
	s.quiet = 0
	t.len += len(s.m) - before
}

// dropFrom deletes the values of shard i that have ended, telling gone about
// each, and returns how many values the shard had. The order is arbitrary: it
// must not matter. A shard without ended values is not touched, so not copied
// either.
func (t *table[V]) dropFrom(i int, ended func(*V) bool, gone func(*V)) int {
	n := len(t.shards[i].m)
	if n == 0 {
		return 0 // most shards of a small machine, and starting to range over a map costs
	}
	for _, v := range t.shards[i].m {
		if !ended(v) {
			continue
		}
		s := t.own(i)
		for k, v := range s.m {
			if ended(v) {
				gone(v)
				delete(s.m, k)
				t.len--
			}
		}
		break
	}
	return n
}

// dropEnded is dropFrom for values that end at an instant, which must never move
// closer. It does not look at a shard before the first of them ends.
func (t *table[V]) dropEnded(i int, now clock.Millis, end func(*V) clock.Millis, gone func(*V)) int {
	n := len(t.shards[i].m)
	if n == 0 || now < t.shards[i].quiet {
		return n
	}
	t.dropFrom(i, func(v *V) bool { return end(v) <= now }, gone)
	s := t.shards[i]
	s.quiet = clock.MaxInstant
	for _, v := range s.m {
		s.quiet = min(s.quiet, end(v))
	}
	return n
}

// editAll calls f for every value, for writing, in arbitrary order: that must
// not matter.
func (t *table[V]) editAll(f func(*V)) {
	for i := range t.shards {
		if len(t.shards[i].m) == 0 {
			continue
		}
		for _, v := range t.own(i).m {
			f(v)
		}
	}
}

// own returns shard i for writing, copied if a frozen view shares it.
func (t *table[V]) own(i int) *shard[V] {
	s := t.shards[i]
	if s.epoch == t.epoch {
		return s
	}
	c := &shard[V]{epoch: t.epoch, quiet: s.quiet}
	if s.m != nil {
		c.m = make(map[string]*V, len(s.m))
		for k, v := range s.m {
			c.m[k] = t.clone(v)
		}
	}
	t.shards[i] = c
	return c
}

// freeze returns a view of the table as it is now. Its cost depends on the
// number of shards, which is fixed, and not on what they hold.
func (t *table[V]) freeze() *table[V] {
	f := &table[V]{shards: slices.Clone(t.shards), epoch: t.epoch, len: t.len, clone: t.clone}
	t.epoch++
	return f
}

// sorted yields all entries in an order that depends on the keys alone: by
// shard, and by key within it.
func (t *table[V]) sorted() iter.Seq2[string, *V] {
	return func(yield func(string, *V) bool) {
		for _, s := range t.shards {
			if len(s.m) == 0 {
				continue
			}
			for _, k := range slices.Sorted(maps.Keys(s.m)) {
				if !yield(k, s.m[k]) {
					return
				}
			}
		}
	}
}
