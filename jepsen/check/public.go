package check

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/jepsen/history"
	"github.com/tkcoord/tkcoord/policy"
	"github.com/tkcoord/tkcoord/strategy"
)

// A publicEffect is a command of the public contract that the log carried out.
// One that was refused is none.
type publicEffect struct {
	index  uint64
	at     history.Time
	now    clock.Millis
	cmd    fsm.Command
	result fsm.Result
	// windows in which a ledger was charged, one for each key; nil where none was.
	windows []*Window
}

// A peeked is what a replay answers to a Peek.
type peeked struct {
	strategy.Decision
	err error
}

// peeksOf returns the peeks that were answered, by entry.
func peeksOf(ops []*history.Op) map[uint64][]*history.Op {
	all := make(map[uint64][]*history.Op)
	for _, o := range ops {
		if o.Kind == history.KindPublic && o.Public.Method == history.Peek && o.Outcome == history.OK {
			all[o.Answer.Index] = append(all[o.Answer.Index], o)
		}
	}
	return all
}

// peek answers the peeks that were answered after an entry.
func (n *narrator) peek(index uint64) {
	for _, o := range n.asked[index] {
		d, err := n.machine.Peek(o.Public.Policy, o.Public.Keys[0], o.Answer.Clock)
		n.peeks[o] = &peeked{d, err}
	}
}

// public takes a command of the public contract.
func (n *narrator) public(e *publicEffect, at Problem) {
	if e.result.Err != nil {
		return
	}
	n.Public = append(n.Public, e)
	n.books.public(e, at)
}

// publicCalls is what became of the calls of the public contract.
type publicCalls struct {
	effectOf map[*history.Op]*publicEffect // as Case.effectOf; peeks have none
	lost     []*history.Op
	orphans  []*publicEffect
	unseen   int
	debits   []*publicEffect // of nodes that hold credits of policies without a ledger
}

// nodeEdge begins the edge ids of nodes that are edges of their own cluster.
const nodeEdge = "node:"

// indexOf returns the entry that an answer names, 0 if there is no answer.
func indexOf(o *history.Op) uint64 {
	switch {
	case o.Outcome != history.OK:
		return 0
	case o.Kind == history.KindExchange:
		return o.Reply.Index
	case o.Kind == history.KindPublic:
		return o.Answer.Index
	}
	return 0
}

// A shape is what a command and a call have in common: calls have no identity.
// Those of one shape that the same entry answers alike may stand for each other.
type shape struct {
	method       history.Method
	policy, keys string
	amount       int64
	dropped      bool
}

func joined(keys []string) string { return strings.Join(keys, "\x00") }

// shapeOf returns the shape of a command. A check of one key may have been asked
// for as one of many.
func shapeOf(c fsm.Command) shape {
	switch c := c.(type) {
	case *fsm.Check:
		return shape{history.CheckMany, c.Policy, joined(c.Keys), c.Cost, false}
	case *fsm.Reserve:
		return shape{history.Reserve, c.Policy, c.Key, c.Wants, false}
	case *fsm.Debit:
		return shape{history.Debit, c.Policy, c.Key, c.Tokens, false}
	case *fsm.Admit:
		return shape{history.Admit, c.Policy, c.Key, 0, false}
	case *fsm.Release:
		return shape{history.Release, "", c.LeaseID, 0, c.Dropped}
	case *fsm.Heartbeat:
		return shape{history.Heartbeat, "", joined(c.LeaseIDs), 0, false}
	}
	return shape{}
}

func shapeOfCall(c *history.Public) shape {
	s := shape{c.Method, c.Policy, joined(c.Keys), c.Amount, c.Dropped}
	if s.method == history.Check {
		s.method = history.CheckMany
	}
	return s
}

// replyOf puts the result of a command into the words of the wire.
func replyOf(e *publicEffect) history.PublicReply {
	r := history.PublicReply{Decisions: e.result.Decisions}
	switch {
	case e.result.Admission != nil:
		a := e.result.Admission
		r.Decisions, r.Lease, r.Expires, r.Axis = []strategy.Decision{a.Decision}, a.LeaseID, a.ExpiresAt, a.Axis
	case e.result.Beat != nil:
		r.Live, r.Reclaimed, r.Expires = e.result.Beat.Live, e.result.Beat.Reclaimed, e.result.Beat.NextDeadline
	case e.result.Reserved != nil:
		r.Granted, r.Limit, r.End = e.result.Reserved.Granted, e.result.Reserved.Limit, e.result.Reserved.Window.End
	}
	return r
}

// alike reports whether an answer says what a command gave.
func alike(e *publicEffect, r *history.PublicReply) bool {
	want, got := replyOf(e), *r
	want.Index, want.Clock, got.Index, got.Clock = 0, 0, 0, 0
	if len(want.Decisions)+len(got.Decisions) == 0 {
		want.Decisions, got.Decisions = nil, nil
	}
	return reflect.DeepEqual(want, got)
}

// resolvePublic finds the effect of every call: of one that was answered where its
// answer says, of one with an unknown outcome something that is left over in the
// log, of its shape and no earlier than it was sent.
func (x *Case) resolvePublic() publicCalls {
	p := publicCalls{effectOf: make(map[*history.Op]*publicEffect)}
	left := make(map[uint64][]*publicEffect) // by entry
	for _, e := range x.Story.Public {
		left[e.index] = append(left[e.index], e)
	}
	waiting := make(map[shape][]*history.Op) // by the time of their call
	again := make(map[shape]history.Time)    // first sent, of what nodes repeat by themselves
	for _, o := range x.ops {
		if o.Kind != history.KindPublic || o.Public.Method == history.Peek {
			continue
		}
		s := shapeOfCall(o.Public)
		if s.method == history.Release || s.method == history.Heartbeat {
			if _, known := again[s]; !known {
				again[s] = o.At
			}
		}
		if o.Outcome == history.Info {
			waiting[s] = append(waiting[s], o)
		}
		if o.Outcome != history.OK || o.Answer.Local {
			continue
		}
		all := left[o.Answer.Index]
		i := slices.IndexFunc(all, func(e *publicEffect) bool { return shapeOf(e.cmd) == s && alike(e, o.Answer) })
		if i < 0 && s.method != history.Admit { // another answer is better evidence than none
			i = slices.IndexFunc(all, func(e *publicEffect) bool { return shapeOf(e.cmd) == s })
		}
		switch {
		case i >= 0:
			p.effectOf[o] = all[i]
			left[o.Answer.Index] = slices.Delete(all, i, i+1)
		case x.Story.missing(o.Answer.Index):
			p.unseen++
		default:
			p.lost = append(p.lost, o)
		}
	}
	for _, e := range x.Story.Public {
		if !slices.Contains(left[e.index], e) {
			continue
		}
		if c, ok := e.cmd.(*fsm.Check); ok && x.byCredits(c.Policy) {
			p.debits = append(p.debits, e)
			continue
		}
		s, latest := shapeOf(e.cmd), e.at.Add(x.Wall.Bend()+placeWithin)
		if w := waiting[s]; len(w) > 0 && w[0].At <= latest {
			p.effectOf[w[0]], waiting[s] = e, w[1:]
			continue
		}
		if sent, repeated := again[s]; !repeated || sent > latest {
			p.orphans = append(p.orphans, e)
		}
	}
	return p
}

// byCredits reports whether nodes decide the checks of a policy, from credits that
// they debit by checks of their own.
func (x *Case) byCredits(name string) bool {
	p := x.Story.Policies[name]
	return p.Kind == policy.TwoTier && p.Tier.Mode == policy.Leased && !p.Ledger()
}

// decided checks I3 for the public contract.
func decided(x *Case, p *problems) {
	for _, o := range x.public.lost {
		p.add(place(o), "%s was answered at index %d with %+v, where the log does not have it", told(o.Public), o.Answer.Index, *o.Answer)
	}
	for _, e := range x.public.orphans {
		p.add(Problem{At: e.at, Index: e.index}, "entry %d holds %T %+v, which was refused or never sent", e.index, e.cmd, e.cmd)
	}
	ok, unknown, effective, peeks := 0, 0, 0, 0
	for _, o := range x.ops {
		if o.Kind != history.KindPublic {
			continue
		}
		e := x.public.effectOf[o]
		switch {
		case o.Outcome == history.Info:
			unknown++
			if e != nil {
				effective++
			}
			continue
		case o.Outcome != history.OK:
			continue
		}
		ok++
		if o.Public.Method == history.Peek {
			peeks++
			x.comparePeek(o, p)
			continue
		}
		if o.Answer.Local && !x.local(o.Public.Policy) {
			p.add(place(o), "%s was answered %+v by a node, which may not decide that", told(o.Public), *o.Answer)
		}
		if e == nil {
			continue
		}
		if !alike(e, o.Answer) {
			p.add(place(o), "%s was answered %+v, a replay of entry %d gives %+v", told(o.Public), *o.Answer, e.index, replyOf(e))
		}
		if c := o.Answer.Clock; c != e.now && c != x.Story.nowAfter(e.index) {
			p.add(place(o), "the answer says that the clock was %d, at entry %d it was %d", c, e.index, e.now)
		}
	}
	p.stat("calls answered", "%d, %d of them peeks", ok, peeks)
	p.stat("unknown outcomes", "%d, of which %d took effect", unknown, effective)
	if x.public.unseen > 0 {
		p.stat("answered in gaps of the log", "%d", x.public.unseen)
	}
}

func told(c *history.Public) string {
	return fmt.Sprintf("%s of %d of %s %q", c.Method, c.Amount, c.Policy, c.Keys)
}

// comparePeek checks that a peek was answered with what the state after its entry
// has.
func (x *Case) comparePeek(o *history.Op, p *problems) {
	r := x.Story.peeks[o]
	switch {
	case r == nil && !x.Story.missing(o.Answer.Index):
		p.add(place(o), "%s was answered after entry %d, which the log does not have", told(o.Public), o.Answer.Index)
	case r != nil && (r.err != nil || r.Decision != o.Answer.Decisions[0]):
		p.add(place(o), "%s was answered %+v, a replay up to entry %d gives %+v, %v", told(o.Public), o.Answer.Decisions[0], o.Answer.Index, r.Decision, r.err)
	}
}

// publicTraffic checks that there were enough calls, where there were to be any.
func (x *Case) publicTraffic(need func(what string, got, want float64)) {
	if x.Need.Public == 0 {
		return
	}
	ok, denied, held, local := 0, 0, 0, 0
	for _, o := range x.ops {
		if o.Kind == history.KindPublic && o.Outcome == history.OK {
			ok++
			if o.Answer.Local {
				local++
			}
			if slices.ContainsFunc(o.Answer.Decisions, func(d strategy.Decision) bool { return !d.Allowed }) {
				denied++
			}
		}
	}
	for _, c := range x.History {
		held += len(c.Held)
	}
	need("calls of the public contract", float64(ok), float64(x.Need.Public))
	need("of them denied", float64(denied), float64(x.Need.PublicDenied))
	need("decided by nodes", float64(local), float64(x.Need.Local))
	need("slots held", float64(held), float64(x.Need.Slots))
	need("windows shared with edges", float64(x.shared()), float64(x.Need.Shared))
}

// shared counts the windows in which edges and calls both were admitted.
func (x *Case) shared() (n int) {
	edges := admissions(x.History)
	sums, _ := x.publicSums(&problems{})
	for w := range sums {
		if s := edges[w.WindowID]; s != nil && s.units > 0 {
			n++
		}
	}
	return n
}

// local reports whether nodes may decide checks of a policy.
func (x *Case) local(name string) bool {
	p := x.Story.Policies[name]
	return p.Kind == policy.TwoTier && p.Tier.Mode != policy.Strict || p.Kind == policy.Federated
}

// byNodes sums what nodes admitted from leases, by window.
func (x *Case) byNodes(p *problems) map[*Window]escrow.Credits {
	of := make(map[history.Budget][]*Window)
	for _, w := range x.Story.Windows {
		of[w.Budget] = append(of[w.Budget], w)
	}
	sums := make(map[*Window]escrow.Credits)
	for _, o := range x.ops {
		if o.Kind != history.KindPublic || o.Outcome != history.OK || !o.Answer.Local || !o.Answer.Decisions[0].Allowed || x.byCredits(o.Public.Policy) {
			continue
		}
		b, end := history.Budget{Policy: o.Public.Policy, Key: o.Public.Keys[0]}, clock.Millis(o.Answer.Decisions[0].ResetAt)
		at := place(o)
		at.Budget = b.String()
		// A step of the clock moves the end of a window away, never nearer.
		i := slices.IndexFunc(of[b], func(w *Window) bool { return w.Start < end && end <= w.End })
		if i < 0 {
			if len(x.Story.Bridged)+len(x.Story.Missing) == 0 {
				p.add(at, "%s was admitted by a node in a window to %d, which the log does not know", told(o.Public), end)
			}
			continue
		}
		w := of[b][i]
		sums[w] += escrow.Credits(o.Public.Amount)
		if w.Ended != history.Never && o.At > w.Ended.Add(placeWithin+x.Wall.Bend()) {
			p.add(at, "%s was sent %v after window [%d, %d) had ended, and admitted in it", told(o.Public), o.At.Sub(w.Ended), w.Start, w.End)
		}
	}
	edgeOf := x.edgeOf()
	for w, units := range sums {
		var kept escrow.Credits
		for h, a := range w.Holders {
			if strings.HasPrefix(edgeOf[h], nodeEdge) {
				kept += a.Granted - a.Returned
			}
		}
		if !w.Partial && units > kept {
			p.add(Problem{Budget: w.WindowID.String(), Index: w.OpenedAt}, "nodes admitted %d units in window [%d, %d), for which they were granted %d more than they returned", units, w.Start, w.End, kept)
		}
	}
	return sums
}

// publicSums sums what clients were told that they may use of each window of a
// ledger, and how much of that nodes said from leases.
func (x *Case) publicSums(p *problems) (sums map[*Window]escrow.Credits, nodes escrow.Credits) {
	sums = x.byNodes(p)
	for _, n := range sums {
		nodes += n
	}
	for o, e := range x.public.effectOf {
		if o.Outcome != history.OK {
			continue
		}
		for i, w := range e.windows {
			switch {
			case w == nil:
			case o.Public.Method == history.Reserve:
				sums[w] += o.Answer.Granted
			case i < len(o.Answer.Decisions) && o.Answer.Decisions[i].Allowed:
				sums[w] += escrow.Credits(o.Public.Amount)
			}
		}
	}
	return sums, nodes
}

// publicLimits checks the limits by what clients were told, and not by what the
// log says that they were.
func publicLimits(x *Case, p *problems) {
	edges := admissions(x.History)
	sums, nodes := x.publicSums(p)
	windows := make([]*Window, 0, len(sums))
	for w := range sums {
		windows = append(windows, w)
	}
	slices.SortFunc(windows, func(a, b *Window) int {
		return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.Key, b.Key), cmp.Compare(a.Policy, b.Policy))
	})
	full := 0
	for _, w := range windows {
		units, of := sums[w], escrow.Credits(0)
		if s := edges[w.WindowID]; s != nil {
			of = s.units
		}
		if units+of > w.Peak {
			p.add(Problem{Budget: w.WindowID.String(), Index: w.OpenedAt}, "calls were admitted %d units and edges %d in window [%d, %d), its limit was never above %d", units, of, w.Start, w.End, w.Peak)
		}
		if units+of == w.Peak {
			full++
		}
	}
	p.stat("windows", "%d, %d of them spent to the last unit", len(sums), full)
	if nodes > 0 {
		p.stat("units admitted by nodes", "%d", nodes)
	}
	x.spans(p)
	x.credits(p)
}

// An admittance is a check that a client was told may pass.
type admittance struct {
	now   clock.Millis
	index uint64
	units float64
}

// spans checks the strategies without windows, over any span between two stamps.
func (x *Case) spans(p *problems) {
	all := make(map[history.Budget][]admittance)
	for o, e := range x.public.effectOf {
		if o.Outcome != history.OK || o.Public.Method != history.Check && o.Public.Method != history.CheckMany {
			continue
		}
		for i, d := range o.Answer.Decisions {
			if d.Allowed {
				b := history.Budget{Policy: o.Public.Policy, Key: o.Public.Keys[i]}
				all[b] = append(all[b], admittance{e.now, e.index, float64(o.Public.Amount)})
			}
		}
	}
	for _, e := range x.public.debits {
		c := e.cmd.(*fsm.Check)
		for i, d := range e.result.Decisions {
			if d.Allowed {
				b := history.Budget{Policy: c.Policy, Key: c.Keys[i]}
				all[b] = append(all[b], admittance{e.now, e.index, float64(c.Cost)})
			}
		}
	}
	checked := 0
	for b, list := range all {
		rate := x.Story.Policies[b.Policy].Rate
		slices.SortFunc(list, func(a, b admittance) int { return cmp.Compare(a.index, b.index) })
		var over float64
		var at admittance
		switch rate.Name {
		case strategy.GCRA:
			over, at = overBucket(list, rate.Burst, rate.Limit/rate.Period)
		case strategy.TokenBucket:
			over, at = overBucket(list, rate.Capacity, rate.RefillPerSec/1000)
		case strategy.SlidingWindowLog:
			over, at = overLog(list, rate.Limit, clock.Millis(rate.Period))
		default:
			continue
		}
		checked++
		if over > 1e-6 {
			p.add(Problem{Index: at.index, Budget: b.String()}, "%g units more were admitted until %d than %+v allows over some span", over, at.now, rate)
		}
	}
	p.stat("keys without windows", "%d", checked)
}

// credits checks that nodes admitted no more than they debited, of policies without
// a ledger.
func (x *Case) credits(p *problems) {
	if len(x.Story.Bridged)+len(x.Story.Missing) > 0 {
		return // what was debited there is not known
	}
	spare := make(map[history.Budget]int64)
	for _, e := range x.public.debits {
		c := e.cmd.(*fsm.Check)
		for i, d := range e.result.Decisions {
			if d.Allowed {
				spare[history.Budget{Policy: c.Policy, Key: c.Keys[i]}] += c.Cost
			}
		}
	}
	for _, o := range x.ops {
		if o.Kind != history.KindPublic || o.Outcome != history.OK || !o.Answer.Local || !o.Answer.Decisions[0].Allowed || !x.byCredits(o.Public.Policy) {
			continue
		}
		b := history.Budget{Policy: o.Public.Policy, Key: o.Public.Keys[0]}
		if spare[b] -= o.Public.Amount; spare[b] < 0 && spare[b]+o.Public.Amount >= 0 {
			at := place(o)
			at.Budget = b.String()
			p.add(at, "nodes admitted more of %s than they debited", b)
		}
	}
}

// overBucket returns by how much the units between any two admittances exceed
// burst + rate·span, and where.
func overBucket(list []admittance, burst, rate float64) (worst float64, at admittance) {
	level := 0.0 // units above what the rate took away, since the worst beginning
	for i, a := range list {
		if i > 0 {
			level = max(0, level-rate*float64(a.now-list[i-1].now))
		}
		level += a.units
		if level-burst > worst {
			worst, at = level-burst, a
		}
	}
	return worst, at
}

// overLog does the same for the units within less than a period.
func overLog(list []admittance, limit float64, period clock.Millis) (worst float64, at admittance) {
	sum, from := 0.0, 0
	for _, a := range list {
		sum += a.units
		for list[from].now <= a.now-period {
			sum -= list[from].units
			from++
		}
		if sum-limit > worst {
			worst, at = sum-limit, a
		}
	}
	return worst, at
}

// publicDebits checks meters: by the books, and by what clients were told.
func publicDebits(x *Case, p *problems) {
	p.take(x.Story.books.debited)
	type meter struct {
		history.Budget
		end int64
	}
	told := make(map[meter][]*history.Op)
	for _, o := range x.ops {
		if o.Kind == history.KindPublic && o.Public.Method == history.Debit && o.Outcome == history.OK {
			m := meter{history.Budget{Policy: o.Public.Policy, Key: o.Public.Keys[0]}, o.Answer.Decisions[0].ResetAt}
			told[m] = append(told[m], o)
		}
	}
	overdrawn := int64(0)
	for m, ops := range told {
		slices.SortStableFunc(ops, func(a, b *history.Op) int { return cmp.Compare(a.Answer.Index, b.Answer.Index) })
		var served, before, largest int64 // before: by earlier entries
		for i, o := range ops {
			d := o.Answer.Decisions[0]
			if i > 0 && ops[i-1].Answer.Index != o.Answer.Index {
				before = served
			}
			if most := max(0, d.Limit-before); d.Remaining > most {
				at := place(o)
				at.Budget = m.String()
				p.add(at, "a debit is answered that %d remain, although debits of %d were acknowledged at earlier entries", d.Remaining, before)
			}
			if d.Allowed {
				served += o.Public.Amount
				largest = max(largest, o.Public.Amount)
			}
			if over := served - d.Limit; over > largest-1 {
				at := place(o)
				at.Budget = m.String()
				p.add(at, "%d tokens were debited of %d until %d, the largest debit was %d", served, d.Limit, m.end, largest)
			} else {
				overdrawn = max(overdrawn, over)
			}
		}
	}
	p.stat("windows of meters", "%d", len(told))
	p.stat("overdrawn at most by", "%d", overdrawn)
}

// fenceOf returns the fence of a lease id.
func fenceOf(lease string) (string, bool) {
	fence, nonce, ok := strings.Cut(lease, "-")
	if _, err := hex.DecodeString(nonce); err != nil {
		return "", false
	}
	return fence, ok
}
