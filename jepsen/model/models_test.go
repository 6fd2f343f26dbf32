package model

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// A vertex is a state of a graph.
type vertex struct{ at int }

func (v *vertex) String() string { return fmt.Sprint(v.at) }

// graph is a model with explicit states: edges[v] lists where one can go from v,
// repetitions and loops included. It breaks an invariant in every bad vertex, and
// a step may not lead to a forbidden one.
type graph struct {
	starts    []int
	edges     [][]int
	bad       []int
	forbidden []int
}

var (
	errBad       = errors.New("Good: a bad vertex")
	errForbidden = errors.New("a forbidden step")
)

func (g *graph) Kinds() []string         { return []string{"go", "never"} }
func (g *graph) Label(a Action) string   { return fmt.Sprintf("go(%d)", a.Arg()) }
func (g *graph) New() *vertex            { return &vertex{-1} }
func (g *graph) Observables() []string   { return []string{"vertex"} }
func (g *graph) Init(emit func(*vertex)) { each(g.starts, emit) }

func each(starts []int, emit func(*vertex)) {
	v := new(vertex)
	for _, v.at = range starts {
		emit(v)
	}
}

func (g *graph) Actions(dst []Action, v *vertex) []Action {
	for i := range g.edges[v.at] {
		dst = append(dst, Act(0, uint32(i)))
	}
	return dst
}

func (g *graph) Apply(v *vertex, a Action) error {
	v.at = g.edges[v.at][a.Arg()]
	if slices.Contains(g.forbidden, v.at) {
		return errForbidden
	}
	return nil
}

func (g *graph) Check(v *vertex) error {
	if slices.Contains(g.bad, v.at) {
		return errBad
	}
	return nil
}

func (g *graph) Observe(dst []int64, v *vertex) []int64 { return append(dst, int64(v.at)) }

// Encode writes states of different lengths, the empty one among them.
func (g *graph) Encode(dst []byte, v *vertex) []byte {
	if v.at == 0 {
		return dst
	}
	dst = binary.AppendUvarint(dst, uint64(v.at))
	return append(dst, make([]byte, v.at%7)...)
}

func (g *graph) Decode(v *vertex, data []byte) error {
	at, _ := binary.Uvarint(data)
	v.at = int(at)
	return nil
}

// A row is some counters.
type row struct{ n []uint8 }

func (r *row) String() string { return fmt.Sprint(r.n) }

// counters start at zero and count to top, one at a time. They are alike. It
// breaks the invariant if they stand, in some order, at full.
type counters struct {
	n, top int
	full   []uint8
}

func (c *counters) Kinds() []string       { return []string{"inc"} }
func (c *counters) Label(a Action) string { return fmt.Sprintf("inc(%d)", a.Arg()) }
func (c *counters) New() *row             { return &row{make([]uint8, c.n)} }
func (c *counters) Init(emit func(*row))  { emit(c.New()) }
func (c *counters) Canonicalise(r *row)   { slices.Sort(r.n) }

func (c *counters) Actions(dst []Action, r *row) []Action {
	for i, v := range r.n {
		if int(v) < c.top {
			dst = append(dst, Act(0, uint32(i)))
		}
	}
	return dst
}

func (c *counters) Apply(r *row, a Action) error {
	r.n[a.Arg()]++
	return nil
}

func (c *counters) Check(r *row) error {
	if c.full != nil && slices.Equal(slices.Sorted(slices.Values(r.n)), c.full) {
		return fmt.Errorf("NotFull: %v", r.n)
	}
	return nil
}

func (c *counters) Encode(dst []byte, r *row) []byte { return append(dst, r.n...) }

func (c *counters) Decode(r *row, data []byte) error {
	copy(r.n, data)
	return nil
}
