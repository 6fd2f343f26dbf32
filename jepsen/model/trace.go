package model

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
)

// trace rebuilds the way to the first flaw and executes it.
func (e *explorer[S]) trace(r rules[S]) (*Trace, error) {
	p := e.path(e.first)
	if r.canonicalise != nil {
		var err error
		if p, err = lift(e.m, r.canonicalise, p); err != nil {
			return nil, fmt.Errorf("violation %q: %w", e.first.err, err)
		}
	}
	t, err := Replay(e.m, p)
	if err != nil {
		return t, fmt.Errorf("violation %q, path %v, did not happen again: %w", e.first.err, p, err)
	}
	if len(t.Path.Actions) != len(p.Actions) {
		return t, fmt.Errorf("violation %q, path %v, happened after %d of %d steps: Decode or Canonicalise loses something",
			e.first.err, p, len(t.Path.Actions), len(p.Actions))
	}
	return t, nil
}

// path follows the links from a flaw back to an initial state.
func (e *explorer[S]) path(f *flaw) Path {
	var actions []Action
	at := link{f.parent, f.action}
	for at.parent != noState {
		actions = append(actions, at.action)
		at = e.shards[at.parent.shard()].links[at.parent.index()]
	}
	slices.Reverse(actions)
	return Path{Init: int(at.action), Actions: actions}
}

// lift turns a path over representatives, where the parts may change places
// after every step, into one that the system itself can take.
func lift[S fmt.Stringer](m Model[S], canonicalise func(S), p Path) (Path, error) {
	rep, err := start(m, p.Init)
	if err != nil {
		return p, err
	}
	l := lifter[S]{m, canonicalise, m.New()}
	at := m.Encode(nil, rep)
	canonicalise(rep)
	lifted := Path{Init: p.Init}
	for _, a := range p.Actions {
		var want []byte // stays nil for a step that must not happen
		if guard(func() error { return m.Apply(rep, a) }) == nil {
			canonicalise(rep)
			want = m.Encode(nil, rep)
		}
		b, next, err := l.match(at, want)
		if err != nil {
			return p, fmt.Errorf("lift %s: %w", m.Label(a), err)
		}
		lifted.Actions = append(lifted.Actions, b)
		at = next
	}
	return lifted, nil
}

type lifter[S fmt.Stringer] struct {
	m            Model[S]
	canonicalise func(S)
	s            S
}

// match finds the action that leads from a state to one that is represented by
// want, or, if want is nil, a step that must not happen. It returns that state.
func (l lifter[S]) match(from, want []byte) (Action, []byte, error) {
	if err := l.m.Decode(l.s, from); err != nil {
		return 0, nil, err
	}
	for _, a := range l.m.Actions(nil, l.s) {
		if err := l.m.Decode(l.s, from); err != nil {
			return 0, nil, err
		}
		if guard(func() error { return l.m.Apply(l.s, a) }) != nil {
			if want == nil {
				return a, nil, nil
			}
			continue
		}
		next := l.m.Encode(nil, l.s)
		l.canonicalise(l.s)
		if want != nil && bytes.Equal(l.m.Encode(nil, l.s), want) {
			return a, next, nil
		}
	}
	return 0, nil, errors.New("no action does the same before the parts changed places")
}
