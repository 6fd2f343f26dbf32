package model

import (
	"bytes"
	"fmt"
	"math"
	"runtime/debug"
)

// A worker expands blocks. It has one state to work in, which it decodes anew
// for every action, and only reads the visited set.
type worker[S fmt.Stringer] struct {
	m     Model[S]
	rules rules[S]
	seen  *[shards]shard
	hash  hasher
	state S

	actions []Action
	scratch []byte
	values  []int64

	generated uint64
	terminal  uint64
	taken     []int64
	max       []int64
}

// rules are the optional parts of a model, as far as they are in use; nil if
// not.
type rules[S fmt.Stringer] struct {
	observe      func(dst []int64, s S) []int64
	observables  []string
	canonicalise func(S)
	verify       bool
}

func newWorker[S fmt.Stringer](m Model[S], r rules[S], seen *[shards]shard) *worker[S] {
	w := &worker[S]{m: m, rules: r, seen: seen, hash: newHasher(), state: m.New()}
	w.taken = make([]int64, len(m.Kinds()))
	w.max = make([]int64, len(r.observables))
	for i := range w.max {
		w.max[i] = math.MinInt64
	}
	return w
}

// start fills out with the initial states.
func (w *worker[S]) start(out *batch) error {
	out.reset()
	var err error
	n := 0
	w.m.Init(func(s S) {
		w.generated++
		if err == nil {
			err = w.submit(s, noState, Action(n), out)
		}
		n++
	})
	out.sort()
	return err
}

// expand fills out with the successors of a block's states that were not visited
// before this round. An error is a fault of the model, not of the system.
func (w *worker[S]) expand(b *block, out *batch) error {
	out.reset()
	for id, data := range b.each {
		if err := w.decode(data); err != nil {
			return err
		}
		w.actions = w.m.Actions(w.actions[:0], w.state)
		if len(w.actions) == 0 {
			w.terminal++
		}
		for i, a := range w.actions {
			if i > 0 {
				if err := w.decode(data); err != nil {
					return err
				}
			}
			if err := w.step(id, a, out); err != nil {
				return err
			}
		}
	}
	out.sort()
	return nil
}

func (w *worker[S]) decode(data []byte) error {
	if err := w.m.Decode(w.state, data); err != nil {
		return fmt.Errorf("decode state %x: %w", data, err)
	}
	return nil
}

func (w *worker[S]) step(parent stateID, a Action, out *batch) error {
	if int(a.Kind()) >= len(w.taken) {
		return fmt.Errorf("action %#x is of kind %d, which Kinds does not name", uint32(a), a.Kind())
	}
	w.generated++
	w.taken[a.Kind()]++
	if err := guard(func() error { return w.m.Apply(w.state, a) }); err != nil {
		out.flaws = append(out.flaws, flaw{parent, a, err, true, true})
		w.state = w.m.New() // Apply may have left it in pieces
		return nil
	}
	return w.submit(w.state, parent, a, out)
}

// submit makes s a candidate unless it was visited in an earlier round.
func (w *worker[S]) submit(s S, parent stateID, a Action, out *batch) error {
	if w.rules.canonicalise != nil {
		w.rules.canonicalise(s)
	}
	offset := len(out.data)
	out.data = w.m.Encode(out.data, s)
	sum := w.hash.sum(out.data[offset:])
	if w.seen[sum.shard()].seen.has(sum) {
		out.data = out.data[:offset]
		return nil
	}
	c := candidate{sum: sum, parent: parent, action: a, offset: uint32(offset)}
	if err := guard(func() error { return w.m.Check(s) }); err != nil {
		out.flaws = append(out.flaws, flaw{parent: parent, action: a, err: err})
		c.flaw = uint32(len(out.flaws))
	}
	out.cands = append(out.cands, c)
	w.observe(s)
	if w.rules.verify {
		return w.verify(out.data[offset:])
	}
	return nil
}

func (w *worker[S]) observe(s S) {
	if w.rules.observe == nil {
		return
	}
	w.values = w.rules.observe(w.values[:0], s)
	for i, v := range w.values {
		w.max[i] = max(w.max[i], v)
	}
}

// verify fails if a state is not what its bytes say.
func (w *worker[S]) verify(data []byte) error {
	if err := w.decode(data); err != nil {
		return err
	}
	w.scratch = w.m.Encode(w.scratch[:0], w.state)
	if !bytes.Equal(w.scratch, data) {
		return fmt.Errorf("state %x encodes to %x once it is decoded", data, w.scratch)
	}
	return nil
}

// A PanicError is a panic in Apply or Check, which counts as a violation: the
// real code that a model may drive panics where an invariant of its own broke.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// guard calls f and turns a panic into an error.
func guard(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{v, debug.Stack()}
		}
	}()
	return f()
}
