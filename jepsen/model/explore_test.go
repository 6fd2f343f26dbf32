package model

import (
	"cmp"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// options are the defaults with a number of workers.
func options(workers int) Options {
	opt := DefaultOptions()
	opt.Workers = workers
	return opt
}

// counting are options that visit everything.
func counting(workers int) Options {
	opt := options(workers)
	opt.Continue = true
	opt.Verify = true
	return opt
}

// dumb explores a graph one state at a time, in maps, for Explore to be compared
// with. It also returns after how many actions a flaw can be met, -1 if never.
func dumb(g *graph) (res *Result, nearest int) {
	nearest = -1
	flawed := func(steps int) {
		res.Violations++
		if nearest < 0 || steps < nearest {
			nearest = steps
		}
	}
	res = &Result{Stop: StopExhausted, Max: []Count{{"vertex", 0}}, Taken: []Count{{"go", 0}, {"never", 0}}}
	depth := map[int]int{}
	var queue []int
	visit := func(v, d int) {
		res.Generated++
		if _, ok := depth[v]; ok {
			return
		}
		depth[v] = d
		queue = append(queue, v)
		res.Distinct++
		res.Depth = max(res.Depth, d)
		res.Max[0].Value = max(res.Max[0].Value, int64(v))
		if slices.Contains(g.bad, v) {
			flawed(d - 1)
		}
	}
	for _, v := range g.starts {
		visit(v, 1)
	}
	for len(queue) > 0 {
		v := queue[0]
		queue = queue[1:]
		if len(g.edges[v]) == 0 {
			res.Terminal++
		}
		for _, to := range g.edges[v] {
			res.Taken[0].Value++
			if slices.Contains(g.forbidden, to) {
				res.Generated++
				flawed(depth[v])
				continue
			}
			visit(to, depth[v]+1)
		}
	}
	return res, nearest
}

func drawGraph(t *rapid.T) *graph {
	n := rapid.IntRange(1, 60).Draw(t, "vertices")
	v := rapid.IntRange(0, n-1)
	g := &graph{
		starts: rapid.SliceOfN(v, 1, 3).Draw(t, "starts"),
		bad:    rapid.SliceOfN(v, 0, 2).Draw(t, "bad"),
	}
	for range n {
		g.edges = append(g.edges, rapid.SliceOfN(v, 0, 4).Draw(t, "edges"))
	}
	if f := v.Draw(t, "forbidden"); !slices.Contains(g.starts, f) {
		g.forbidden = []int{f}
	}
	return g
}

// plain takes from a result what differs between runs or is not a count.
func plain(r *Result) *Result {
	c := *r
	c.Elapsed, c.Memory, c.Violation = 0, 0, nil
	return &c
}

func TestExploreAgreesWithDumb(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := drawGraph(t)
		got, err := Explore(t.Context(), g, counting(2))
		if err != nil {
			t.Fatal(err)
		}
		want, nearest := dumb(g)
		if !reflect.DeepEqual(plain(got), want) {
			t.Fatalf("Explore = %+v\nwant      %+v", plain(got), want)
		}
		steps := -1
		if got.Violation != nil {
			steps = len(got.Violation.Path.Actions)
		}
		if steps != nearest {
			t.Fatalf("violation after %d steps, want %d:\n%v", steps, nearest, got.Violation)
		}
	})
}

// A hypercube of n dimensions has C(n,k) states at depth k+1, more than fit in a
// block or a round, and n edges from each state.
func TestHypercube(t *testing.T) {
	const n = 17
	var first *Result
	for _, workers := range []int{1, 2, 5} {
		got, err := Explore(t.Context(), &counters{n: n, top: 1}, options(workers))
		if err != nil {
			t.Fatal(err)
		}
		want := &Result{
			Distinct: 1 << n, Generated: 1 + n<<(n-1), Depth: n + 1, Terminal: 1,
			Taken: []Count{{"inc", n << (n - 1)}}, Stop: StopExhausted,
		}
		if !reflect.DeepEqual(plain(got), want) {
			t.Errorf("%d workers: %+v, want %+v", workers, plain(got), want)
		}
		if perState := float64(got.Memory) / float64(got.Distinct); perState > 42 {
			t.Errorf("%d workers: %.1f bytes for a visited state, want at most 42", workers, perState)
		}
		first = cmp.Or(first, got)
		if got.Memory != first.Memory {
			t.Errorf("%d workers: %d bytes, others took %d", workers, got.Memory, first.Memory)
		}
	}
}

// Everything but the time must be the same for any number of workers, also where
// an exploration is cut short and which of several shortest paths is shown.
func TestWorkersDoNotMatter(t *testing.T) {
	for _, tt := range []struct {
		name string
		set  func(*Options)
	}{
		{"all", func(o *Options) { o.Continue = true }},
		{"first violation", func(*Options) {}},
		{"states", func(o *Options) { o.MaxStates = 5000 }},
		{"depth", func(o *Options) { o.MaxDepth = 7 }},
		{"symmetry", func(o *Options) { o.Symmetry = true }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var first *Result
			for _, workers := range []int{1, 2, 3, 8} {
				opt := options(workers)
				tt.set(&opt)
				got, err := Explore(t.Context(), &counters{n: 6, top: 5, full: []uint8{2, 2, 2, 3, 3, 3}}, opt)
				if err != nil {
					t.Fatal(err)
				}
				got.Elapsed = 0
				first = cmp.Or(first, got)
				if !reflect.DeepEqual(got, first) {
					t.Errorf("%d workers: %+v, one: %+v", workers, got, first)
				}
			}
		})
	}
}

func TestSymmetry(t *testing.T) {
	opt := counting(2)
	opt.Symmetry = true
	got, err := Explore(t.Context(), &counters{n: 4, top: 6, full: []uint8{1, 2, 2, 5}}, opt)
	if err != nil {
		t.Fatal(err)
	}
	if want := uint64(210); got.Distinct != want { // C(6+4, 4), multisets of four
		t.Errorf("%d distinct, want %d", got.Distinct, want)
	}
	if got.Violations != 1 || len(got.Violation.Path.Actions) != 10 {
		t.Errorf("%d violations, want 1 after 10 steps:\n%v", got.Violations, got.Violation)
	}
}

// biased says that its counters are alike, but only the second may stand at 2.
type biased struct{ counters }

func (b *biased) Check(r *row) error {
	if r.n[0] == 2 {
		return errBad
	}
	return nil
}

func TestSymmetryThatIsNone(t *testing.T) {
	opt := options(1)
	opt.Symmetry = true
	b := &biased{counters{n: 2, top: 2}}
	if res, err := Explore(t.Context(), b, opt); err == nil {
		t.Errorf("explored as if it were symmetric: %v", res)
	}
	if _, err := Explore(t.Context(), &graph{starts: []int{0}, edges: [][]int{{}}}, opt); err == nil {
		t.Error("a model without Canonicalise was explored under symmetry")
	}
}
