package doors

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/tkcoord/tkcoord/jepsen/model"
	"github.com/tkcoord/tkcoord/jepsen/model/cluster"
	"pgregory.net/rapid"
)

// busy returns a world in which everything can happen. There is room for many
// messages: when a message that a normal form has dropped takes a place, another
// one may be lost for it, which normal forms do not need.
func busy(t Traffic) World {
	w := CI()
	w.Traffic, w.Clocks, w.Requests, w.Answers = []string{string(t)}, AllClocks, 4, 4
	w.Faults, w.Duplicates = 9, 0
	w.Limit, w.Limits, w.Windows = 2, []int{1, 2, 3}, 2
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
	return w.begin(Traffic(w.Traffic[0]), func(process int) bool { return fast>>process&1 == 1 })
}

func same(a, b map[string]model.Action) bool {
	return maps.EqualFunc(a, b, func(_, _ model.Action) bool { return true })
}

// randomStep takes a random step that makes no room for a message by losing another.
func randomStep(t *rapid.T, w *World, s *state) {
	actions := slices.DeleteFunc(w.Actions(nil, s), func(a model.Action) bool { return cluster.Chosen(a).Victim > 0 })
	if len(actions) == 0 {
		return
	}
	if err := w.Apply(s, actions[rapid.IntRange(0, len(actions)-1).Draw(t, "action")]); err != nil {
		t.Fatal(err)
	}
}

// TestNormalFormsBehaveAlike: a state as it comes and its normal form go on to
// the same normal forms. That is what lets one stand for the other. Normal forms
// are the same after their encoding, too.
func TestNormalFormsBehaveAlike(t *testing.T) {
	for _, traffic := range traffics {
		t.Run(string(traffic), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				w := busy(traffic)
				raw := w
				raw.raw = true
				s := start(&raw, rapid.IntRange(0, 15).Draw(t, "start"))
				for range rapid.IntRange(1, 15).Draw(t, "steps") {
					n := copyOf(&w, s)
					n.normalise()
					if c := copyOf(&w, n); c.String() != n.String() || normalBytes(&w, c) != normalBytes(&w, n) {
						t.Fatalf("%v\nis decoded as\n%v", n, c)
					}
					want, got := successors(&raw, s), successors(&w, n)
					if !same(want, got) {
						t.Fatalf("%v\nand its normal form\n%v\ngo on differently: %s", s, n, difference(&raw, want, got))
					}
					randomStep(t, &raw, s)
				}
			})
		})
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
			text += "\nonly the second: " + w.Label(act)
		}
	}
	return text
}

// TestCanonicalForms: exchanging clients and nodes does not change what represents
// a state, and representatives go on alike.
func TestCanonicalForms(t *testing.T) {
	for _, traffic := range traffics[:2] {
		t.Run(string(traffic), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				w := busy(traffic)
				w.Clients, w.Leaders = 3, 3
				s := start(&w, rapid.IntRange(0, 63).Draw(t, "start"))
				for range rapid.IntRange(1, 20).Draw(t, "steps") {
					randomStep(t, &w, s)
				}
				p := copyOf(&w, s)
				i, k := rapid.IntRange(0, 2).Draw(t, "client"), rapid.IntRange(0, 2).Draw(t, "client")
				p.clients[i], p.clients[k] = p.clients[k], p.clients[i]
				p.Swap(rapid.IntRange(0, 2).Draw(t, "node"), 0)
				w.Canonicalise(p)
				c := copyOf(&w, s)
				w.Canonicalise(c)
				if a, b := w.Encode(nil, c), w.Encode(nil, p); !bytes.Equal(a, b) {
					t.Fatalf("%v\nis represented by %x, with processes exchanged by %x", s, a, b)
				}
				if a, b := successors(&w, s), successors(&w, c); !same(a, b) {
					t.Fatalf("%v\nand its representative\n%v\ngo on differently: %s", s, c, difference(&w, a, b))
				}
			})
		})
	}
}

// TestSmoke explores a small world of all traffic, and with symmetry sees what it
// sees without.
func TestSmoke(t *testing.T) {
	w := Small()
	w.Leaders, w.Faults = 1, 1
	w.Deaths, w.Restores = 1, 1
	half := explore(t, w, func(o *model.Options) { o.Verify = true })
	all := explore(t, w, func(o *model.Options) { o.Symmetry = false })
	if half.Violation != nil || !half.Complete() || half.Distinct >= all.Distinct {
		t.Errorf("%v, without symmetry %v\n%v", half, all, half.Violation)
	}
	if got, want := fmt.Sprint(half.Max, half.Depth), fmt.Sprint(all.Max, all.Depth); got != want {
		t.Errorf("seen %s with symmetry, %s without", got, want)
	}
}

// TestDeletedSlots: slots of a policy that is deleted count until they end, also if
// it is made again before.
func TestDeletedSlots(t *testing.T) {
	w := Small()
	w.Traffic, w.Leaders, w.Changes, w.Delete = []string{string(Slots)}, 1, 1, true
	if res := explore(t, w, nil); res.Violation != nil || !res.Complete() {
		t.Errorf("%v\n%v", res, res.Violation)
	}
}
