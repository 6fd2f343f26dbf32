package netfault

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func onAll(e Effect) func(Flow) Effect { return func(Flow) Effect { return e } }

func TestTableLayers(t *testing.T) {
	table := NewTable()
	ab, ba := Flow{"a", "b", Raft}, Flow{"b", "a", Raft}
	link := table.Link(ab)
	uncut := table.Add(func(f Flow) Effect { return Effect{Cut: f == ab} })
	unslow := table.Add(onAll(Effect{Delay: 10 * time.Millisecond, Loss: 0.5, BytesPerSecond: 1000}))
	table.Add(onAll(Effect{Delay: 5 * time.Millisecond, Loss: 0.5, BytesPerSecond: 500}))
	if got, want := link.Effect(), (Effect{Cut: true, Delay: 15 * time.Millisecond, Loss: 0.75, BytesPerSecond: 500}); got != want {
		t.Errorf("a->b: %+v, want %+v", got, want)
	}
	if table.At(ba).Cut {
		t.Error("a cut of a->b also cuts b->a")
	}
	uncut()
	uncut()
	unslow()
	if got, want := link.Effect(), (Effect{Delay: 5 * time.Millisecond, Loss: 0.5, BytesPerSecond: 500}); got != want {
		t.Errorf("after two of three were taken away: %+v, want %+v", got, want)
	}
	table.Heal()
	if got := link.Effect(); got != (Effect{}) {
		t.Errorf("after healing: %+v", got)
	}
	if table.Link(ab) != link {
		t.Error("a flow has two links")
	}
}

func TestTableTellsOfChanges(t *testing.T) {
	table := NewTable()
	changed := table.Changed()
	select {
	case <-changed:
		t.Fatal("changed before a change")
	default:
	}
	table.Add(onAll(Effect{Cut: true}))
	<-changed
}

func TestEffectWith(t *testing.T) {
	gen := rapid.Custom(func(t *rapid.T) Effect {
		return Effect{
			Cut:            rapid.Bool().Draw(t, "cut"),
			Delay:          time.Duration(rapid.Int64Range(0, 100).Draw(t, "delay")),
			Loss:           float64(rapid.IntRange(0, 4).Draw(t, "loss")) / 4,
			BytesPerSecond: rapid.Int64Range(0, 3).Draw(t, "capacity"),
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := gen.Draw(t, "a"), gen.Draw(t, "b")
		if a.With(b) != b.With(a) {
			t.Errorf("%+v and %+v differ from the other order", a.With(b), b.With(a))
		}
		if a.With(Effect{}) != a {
			t.Errorf("with nothing %+v becomes %+v", a, a.With(Effect{}))
		}
	})
}
