package fsm

import (
	"fmt"
	"reflect"
	"testing"

	"pgregory.net/rapid"
)

// naming returns an image that names every record that a story may make.
func naming(m *Machine) *Image {
	img := &Image{}
	for i := range 3 {
		p := PolicyImage{}
		p.Name = fmt.Sprintf("p%d", i)
		img.Policies = append(img.Policies, p)
	}
	for i := range 4 {
		img.Edges = append(img.Edges, EdgeImage{ID: fmt.Sprintf("e%d", i)})
	}
	for id := range m.nextPolicy {
		for i := range 3 {
			key := fmt.Sprintf("k%d", i)
			img.Budgets = append(img.Budgets, BudgetImage{PolicyID: id, BudgetState: BudgetState{Key: key}})
			img.Cells = append(img.Cells, CellImage{States: id, Key: key})
			img.Meters = append(img.Meters, MeterImage{States: id, Key: key})
		}
	}
	for _, fence := range m.Fences() {
		img.Slots = append(img.Slots, SlotImage{Fence: fence})
	}
	return img
}

// TestImageGoesOnAlike: a machine that loads an image, whatever it held before,
// goes on like the one whose image it is.
func TestImageGoesOnAlike(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, other := New(), New()
		s := newStory(t, m)
		s.wide = rapid.Bool().Draw(t, "wide")
		one(t, m, s.now, Genesis{ClusterID: "c", Settings: tight()})
		one(t, m, s.now, s.founding())
		for range rapid.IntRange(1, 40).Draw(t, "entries") {
			c, stamp := s.command(), s.stamp()
			img := naming(m)
			if err := m.Save(img); err != nil {
				t.Fatal(err)
			}
			if s.one("fresh", 8) == 7 {
				other = New()
			}
			if err := other.Load(img); err != nil {
				t.Fatal(err)
			}
			if err := other.Check(); err != nil {
				t.Fatal(err)
			}
			m.cursor, other.version = 0, m.version // no part of an image
			got, want := one(t, other, stamp, c), one(t, m, stamp, c)
			if got, want := inFull(c, got), inFull(c, want); got != want {
				t.Fatalf("%+v at %d: got %s, want %s", c, stamp, got, want)
			}
			a, b := naming(m), naming(m)
			if err := m.Save(a); err != nil {
				t.Fatal(err)
			}
			if err := other.Save(b); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(a, b) {
				t.Fatalf("after %+v at %d:\n%+v\nthe image went on to\n%+v", c, stamp, a, b)
			}
			s.heard(c, want)
		}
	})
}

// inFull prints a result with what it points to.
func inFull(c Command, r Result) string {
	return fmt.Sprintf("%v, session %d, answers %+v, version %d, %q", r.Err, r.Session, r.Answers, r.Version, describeRequest(c, r))
}

// An image that does not name all records is of no use.
func TestImageNamesAll(t *testing.T) {
	j := newJournal(t, DefaultSettings(), fixed("p", 10, 100))
	j.apply(&Exchange{EdgeID: "e", Incarnation: 1, Seq: 1, Asks: []Ask{{Policy: "p", Key: "k", Want: 1}}})
	img := &Image{Policies: make([]PolicyImage, 1), Edges: []EdgeImage{{ID: "e"}}}
	img.Policies[0].Name = "p"
	if err := j.m.Save(img); err == nil {
		t.Errorf("Save(%+v) misses a budget and says nothing", img)
	}
	img.Budgets = []BudgetImage{{PolicyID: 1, BudgetState: BudgetState{Key: "k"}}}
	if err := j.m.Save(img); err != nil || img.Budgets[0].Out != 1 {
		t.Errorf("Save: %v, %+v", err, img.Budgets)
	}
}
