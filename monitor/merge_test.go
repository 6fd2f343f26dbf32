package monitor

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// No count is too small, no key that is missing was seen more often than the
// smallest count, and that holds for what several nodes saw together.
func TestHeavyHitters(t *testing.T) {
	key := rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o"})
	rapid.Check(t, func(t *rapid.T) {
		all := map[string]int64{}
		var lists [][]Count
		for _, stream := range rapid.SliceOfN(rapid.SliceOfN(key, 0, 60), 1, 4).Draw(t, "nodes") {
			var h heavy
			exact := map[string]int64{}
			for _, k := range stream {
				h.add(k)
				exact[k]++
				all[k]++
			}
			checkHeavy(t, h.top(), exact)
			lists = append(lists, h.top())
		}
		checkHeavy(t, mergeCounts(lists...), all)
	})
}

func checkHeavy(t *rapid.T, got []Count, exact map[string]int64) {
	t.Helper()
	if len(got) != min(len(exact), Top) {
		t.Fatalf("%d keys of %d", len(got), len(exact))
	}
	if !slices.IsSortedFunc(got, func(a, b Count) int {
		if a.Count != b.Count {
			return int(b.Count - a.Count)
		}
		return slices.Compare([]byte(a.Key), []byte(b.Key))
	}) {
		t.Fatalf("not sorted: %v", got)
	}
	missing := map[string]int64{}
	for k, n := range exact {
		missing[k] = n
	}
	for _, c := range got {
		if c.Count < exact[c.Key] {
			t.Fatalf("%s was seen %d times, the list says %d", c.Key, exact[c.Key], c.Count)
		}
		if len(exact) <= Top && c.Count != exact[c.Key] {
			t.Fatalf("%s was seen %d times, a list with room says %d", c.Key, exact[c.Key], c.Count)
		}
		delete(missing, c.Key)
	}
	for k, n := range missing {
		if n > got[len(got)-1].Count {
			t.Fatalf("%s was seen %d times and is missing from %v", k, n, got)
		}
	}
}

// A new key takes the place of the smallest count m, and starts at m+1.
func TestReplacesSmallest(t *testing.T) {
	var h heavy
	for i := range Top {
		for range 10 - i {
			h.add(string(rune('a' + i)))
		}
	}
	h.add("new")
	got := h.top()
	if got[0] != (Count{"a", 10}) || got[8] != (Count{"i", 2}) || got[9] != (Count{"new", 2}) {
		t.Errorf("%v", got)
	}
}

func TestRank(t *testing.T) {
	upTo := func(n int) (s []float64) {
		for i := n; i > 0; i-- {
			s = append(s, float64(i))
		}
		return s
	}
	for _, c := range []struct{ n, p50, p99, max int }{{1, 1, 1, 1}, {2, 1, 2, 2}, {3, 2, 3, 3}, {100, 50, 99, 100}, {101, 51, 100, 101}, {256, 128, 254, 256}} {
		l := summarise(upTo(c.n))
		if l.P50 != Number(c.p50) || l.P99 != Number(c.p99) || l.Max != Number(c.max) || l.Avg != Number(float64(c.n+1)/2) || l.N != c.n {
			t.Errorf("1 to %d: %+v, want p50 %d, p99 %d, max %d", c.n, l, c.p50, c.p99, c.max)
		}
	}
	if l := summarise(nil); l != (Latency{}) {
		t.Errorf("of nothing: %+v", l)
	}
}

// The newest samples are kept.
func TestLatencies(t *testing.T) {
	for _, n := range []int{0, 1, Samples - 1, Samples, Samples + 1, 2 * Samples, 3*Samples + 5} {
		var l latencies
		for i := range n {
			l.add(float64(i))
		}
		got := l.all()
		slices.Sort(got)
		if len(got) != min(n, Samples) || n > 0 && (got[0] != float64(n-len(got)) || got[len(got)-1] != float64(n-1)) {
			t.Errorf("of %d: %v", n, got)
		}
	}
}

func TestMerge(t *testing.T) {
	a := Report{Node: "a", At: 5*Window + 10, Policies: []Observed{
		{Name: "old", Window: 3 * Window, Allowed: 9, Denied: 9, TopDenied: []Count{{"x", 9}}, Limit: 4, LimitAt: 7, Latency: []float64{1}},
		{Name: "p", Window: 5 * Window, Allowed: 1, Denied: 2, ByLane: [lanes]int64{1, 1, 0, 0}, TopRequested: []Count{{"k", 3}}, Limit: 10, LimitAt: 5*Window + 5, Latency: []float64{1, 2}},
	}, Denials: []Denial{{At: 1, Key: "1"}, {At: 4, Key: "4"}}}
	b := Report{Node: "b", At: 5*Window - 3, Policies: []Observed{ // it has not begun the window
		{Name: "p", Window: 4 * Window, Allowed: 100, Denied: 100, TopRequested: []Count{{"l", 200}}, Limit: 11, LimitAt: 5*Window - 5, Latency: []float64{9}},
	}, Denials: []Denial{{At: 2, Key: "2"}}}
	c := Report{Node: "c", At: 5*Window + 20, Policies: []Observed{
		{Name: "p", Window: 5 * Window, Allowed: 10, Denied: 20, ByLane: [lanes]int64{0, 0, 0, 20}, TopRequested: []Count{{"l", 30}}, Limit: 12, LimitAt: 5*Window + 6},
	}, Denials: []Denial{{At: 3, Key: "3"}}}
	m := Merge(a, b, c)
	if len(m.Policies) != 2 || m.At != c.At {
		t.Fatalf("%+v", m)
	}
	if o := m.Policies[0]; o.Name != "old" || o.Window != 5*Window || o.Allowed+o.Denied != 0 || o.TopDenied != nil || o.Limit != 4 || len(o.Latency) != 1 {
		t.Errorf("counts of a past window: %+v", o)
	}
	p := m.Policies[1]
	if p.Allowed != 11 || p.Denied != 22 || p.ByLane != [lanes]int64{1, 1, 0, 20} || p.Limit != 12 {
		t.Errorf("%+v", p)
	}
	if !slices.Equal(p.TopRequested, []Count{{"l", 30}, {"k", 3}}) {
		t.Errorf("keys %v", p.TopRequested)
	}
	slices.Sort(p.Latency)
	if !slices.Equal(p.Latency, []float64{1, 2, 9}) {
		t.Errorf("samples %v", p.Latency)
	}
	var order string
	for _, d := range m.Denials {
		order += d.Key + d.Node
	}
	if order != "1a2b3c4a" {
		t.Errorf("denials %s", order)
	}
	if got := Merge(); len(got.Policies) != 0 || len(got.Denials) != 0 {
		t.Errorf("of none: %+v", got)
	}
}

// Denials of all nodes are the newest of all.
func TestMergeBounds(t *testing.T) {
	many := Report{Node: "a"}
	for i := range Recent {
		many.Denials = append(many.Denials, Denial{At: int64(i)})
	}
	m := Merge(many, Report{Node: "b", Denials: []Denial{{At: 0}, {At: 1000}}})
	if len(m.Denials) != Recent || m.Denials[Recent-1].Node != "b" || m.Denials[0].At != 1 {
		t.Errorf("%d denials, from %+v to %+v", len(m.Denials), m.Denials[0], m.Denials[len(m.Denials)-1])
	}
}
