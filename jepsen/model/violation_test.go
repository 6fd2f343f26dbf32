package model

import (
	"errors"
	"strings"
	"testing"
)

// A ring with a shortcut: 0 1 2 3 4 5, and from 1 to 4.
var ring = [][]int{{1}, {2, 4}, {3}, {4}, {5}, {0}}

func TestViolation(t *testing.T) {
	for _, tt := range []struct {
		name string
		g    graph
		path string
		text string
		err  error
	}{
		{"initial state", graph{starts: []int{2, 5}, bad: []int{5}}, "1:", "   0  initially  5\n", errBad},
		{"shortest", graph{starts: []int{0}, bad: []int{5}}, "0:0,1,0",
			"   0  initially  0\n   1  go(0)      1\n   2  go(1)      4\n   3  go(0)      5\n", errBad},
		{"step", graph{starts: []int{0}, forbidden: []int{4}}, "0:0,1",
			"   0  initially  0\n   1  go(0)      1\n   2  go(1)      (a step that must not happen)\n", errForbidden},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.g.edges = ring
			got, err := Explore(t.Context(), &tt.g, options(2))
			if err != nil {
				t.Fatal(err)
			}
			v := got.Violation
			if got.Stop != StopViolation || got.Violations != 1 || v == nil {
				t.Fatalf("%v, want one violation", got)
			}
			if v.Path.String() != tt.path || !errors.Is(v.Err, tt.err) {
				t.Errorf("path %v to %v, want %s to %v", v.Path, v.Err, tt.path, tt.err)
			}
			if want := tt.text + "      violated: " + tt.err.Error() + "\n"; v.String() != want {
				t.Errorf("transcript\n%swant\n%s", v, want)
			}
		})
	}
}

// A step that must not happen counts even if its state was visited before, and a
// bad state counts once.
func TestViolationsAreCounted(t *testing.T) {
	g := &graph{starts: []int{0}, edges: [][]int{{1, 1, 2}, {2, 3}, {3, 1}, {}}, bad: []int{1}, forbidden: []int{3}}
	got, err := Explore(t.Context(), g, counting(1))
	if err != nil {
		t.Fatal(err)
	}
	if got.Violations != 3 || got.Distinct != 3 || got.Stop != StopExhausted {
		t.Errorf("%v, want 3 distinct and 3 violations: state 1, 1->3, 2->3", got)
	}
}

// fragile panics where code with a broken invariant would.
type fragile struct {
	graph
	inCheck bool
}

func (f *fragile) Apply(v *vertex, a Action) error {
	_ = f.graph.Apply(v, a)
	if v.at == 4 && !f.inCheck {
		panic("ledger is negative")
	}
	return nil
}

func (f *fragile) Check(v *vertex) error {
	if v.at == 4 {
		panic("ledger is negative")
	}
	return nil
}

func TestPanicIsViolation(t *testing.T) {
	for _, inCheck := range []bool{false, true} {
		f := &fragile{graph{starts: []int{0}, edges: ring}, inCheck}
		got, err := Explore(t.Context(), f, options(1))
		if err != nil {
			t.Fatal(err)
		}
		var p *PanicError
		if got.Violation == nil || !errors.As(got.Violation.Err, &p) {
			t.Fatalf("in Check %v: %v, want a panic", inCheck, got)
		}
		if want := (Path{0, []Action{0, 1}}); got.Violation.Path.String() != want.String() {
			t.Errorf("in Check %v: path %v, want %v", inCheck, got.Violation.Path, want)
		}
		if !strings.Contains(string(p.Stack), "fragile") {
			t.Errorf("in Check %v: the stack does not lead to the panic:\n%s", inCheck, p.Stack)
		}
	}
}

// forgetful encodes two vertices alike, though they go different ways, and takes
// both for the greater.
type forgetful struct{ graph }

func (f *forgetful) Encode(dst []byte, v *vertex) []byte { return append(dst, byte(v.at/2)) }

func (f *forgetful) Decode(v *vertex, data []byte) error {
	v.at = 2*int(data[0]) + 1
	return nil
}

// altered decodes to another state than was encoded.
type altered struct{ forgetful }

func (*altered) Encode(dst []byte, v *vertex) []byte { return append(dst, byte(v.at)) }

func TestContractBroken(t *testing.T) {
	// 7 is reached from 3, which is never reached: 2 is taken for it.
	g := graph{starts: []int{1}, edges: [][]int{{}, {2}, {}, {7}, {}, {}, {}, {}}, bad: []int{7}}
	if got, err := Explore(t.Context(), &forgetful{g}, options(1)); !errors.Is(err, ErrNotEnabled) {
		t.Errorf("%v, %v: a violation that cannot be replayed was reported as one", got, err)
	}
	opt := options(1)
	opt.Verify = true
	if _, err := Explore(t.Context(), &altered{forgetful{g}}, opt); err == nil {
		t.Error("Verify accepted a state that changes when it is decoded")
	}
	if _, err := Explore(t.Context(), &graph{}, options(1)); err == nil {
		t.Error("a model without initial states was explored")
	}
}
