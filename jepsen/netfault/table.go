package netfault

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

// A Table says what happens to each flow. Faults are laid over each other and
// taken away one by one, in any order, so that several can be under way at once
// and each undoes itself only. Safe for concurrent use.
type Table struct {
	version atomic.Uint64 // grows with each change

	mu      sync.Mutex // guards the rest
	layers  []*layer
	links   map[Flow]*Link
	changed chan struct{} // closed at the next change
}

// A layer is one fault. Layers are told apart by address.
type layer struct{ effect func(Flow) Effect }

// NewTable returns a table of perfect links.
func NewTable() *Table {
	return &Table{links: make(map[Flow]*Link), changed: make(chan struct{})}
}

// Add lays a fault over what is there: effect says what it does to each flow,
// always the same for the same flow. remove takes it away, and may be called
// more than once.
func (t *Table) Add(effect func(Flow) Effect) (remove func()) {
	l := &layer{effect}
	t.change(func(ls []*layer) []*layer { return append(ls, l) })
	return func() {
		t.change(func(ls []*layer) []*layer {
			return slices.DeleteFunc(ls, func(o *layer) bool { return o == l })
		})
	}
}

// Heal takes all faults away.
func (t *Table) Heal() { t.change(func([]*layer) []*layer { return nil }) }

func (t *Table) change(edit func([]*layer) []*layer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.layers = edit(t.layers)
	t.version.Add(1)
	close(t.changed)
	t.changed = make(chan struct{})
}

// Changed returns a channel that is closed at the next change.
func (t *Table) Changed() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.changed
}

// At returns what happens to a flow now.
func (t *Table) At(f Flow) Effect {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.at(f)
}

func (t *Table) at(f Flow) Effect {
	var e Effect
	for _, l := range t.layers {
		e = e.With(l.effect(f))
	}
	return e
}

// Link returns the state of a flow, the same one each time.
func (t *Table) Link(f Flow) *Link {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.links[f]
	if l == nil {
		l = &Link{table: t, flow: f}
		t.links[f] = l
	}
	return l
}

// Counts returns what happened to each flow so far.
func (t *Table) Counts() map[Flow]Counts {
	t.mu.Lock()
	links := maps.Clone(t.links)
	t.mu.Unlock()
	out := make(map[Flow]Counts, len(links))
	for f, l := range links {
		out[f] = l.Counts()
	}
	return out
}

// Counts are numbers of packets or, for connections, of pieces of at most
// pieceSize bytes.
type Counts struct {
	Passed     int64 // delivered, copies included
	Dropped    int64 // cut off, lost, or beyond the bound of a queue
	Duplicated int64
	Delayed    int64 // came late, or wait
}

// A Link is one flow as its carriers see it.
type Link struct {
	table *Table
	flow  Flow

	passed, dropped, duplicated, delayed atomic.Int64

	cached atomic.Pointer[versioned]
}

type versioned struct {
	version uint64
	effect  Effect
}

// Flow returns what the link is for.
func (l *Link) Flow() Flow { return l.flow }

// Effect returns what happens to the flow now. It is cheap: the table is only
// asked after a change.
func (l *Link) Effect() Effect {
	v := l.table.version.Load() // NB: before the table is read, so that a change in between is noticed next time
	if c := l.cached.Load(); c != nil && c.version == v {
		return c.effect
	}
	c := &versioned{v, l.table.At(l.flow)}
	l.cached.Store(c)
	return c.effect
}

// Counts returns what happened to the flow so far.
func (l *Link) Counts() Counts {
	return Counts{l.passed.Load(), l.dropped.Load(), l.duplicated.Load(), l.delayed.Load()}
}
