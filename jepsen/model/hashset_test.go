package model

import (
	"encoding/binary"
	"testing"

	"pgregory.net/rapid"
)

func TestHashSet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		// Few values of b make long runs of taken slots, and some that wrap.
		word := rapid.SampledFrom([]uint64{0, 1, 1 << 61, 1 << 62, 1<<64 - 1})
		var s hashSet
		members := map[digest]bool{}
		for range rapid.IntRange(0, 300).Draw(t, "inserts") {
			d := digest{rapid.Uint64Range(1, 40).Draw(t, "a"), word.Draw(t, "b")}
			if s.has(d) != members[d] {
				t.Fatalf("has(%v) = %v", d, !members[d])
			}
			if s.insert(d) == members[d] {
				t.Fatalf("insert(%v) = %v, second %v", d, !members[d], members[d])
			}
			members[d] = true
		}
		for d := range members {
			if !s.has(d) {
				t.Fatalf("%v was lost", d)
			}
		}
		if s.n != len(members) || s.n > len(s.slots)*4/5 {
			t.Fatalf("%d members in %d slots, want %d members", s.n, len(s.slots), len(members))
		}
	})
}

// Both halves of a digest and the bits that choose its shard must tell states
// apart that differ in one small number.
func TestDigestsAreApart(t *testing.T) {
	const n = 1 << 16
	h := newHasher()
	a, b := map[uint64]bool{}, map[uint64]bool{}
	var perShard [shards]int
	for i := range uint64(n) {
		d := h.sum(binary.AppendUvarint(nil, i))
		a[d.a], b[d.b] = true, true
		perShard[d.shard()]++
		if d.a == d.b {
			t.Errorf("the halves of the digest of %d are equal", i)
		}
	}
	if len(a) != n || len(b) != n {
		t.Errorf("%d and %d different halves of %d digests", len(a), len(b), n)
	}
	for s, got := range perShard {
		if want := n / shards; got < want*4/5 || got > want*6/5 {
			t.Errorf("%d digests in shard %d, want about %d", got, s, want)
		}
	}
}

func BenchmarkExplore(b *testing.B) {
	b.ReportAllocs() // one iteration explores 131,072 states by 1,114,112 steps
	for b.Loop() {
		if _, err := Explore(b.Context(), &counters{n: 17, top: 1}, DefaultOptions()); err != nil {
			b.Fatal(err)
		}
	}
}
