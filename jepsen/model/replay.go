package model

import (
	"fmt"
	"slices"
	"strings"
)

// A Trace is a path with what was seen along it. The last step is the one whose
// state, or which itself, broke an invariant.
type Trace struct {
	Path      Path   `json:"path"`
	Steps     []Step `json:"steps"` // the initial state first, so one more than actions
	Violation string `json:"violation"`
	Err       error  `json:"-"` // behind Violation, for errors.Is
}

// A Step is an action and the state it led to.
type Step struct {
	Action string `json:"action"`
	State  string `json:"state"`
}

// String returns the transcript of the trace, one numbered step to a line.
func (t *Trace) String() string {
	width := 0
	for _, s := range t.Steps {
		width = max(width, len(s.Action))
	}
	var b strings.Builder
	for i, s := range t.Steps {
		fmt.Fprintf(&b, "%4d  %-*s  %s\n", i, width, s.Action, s.State)
	}
	fmt.Fprintf(&b, "      violated: %s\n", t.Violation)
	return b.String()
}

// Replay executes a path again, without the engine's encoding, numbering and
// symmetry, up to the first violation. It returns ErrNoViolation, with the
// trace, if there is none.
func Replay[S fmt.Stringer](m Model[S], p Path) (*Trace, error) {
	s, err := start(m, p.Init)
	if err != nil {
		return nil, err
	}
	t := &Trace{Path: Path{Init: p.Init}}
	t.record("initially", s.String(), guard(func() error { return m.Check(s) }))
	for i, a := range p.Actions {
		if t.Err != nil {
			return t, nil
		}
		if !slices.Contains(m.Actions(nil, s), a) {
			return t, fmt.Errorf("replay step %d, %s: %w", i+1, label(m, a), ErrNotEnabled)
		}
		t.Path.Actions = append(t.Path.Actions, a)
		t.take(guard(func() error { return m.Apply(s, a) }), label(m, a), func() (string, error) {
			return s.String(), guard(func() error { return m.Check(s) })
		})
	}
	if t.Err == nil {
		return t, fmt.Errorf("replay %d steps: %w", len(p.Actions), ErrNoViolation)
	}
	return t, nil
}

// take records a step that Apply took or refused.
func (t *Trace) take(refused error, action string, look func() (string, error)) {
	if refused != nil {
		t.record(action, "(a step that must not happen)", refused)
		return
	}
	state, broken := look()
	t.record(action, state, broken)
}

func (t *Trace) record(action, state string, broken error) {
	t.Steps = append(t.Steps, Step{action, state})
	if broken != nil {
		t.Err, t.Violation = broken, broken.Error()
	}
}

// start returns the i-th initial state of m.
func start[S fmt.Stringer](m Model[S], i int) (S, error) {
	s := m.New()
	n := 0
	var err error
	m.Init(func(init S) {
		if n == i {
			err = m.Decode(s, m.Encode(nil, init)) // init is the model's own
		}
		n++
	})
	if err != nil {
		return s, fmt.Errorf("decode initial state %d: %w", i, err)
	}
	if i >= n {
		return s, fmt.Errorf("initial state %d of %d: %w", i, n, ErrNoSuchStart)
	}
	return s, nil
}

// label names an action, also one that the model does not know.
func label[S fmt.Stringer](m Model[S], a Action) string {
	if int(a.Kind()) >= len(m.Kinds()) {
		return fmt.Sprintf("action %d", uint32(a))
	}
	return m.Label(a)
}
