package fsm

import (
	"errors"
	"fmt"
	"testing"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"pgregory.net/rapid"
)

// TestAgreesWithReference: the machine answers like the dumb one, whatever edges
// and operators do, and every invariant holds after every entry.
func TestAgreesWithReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, ref := New(), newReference(tight())
		s := newStory(t, m)
		seen := witness{windows: map[string]escrow.Window{}}
		one(t, m, s.now, Genesis{ClusterID: "c", Settings: tight()})
		ref.now = s.now
		c := Command(s.founding())
		for range rapid.IntRange(1, 60).Draw(t, "entries") {
			stamp := s.stamp()
			want, err := ref.apply(m, stamp, c)
			if err != nil {
				t.Fatalf("%+v at %d: %v", c, stamp, err)
			}
			got := one(t, m, stamp, c)
			if err := sameResult(got, want); err != nil {
				t.Fatalf("%+v at %d: %v", c, stamp, err)
			}
			if err := m.Check(); err != nil {
				t.Fatalf("after %+v at %d: %v", c, stamp, err)
			}
			if err := seen.check(m); err != nil {
				t.Fatalf("after %+v at %d: %v", c, stamp, err)
			}
			s.heard(c, got)
			if s.one("sweep", 6) == 5 {
				for range 64 {
					one(t, m, m.now, nil)
				}
			}
			c = s.command()
		}
	})
}

// one applies an entry with one command, or with none.
func one(t *rapid.T, m *Machine, stamp clock.Millis, c Command) Result {
	var b Batch
	if c != nil {
		b.Add(c)
	}
	out, err := m.Apply(m.Index()+1, b.Seal(stamp, 1), true)
	if err != nil {
		t.Fatal(err)
	}
	if c == nil {
		return Result{}
	}
	return out.Results[0]
}

// sameResult compares errors by their kind.
func sameResult(got, want Result) error {
	if !sameError(got.Err, want.Err) || got.Session != want.Session || got.Version != want.Version || len(got.Answers) != len(want.Answers) {
		return fmt.Errorf("got %+v, want %+v", got, want)
	}
	for i := range got.Answers {
		g, w := got.Answers[i], want.Answers[i]
		if !sameError(g.Err, w.Err) {
			return fmt.Errorf("answer %d: got %v, want %v", i, g.Err, w.Err)
		}
		if g.Err, w.Err = nil, nil; g != w {
			return fmt.Errorf("answer %d: got %+v, want %+v", i, g, w)
		}
	}
	return nil
}

func sameError(got, want error) bool {
	if _, ok := want.(*FieldError); ok {
		_, ok := errors.AsType[*FieldError](got)
		return ok
	}
	return errors.Is(got, want)
}

// A witness has seen earlier states and knows what may not happen between two.
type witness struct {
	now     clock.Millis
	windows map[string]escrow.Window // newest of each budget
	holders map[string]escrow.Allotment
}

func (w *witness) check(m *Machine) error {
	if m.now < w.now {
		return fmt.Errorf("the clock ran back from %d to %d", w.now, m.now)
	}
	w.now = m.now
	before := w.holders
	w.holders = map[string]escrow.Allotment{}
	for b := range m.Freeze().Budgets {
		name := b.Policy + "/" + b.Key
		old, known := w.windows[name]
		sameWindow := known && b.Window.Start == old.Start
		if known && !sameWindow && b.Window.Start < old.End || sameWindow && b.Window.End < old.End {
			return fmt.Errorf("%s: window %v after %v", name, b.Window, old)
		}
		w.windows[name] = b.Window
		var out escrow.Credits
		for _, h := range b.Holders {
			out += h.Granted - h.Returned
			id := fmt.Sprintf("%s in %d of %d", name, b.Window.Start, h.Holder)
			if o := before[id]; h.Granted < o.Granted || h.Returned < o.Returned || h.Used < o.Used {
				return fmt.Errorf("%s: totals %+v after %+v", id, h.Allotment, o)
			}
			w.holders[id] = h.Allotment
		}
		if out != b.Out || out > b.Peak {
			return fmt.Errorf("%s: %d are out of at most %d, counted as %d", name, out, b.Peak, b.Out)
		}
	}
	return nil
}
