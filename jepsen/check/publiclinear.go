package check

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/anishathalye/porcupine"
	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/jepsen/history"
	"github.com/tkcoord/tkcoord/strategy"
)

// A strictOp is a check or a peek of one key. The instant at which it is decided is
// part of it: the strategies are functions of that.
type strictOp struct {
	budget history.Budget
	now    clock.Millis
	cost   int64
	peek   bool
}

// A strictState is one key's. It is never changed, only replaced.
type strictState struct {
	strategy.State
	now clock.Millis // of the newest check
}

// strictModel is one key under a strategy.
func strictModel(s strategy.Strategy) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return strictState{} },
		Step: func(state, in, out any) (bool, any) {
			from, op, d := state.(strictState), in.(strictOp), out.(strategy.Decision)
			if op.peek { // its instant may lie behind what the log knows
				return s.Peek(&from.State, int64(max(op.now, from.now))) == d, from
			}
			if op.now < from.now {
				return false, from
			}
			next := strictState{from.Clone(), op.now}
			return s.Check(&next.State, int64(op.now), strategy.Cost(op.cost)) == d, next
		},
		Equal: func(a, b any) bool {
			f, g := a.(strictState), b.(strictState)
			return f.now == g.now && bytes.Equal(f.State.Append(nil), g.State.Append(nil))
		},
		DescribeOperation: func(in, out any) string {
			op := in.(strictOp)
			what := fmt.Sprintf("check %d", op.cost)
			if op.peek {
				what = "peek"
			}
			return fmt.Sprintf("%s at %d → %+v", what, op.now, out)
		},
		DescribeState: func(s any) string {
			from := s.(strictState)
			return fmt.Sprintf("%x", from.State.Append(nil))
		},
	}
}

// strictKeys returns the operations that porcupine checks, by key: those of
// policies that only checks spend from. What became of calls with an unknown
// outcome is known from the log, as with exchanges.
func (x *Case) strictKeys() map[history.Budget][]porcupine.Operation {
	if len(x.Story.Bridged)+len(x.Story.Missing) > 0 {
		return nil // the states after a gap are not known
	}
	shared := make(map[string]bool) // with others than checks
	for _, all := range x.Story.Effects {
		for _, e := range all {
			for i := range e.cmd.Asks {
				shared[e.cmd.Asks[i].Policy] = true
			}
		}
	}
	for _, e := range x.Story.Public {
		switch c := e.cmd.(type) {
		case *fsm.Reserve:
			shared[c.Policy] = true
		case *fsm.Admit:
			shared[c.Policy] = true
		}
	}
	keys := make(map[history.Budget][]porcupine.Operation)
	known := x.knownBy()
	for _, o := range x.ops {
		if o.Kind != history.KindPublic || shared[o.Public.Policy] || x.local(o.Public.Policy) {
			continue
		}
		e := x.public.effectOf[o]
		switch {
		case o.Public.Method == history.Peek && o.Outcome == history.OK:
			b := history.Budget{Policy: o.Public.Policy, Key: o.Public.Keys[0]}
			keys[b] = append(keys[b], porcupine.Operation{
				ClientId: len(keys[b]), Input: strictOp{b, o.Answer.Clock, 1, true}, Call: int64(o.At), Output: o.Answer.Decisions[0], Return: int64(o.Ended),
			})
		case e == nil || o.Public.Method != history.Check && o.Public.Method != history.CheckMany:
		default:
			for i, key := range o.Public.Keys {
				b := history.Budget{Policy: o.Public.Policy, Key: key}
				op := porcupine.Operation{ClientId: len(keys[b]), Input: strictOp{b, e.now, o.Public.Amount, false}, Call: int64(o.At), Return: int64(known(e.index))}
				if op.Output = e.result.Decisions[i]; o.Outcome == history.OK {
					op.Output, op.Return = o.Answer.Decisions[i], int64(o.Ended)
				}
				keys[b] = append(keys[b], op)
			}
		}
	}
	return keys
}

// publicOrder checks that calls take effect between being sent and being answered.
func publicOrder(x *Case, p *problems) {
	x.answeredInOrder(p)
	keys := x.strictKeys()
	ops, largest := 0, 0
	for _, b := range slices.SortedFunc(maps.Keys(keys), func(a, b history.Budget) int {
		return cmp.Or(cmp.Compare(a.Policy, b.Policy), cmp.Compare(a.Key, b.Key))
	}) {
		h := keys[b]
		ops += len(h)
		largest = max(largest, len(h))
		at := Problem{Budget: b.String(), At: timeOf(h)}
		of := x.Story.Policies[b.Policy]
		s, err := strategy.New(of.Params())
		switch {
		case err != nil:
			p.add(at, "policy %s: %v", b.Policy, err)
			continue
		case len(h) > linearOps:
			p.add(at, "%d operations on %s are too many to check, at most %d are", len(h), b, linearOps)
			continue
		}
		switch porcupine.CheckOperationsTimeout(strictModel(s), h, linearTime) {
		case porcupine.Illegal:
			p.add(at, "the %d operations on %s have no order in which %s gives their answers", len(h), b, of.Strategy)
		case porcupine.Unknown:
			p.add(at, "no order of the %d operations on %s was found in %v, and none refuted", len(h), b, linearTime)
		}
	}
	p.stat("keys", "%d, the largest with %d operations", len(keys), largest)
	p.stat("operations", "%d, want %d", ops, x.Need.PublicLinear)
	if ops < x.Need.PublicLinear && len(x.Story.Bridged) == 0 {
		p.add(Problem{}, "porcupine saw %d operations, want at least %d", ops, x.Need.PublicLinear)
	}
}

// answeredInOrder checks that a call which was sent after another, or an exchange,
// was answered comes after it in the log; a peek, no earlier.
func (x *Case) answeredInOrder(p *problems) {
	var sent []*history.Op // by the time of their call
	for _, o := range x.ops {
		if indexOf(o) > 0 {
			sent = append(sent, o)
		}
	}
	byEnd := slices.Clone(sent)
	slices.SortFunc(byEnd, func(a, b *history.Op) int { return cmp.Compare(a.Ended, b.Ended) })
	var newest *history.Op // with the highest index of those that ended before
	for _, o := range sent {
		for ; len(byEnd) > 0 && byEnd[0].Ended < o.At; byEnd = byEnd[1:] {
			if newest == nil || indexOf(byEnd[0]) > indexOf(newest) {
				newest = byEnd[0]
			}
		}
		if o.Kind != history.KindPublic || newest == nil || indexOf(o) > indexOf(newest) || reads(o) && indexOf(o) == indexOf(newest) {
			continue
		}
		p.add(place(o), "%s was sent %v after operation %d of %s had been answered at index %d, and was answered at index %d",
			told(o.Public), o.At.Sub(newest.Ended), newest.Op, newest.Client, indexOf(newest), indexOf(o))
	}
}

// reads reports whether an operation changes nothing.
func reads(o *history.Op) bool {
	return o.Kind == history.KindPublic && o.Public.Method == history.Peek
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
