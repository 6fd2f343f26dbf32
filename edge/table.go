package edge

import (
	"hash/maphash"
	"sync/atomic"
)

// A table finds keys by name: a hash table with open addressing, made for many
// readers and few writers. find takes no lock and allocates nothing; the other
// methods are called under Edge.tables.
//
// A reader sees a key from the moment that its slot is written. While the table
// grows, readers of the old slots miss what is added to the new ones, and so
// take the slow path, which looks again under the lock.
type table struct {
	seed  maphash.Seed
	slots atomic.Pointer[[]atomic.Pointer[Key]] // a power of two, never full
	used  int                                   // slots with a key or a grave
	live  int                                   // keys
}

// grave marks the slot of a key that was removed. No key has its empty name.
var grave = new(Key)

const minSlots = 16

func newTable(seed maphash.Seed) *table {
	t := &table{seed: seed}
	s := make([]atomic.Pointer[Key], minSlots)
	t.slots.Store(&s)
	return t
}

// find returns the key of that name, or nil.
func (t *table) find(name string) *Key {
	h := maphash.String(t.seed, name)
	slots := *t.slots.Load()
	mask := uint64(len(slots) - 1)
	for i := h; ; i++ {
		k := slots[i&mask].Load()
		if k == nil || k.hash == h && k.name == name {
			return k
		}
	}
}

// add inserts a key that is not in the table.
func (t *table) add(k *Key) {
	k.hash = maphash.String(t.seed, k.name)
	slots := *t.slots.Load()
	if t.used >= len(slots)/2 {
		t.rebuild()
		slots = *t.slots.Load()
	}
	place(slots, k)
	t.used++
	t.live++
}

// remove takes a key out.
func (t *table) remove(k *Key) {
	slots := *t.slots.Load()
	mask := uint64(len(slots) - 1)
	for i := k.hash; ; i++ {
		switch slots[i&mask].Load() {
		case k:
			slots[i&mask].Store(grave)
			t.live--
			return
		case nil:
			return
		}
	}
}

// rebuild copies the keys into fresh slots, without the graves, so that at most
// a quarter of them is in use.
func (t *table) rebuild() {
	n := minSlots
	for n < 4*(t.live+1) {
		n *= 2
	}
	fresh := make([]atomic.Pointer[Key], n)
	t.each(func(k *Key) bool {
		place(fresh, k)
		return true
	})
	t.used = t.live
	t.slots.Store(&fresh)
}

// place puts k into the first free slot of its chain.
func place(slots []atomic.Pointer[Key], k *Key) {
	mask := uint64(len(slots) - 1)
	for i := k.hash; ; i++ {
		if slots[i&mask].Load() == nil {
			slots[i&mask].Store(k)
			return
		}
	}
}

// each calls f for every key until f returns false.
func (t *table) each(f func(*Key) bool) {
	slots := *t.slots.Load()
	for i := range slots {
		if k := slots[i].Load(); k != nil && k != grave && !f(k) {
			return
		}
	}
}
