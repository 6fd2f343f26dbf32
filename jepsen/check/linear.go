package check

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/jepsen/history"
)

// Bounds of porcupine's work. An answer that it does not find in time is a
// failure: nothing is known then.
const (
	linearTime = 20 * time.Second
	linearOps  = 2000 // of one cell
)

// A linearOp is an ask about one cell, and its answer. Need and Want are totals
// of the cell's window.
type linearOp struct {
	cell           WindowID
	holder         escrow.HolderID
	used, returned escrow.Credits
	need, want     escrow.Credits
}

type linearAnswer struct {
	granted, left, limit escrow.Credits
	resolved             bool // the client never saw it; the log has it
}

// linearCells returns the operations that porcupine checks, by cell: exchanges
// with one ask under the policies that are meant for it. What became of those
// with an unknown outcome is known from the log: a real answer whose arrival
// nobody saw, and by when it was given, or nothing at all.
func (x *Case) linearCells() map[WindowID][]porcupine.Operation {
	cells := make(map[WindowID][]porcupine.Operation)
	clients := make(map[string]int)
	known := x.knownBy()
	for _, o := range x.ops {
		if o.Kind != history.KindExchange || len(o.Exchange.Asks) != 1 {
			continue
		}
		ask := o.Exchange.Asks[0]
		b := x.History.Client(o.Client).Budget(ask.Key)
		e := x.effectOf[o]
		if e == nil || e.result.Answers[0].Err != nil || !slices.Contains(x.Linear, b.Policy) {
			continue
		}
		if w := x.Story.Windows[WindowID{b, e.result.Answers[0].Window.Start}]; w != nil && (w.Loaded || w.Partial) {
			continue // part of its operations lie in a gap of the log
		}
		in, out := linearize(b, ask, o, e)
		lane := fmt.Sprint(o.Client, "/", o.Lane)
		if _, ok := clients[lane]; !ok {
			clients[lane] = len(clients)
		}
		op := porcupine.Operation{ClientId: clients[lane], Input: in, Call: int64(o.At), Output: out, Return: int64(o.Ended)}
		if o.Outcome != history.OK { // its interval may overlap later ones of its lane
			op.Return, op.ClientId = int64(known(e.index)), 1_000_000+len(cells[in.cell])
		}
		cells[in.cell] = append(cells[in.cell], op)
	}
	return cells
}

// knownBy returns a function that says by when an entry had certainly been
// applied: when a reply about a later one arrived. So an operation whose reply
// was lost has an end after all, and porcupine need not carry it along for ever.
func (x *Case) knownBy() func(index uint64) history.Time {
	var replies []*history.Op // by index
	for _, o := range x.ops {
		if indexOf(o) > 0 {
			replies = append(replies, o)
		}
	}
	slices.SortFunc(replies, func(a, b *history.Op) int { return cmp.Compare(indexOf(a), indexOf(b)) })
	first := make([]history.Time, len(replies)+1) // of the replies from there on
	first[len(replies)] = history.Never
	for i := len(replies) - 1; i >= 0; i-- {
		first[i] = min(first[i+1], replies[i].Ended)
	}
	return func(index uint64) history.Time {
		i, _ := slices.BinarySearchFunc(replies, index+1, func(o *history.Op, i uint64) int { return cmp.Compare(indexOf(o), i) })
		return first[i]
	}
}

// linearize puts an ask into terms of the window that its answer is about. The
// client's own answer counts where there is one.
func linearize(b history.Budget, ask history.Ask, o *history.Op, e *effect) (linearOp, linearAnswer) {
	a := answerOf(&e.result.Answers[0])
	if o.Outcome == history.OK {
		a = o.Reply.Answers[0]
	}
	in := linearOp{WindowID{b, a.Start}, e.result.Session, ask.Used, ask.Returned, ask.Need, ask.Want}
	if ask.Window < a.Start {
		gone := ask.Used + ask.Returned
		in.used, in.returned, in.need, in.want = 0, 0, max(0, ask.Need-gone), max(0, ask.Want-gone)
	}
	return in, linearAnswer{a.Granted, a.Left, a.Limit, o.Outcome != history.OK}
}

// linearizable has porcupine look for an order of each cell's operations, and
// checks that the log's own order is one that the clients' times allow.
func linearizable(x *Case, p *problems) {
	x.logOrder(p)
	cells := x.linearCells()
	ops, largest := 0, 0
	for _, id := range sortedWindows(cells) {
		history := cells[id]
		ops += len(history)
		largest = max(largest, len(history))
		at := Problem{Budget: id.String(), At: timeOf(history)}
		if len(history) > linearOps {
			p.add(at, "%d operations on window %d are too many to check, at most %d are", len(history), id.Start, linearOps)
			continue
		}
		switch porcupine.CheckOperationsTimeout(ledgerModel(), history, linearTime) {
		case porcupine.Illegal:
			p.add(at, "the %d operations on window %d have no order", len(history), id.Start)
		case porcupine.Unknown:
			p.add(at, "no order of the %d operations on window %d was found in %v, and none refuted", len(history), id.Start, linearTime)
		}
	}
	p.stat("cells", "%d, the largest with %d operations", len(cells), largest)
	p.stat("operations", "%d, want %d", ops, x.Need.Linear)
	if ops < x.Need.Linear {
		p.add(Problem{}, "porcupine saw %d operations, want at least %d", ops, x.Need.Linear)
	}
}

func timeOf(h []porcupine.Operation) history.Time {
	if len(h) == 0 {
		return 0
	}
	return history.Time(h[0].Call)
}

// logOrder checks that an exchange which was answered before another was sent
// comes before it in the log, for all clients together.
func (x *Case) logOrder(p *problems) {
	var answered []*history.Op
	for _, o := range x.ops {
		if o.Kind == history.KindExchange && o.Outcome == history.OK {
			answered = append(answered, o)
		}
	}
	byEnd := slices.Clone(answered)
	slices.SortFunc(byEnd, func(a, b *history.Op) int { return cmp.Compare(a.Ended, b.Ended) })
	var newest *history.Op // with the highest index of those that ended before
	for _, o := range answered {
		for ; len(byEnd) > 0 && byEnd[0].Ended < o.At; byEnd = byEnd[1:] {
			if newest == nil || byEnd[0].Reply.Index > newest.Reply.Index {
				newest = byEnd[0]
			}
		}
		if newest != nil && newest.Reply.Index >= o.Reply.Index {
			p.add(place(o), "it was sent %v after operation %d of %s had been answered at index %d, and was answered at index %d",
				o.At.Sub(newest.Ended), newest.Op, newest.Client, newest.Reply.Index, o.Reply.Index)
		}
	}
}

// Visualize writes porcupine's view of a cell, as a page: the first one that is
// not linearizable, or the one with the most operations. It reports false if
// there is none.
func (x *Case) Visualize(w io.Writer) (WindowID, bool, error) {
	cells := x.linearCells()
	var show WindowID
	found, worst := false, false
	for _, id := range sortedWindows(cells) {
		h := cells[id]
		if len(h) > linearOps || worst {
			continue
		}
		bad := porcupine.CheckOperationsTimeout(ledgerModel(), h, linearTime) != porcupine.Ok
		if bad || !found || len(h) > len(cells[show]) {
			show, found, worst = id, true, bad
		}
	}
	if !found {
		return show, false, nil
	}
	_, info := porcupine.CheckOperationsVerbose(ledgerModel(), cells[show], linearTime)
	return show, true, porcupine.Visualize(ledgerModel(), info, w)
}
