package real

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/tkcoord/tkcoord/jepsen/model"
	"github.com/tkcoord/tkcoord/jepsen/model/cluster"
	"pgregory.net/rapid"
)

// busy returns a world in which everything can happen. There is room for many
// messages: when a message that a normal form has dropped takes a place, another
// one may be lost for it, which normal forms do not need.
func busy() World {
	w := CI()
	w.Clocks, w.Requests, w.Answers = AllClocks, 4, 6
	w.Faults, w.Duplicates, w.Returns = 9, 0, 2
	w.Limit, w.Wants, w.Limits = 2, []int{0, 1, 2}, []int{1, 2, 3}
	w.Lengths, w.Delete, w.Windows = []int{7, 10}, true, 2
	return w
}

// copyOf returns s by way of its bytes, in w.
func copyOf(w *World, s *state) *state {
	c := w.with(s.d)
	if err := w.Decode(c, w.Encode(nil, s)); err != nil {
		panic(err)
	}
	return c
}

// successors returns the normal forms of what may come after s, s itself among
// them, with the action that leads there.
func successors(w *World, s *state) map[string]model.Action {
	next := map[string]model.Action{normalBytes(w, s): model.Act(tick, 0)}
	for _, a := range w.Actions(nil, s) {
		c := copyOf(w, s)
		if err := w.Apply(c, a); err != nil {
			panic(err)
		}
		next[normalBytes(w, c)] = a
	}
	return next
}

func normalBytes(w *World, s *state) string {
	c := copyOf(w, s)
	c.normalise()
	w.Canonicalise(c)
	return string(w.Encode(nil, c))
}

// start returns the initial state in which the processes whose bits are set are
// fast.
func start(w *World, fast int) *state {
	return w.begin(func(process int) bool { return fast>>process&1 == 1 })
}

// TestNormalFormsBehaveAlike: a state as it comes and its normal form go on to
// the same normal forms. That is what lets one stand for the other.
func TestNormalFormsBehaveAlike(t *testing.T) {
	for _, w := range []World{busy(), slewed(), idle()} {
		rapid.Check(t, func(t *rapid.T) { walk(t, w) })
	}
}

func slewed() World {
	w := busy()
	w.Slew, w.Pipeline = 250_000, 2
	return w
}

func idle() World {
	w := busy()
	w.Idle = 6
	return w
}

func walk(t *rapid.T, w World) {
	raw := w
	raw.raw = true
	s := start(&raw, rapid.IntRange(0, 15).Draw(t, "start"))
	for range rapid.IntRange(1, 25).Draw(t, "steps") {
		n := copyOf(&w, s)
		n.normalise()
		want, got := successors(&raw, s), successors(&w, n)
		if !maps.EqualFunc(want, got, func(_, _ model.Action) bool { return true }) {
			t.Fatalf("%v\nand its normal form\n%v\ngo on differently: %s", s, n, difference(&raw, want, got))
		}
		actions := raw.Actions(nil, s)
		actions = slices.DeleteFunc(actions, func(a model.Action) bool { return cluster.Chosen(a).Victim > 0 })
		if len(actions) == 0 {
			return
		}
		a := actions[rapid.IntRange(0, len(actions)-1).Draw(t, "action")]
		if err := raw.Apply(s, a); err != nil {
			t.Fatal(err)
		}
	}
}

func difference(w *World, a, b map[string]model.Action) string {
	text := ""
	for k, act := range a {
		if _, ok := b[k]; !ok {
			text += "\nonly the first: " + w.Label(act)
		}
	}
	for k, act := range b {
		if _, ok := a[k]; !ok {
			text += "\nonly the normal form: " + w.Label(act)
		}
	}
	return text
}

// TestCanonicalForms: exchanging edges and nodes does not change what represents
// a state, and representatives go on alike.
func TestCanonicalForms(t *testing.T) {
	w := busy()
	w.Edges, w.Leaders, w.Pipeline = 3, 3, 1
	rapid.Check(t, func(t *rapid.T) {
		s := start(&w, rapid.IntRange(0, 63).Draw(t, "start"))
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			actions := w.Actions(nil, s)
			if err := w.Apply(s, actions[rapid.IntRange(0, len(actions)-1).Draw(t, "action")]); err != nil {
				t.Fatal(err)
			}
		}
		p := copyOf(&w, s)
		p.exchange2(rapid.IntRange(0, 2).Draw(t, "edge"), rapid.IntRange(0, 2).Draw(t, "node"))
		w.Canonicalise(p)
		c := copyOf(&w, s)
		w.Canonicalise(c)
		if a, b := w.Encode(nil, c), w.Encode(nil, p); !bytes.Equal(a, b) {
			t.Fatalf("%v\nis represented by %x, with processes exchanged by %x", s, a, b)
		}
		if a, b := successors(&w, s), successors(&w, c); !maps.EqualFunc(a, b, func(_, _ model.Action) bool { return true }) {
			t.Fatalf("%v\nand its representative\n%v\ngo on differently: %s", s, c, difference(&w, a, b))
		}
	})
}

// exchange2 exchanges an edge and a node with the next one.
func (s *state) exchange2(edge, node int) {
	e, n := (edge+1)%len(s.edges), (node+1)%len(s.Nodes)
	s.edges[edge], s.edges[e] = s.edges[e], s.edges[edge]
	s.Nodes[node], s.Nodes[n] = s.Nodes[n], s.Nodes[node]
	for i := range s.pending {
		switch p := &s.pending[i]; p.edge {
		case edge:
			p.edge = e
		case e:
			p.edge = edge
		}
	}
	switch s.Leader {
	case node:
		s.Leader = n
	case n:
		s.Leader = node
	}
}

// TestSymmetryFindsTheSame: with symmetry fewer states are visited, and what can
// be seen in them is the same.
func TestSymmetryFindsTheSame(t *testing.T) {
	w := Small()
	w.Elections, w.Windows = 1, 0
	half := explore(t, w, func(o *model.Options) { o.Verify = true })
	all := explore(t, w, func(o *model.Options) { o.Symmetry = false })
	if half.Distinct >= all.Distinct || half.Distinct*4 < all.Distinct {
		t.Errorf("%d states of %d", half.Distinct, all.Distinct)
	}
	if got, want := fmt.Sprint(half.Max, half.Depth), fmt.Sprint(all.Max, all.Depth); got != want {
		t.Errorf("seen %s with symmetry, %s without", got, want)
	}
}

// TestSweepIsAnAction: an entry applied to a machine just loaded sweeps none of
// the shards that hold something, and sweepAll all of them.
func TestSweepIsAnAction(t *testing.T) {
	w := busy()
	w.Idle = 3
	s := start(&w, 0)
	s.head.open, s.head.window.Start, s.head.window.End = true, s.head.now-10, s.head.now
	for i := range s.edges {
		s.edges[i].record = record{exists: true, incarnation: 1, holder: 1, seen: s.head.now - 10}
	}
	s.d.batch.Reset()
	if _, err := s.apply(s.d.batch.Seal(0, 1)); err != nil {
		t.Fatal(err)
	}
	if !s.head.open || !s.edges[0].record.exists || !s.edges[1].record.exists {
		t.Errorf("swept: %v", s)
	}
	s.head.deleted = true
	if err := s.sweepAll(); err != nil {
		t.Fatal(err)
	}
	if s.head.open || s.edges[0].record.exists || s.edges[1].record.exists {
		t.Errorf("not swept: %v", s)
	}
}

// TestEncoding: states survive their encoding, along random runs
// through a world larger than any that is explored to its end.
func TestEncoding(t *testing.T) {
	for _, w := range []World{busy(), slewed(), idle()} {
		s := start(&w, 5)
		r := rand.New(rand.NewPCG(1, 2))
		for range 2000 {
			actions := w.Actions(nil, s)
			if err := w.Apply(s, actions[r.IntN(len(actions))]); err != nil {
				t.Fatal(err)
			}
			data := w.Encode(nil, s)
			c := copyOf(&w, s)
			if again := w.Encode(nil, c); !bytes.Equal(data, again) {
				t.Fatalf("%v\nis %x, decoded %x", s, data, again)
			}
			if s.String() != c.String() {
				t.Fatalf("%v\nis decoded as\n%v", s, c)
			}
			c.normalise()
			if again := w.Encode(nil, c); !bytes.Equal(data, again) {
				t.Fatalf("%v\nhas the normal form\n%v", s, c)
			}
			if s.Tick == w.ticks() && r.IntN(40) == 0 {
				s = start(&w, r.IntN(16))
			}
		}
	}
}
