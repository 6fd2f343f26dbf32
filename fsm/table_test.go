package fsm

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/tkcoord/tkcoord/fsm/clock"
	"pgregory.net/rapid"
)

// check reports a broken invariant of a table.
func (t *table[V]) check() error {
	total := 0
	for i, s := range t.shards {
		total += len(s.slots)
		used := 0
		for _, p := range s.index {
			if p != 0 {
				used++
			}
		}
		if used != len(s.slots) || used > 0 && used == len(s.index) {
			return fmt.Errorf("shard %d has %d values, %d of %d places are used", i, len(s.slots), used, len(s.index))
		}
		for n := range s.slots {
			key := []byte(s.slots[n].key)
			if at := t.spotOf(key); at.shard != i || at.tag != s.slots[n].tag || s.find(key, at.tag) != n {
				return fmt.Errorf("%q in slot %d of shard %d is not found", key, n, i)
			}
		}
	}
	if total != t.len {
		return fmt.Errorf("%d values are counted as %d", total, t.len)
	}
	return nil
}

// contents returns what a table holds, and checks the order of sorted.
func contents(t *rapid.T, tab *table[clock.Millis]) map[string]clock.Millis {
	all := map[string]clock.Millis{}
	shard, before := -1, ""
	for k, v := range tab.sorted() {
		if i := tab.spotOf([]byte(k)).shard; i < shard || i == shard && k <= before {
			t.Fatalf("%q in shard %d comes after %q in shard %d", k, i, before, shard)
		} else {
			shard, before = i, k
		}
		all[k] = *v
	}
	return all
}

// TestTable: a table is a map, and what was frozen stays as it was.
func TestTable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tab := newTable[clock.Millis](4, nil)
		want := map[string]clock.Millis{}
		var frozen []*table[clock.Millis]
		var then []map[string]clock.Millis
		now := clock.Millis(0)
		key := rapid.Custom(func(t *rapid.T) []byte { return fmt.Append(nil, "key", rapid.IntRange(0, 150).Draw(t, "key")) })
		end := rapid.Custom(func(t *rapid.T) clock.Millis { return now + clock.Millis(rapid.IntRange(1, 50).Draw(t, "end")) })
		drop := func(v *clock.Millis) { // told once about each value that is dropped
			for k, e := range want {
				if e == *v && e <= now {
					delete(want, k)
					return
				}
			}
			t.Fatalf("%d was dropped at %d", *v, now)
		}
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				for range rapid.IntRange(1, 30).Draw(t, "keys") {
					k, v := key.Draw(t, "k"), end.Draw(t, "v")
					if got := tab.put(k, &v); *got != v || got == &v {
						t.Fatalf("put(%q, %d) = %d", k, v, *got)
					}
					want[string(k)] = v
				}
			},
			"edit": func(t *rapid.T) {
				k := key.Draw(t, "k")
				v, known := want[string(k)]
				got := tab.edit(k)
				if (got != nil) != known || known && *got != v {
					t.Fatalf("edit(%q) = %v, want %d, %v", k, got, v, known)
				}
				if known { // it may only end later
					*got += 7
					want[string(k)] += 7
				}
			},
			"drop": func(t *rapid.T) {
				k := key.Draw(t, "k")
				tab.drop(k)
				delete(want, string(k))
			},
			"dropEnded": func(t *rapid.T) {
				now += clock.Millis(rapid.IntRange(0, 40).Draw(t, "pass"))
				for i := range tab.shards {
					if n, had := tab.dropEnded(i, now, func(v *clock.Millis) clock.Millis { return *v }, drop), len(tab.shards[i].slots); n < had {
						t.Fatalf("shard %d had %d values, %d are left", i, n, had)
					}
				}
				for k, v := range want {
					if v <= now {
						t.Fatalf("%q ended at %d and is there at %d", k, v, now)
					}
				}
			},
			"editAll": func(t *rapid.T) {
				tab.editAll(func(v *clock.Millis) { *v += 3 })
				for k := range want {
					want[k] += 3
				}
			},
			"freeze": func(t *rapid.T) {
				frozen, then = append(frozen, tab.freeze()), append(then, maps.Clone(want))
			},
			"": func(t *rapid.T) {
				if err := tab.check(); err != nil {
					t.Fatal(err)
				}
				if got := contents(t, tab); !maps.Equal(got, want) {
					t.Fatalf("the table has %v, want %v", got, want)
				}
				k := key.Draw(t, "k")
				if v, known := want[string(k)]; (tab.get(k) != nil) != known || known && *tab.get(k) != v {
					t.Fatalf("get(%q) = %v, want %d, %v", k, tab.get(k), v, known)
				}
				for i, f := range frozen {
					if got := contents(t, f); !maps.Equal(got, then[i]) || f.len != len(got) {
						t.Fatalf("a frozen table has %v, want %v", got, then[i])
					}
				}
			},
		})
	})
}

// TestShardProbes: keys with equal and neighbouring tags find each other's places
// and leave them again, whatever goes first.
func TestShardProbes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s shard[int]
		tags := map[string]uint32{}
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				k := fmt.Sprint(rapid.IntRange(0, 40).Draw(t, "key"))
				if _, known := tags[k]; !known {
					tags[k] = uint32(rapid.SampledFrom([]int{0, 1, 2, 6, 7, 8, 1<<32 - 1}).Draw(t, "tag"))
					s.add(k, tags[k])
				}
			},
			"remove": func(t *rapid.T) {
				if keys := slices.Sorted(maps.Keys(tags)); len(keys) > 0 {
					k := rapid.SampledFrom(keys).Draw(t, "key")
					s.remove(s.find([]byte(k), tags[k]))
					delete(tags, k)
				}
			},
			"shrink": func(*rapid.T) { s.shrink() },
			"": func(t *rapid.T) {
				if len(s.slots) != len(tags) {
					t.Fatalf("%d slots, want %d", len(s.slots), len(tags))
				}
				for k, tag := range tags {
					if n := s.find([]byte(k), tag); n < 0 || s.slots[n].key != k {
						t.Fatalf("%q with tag %d is in slot %d", k, tag, n)
					}
				}
				if n := s.find([]byte("nobody"), 7); n >= 0 {
					t.Fatalf("a key that is not there is in slot %d", n)
				}
			},
		})
	})
}
