package check

import (
	"slices"
	"strconv"
	"time"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/jepsen/history"
	"github.com/tkcoord/tkcoord/policy"
	"github.com/tkcoord/tkcoord/strategy"
)

// public enters a command of the public contract.
func (b *books) public(e *publicEffect, at Problem) {
	switch c := e.cmd.(type) {
	case *fsm.Check:
		p, known := b.policy[c.Policy]
		if !known || !p.Ledger() {
			return // porcupine checks it
		}
		e.windows = make([]*Window, len(c.Keys))
		for i, key := range c.Keys {
			if e.result.KeyErrs == nil || e.result.KeyErrs[i] == nil {
				e.windows[i] = b.strict(&p, key, escrow.Credits(c.Cost), &e.result.Decisions[i], e, at)
			}
		}
	case *fsm.Reserve:
		if p, known := b.policy[c.Policy]; known {
			e.windows = []*Window{b.reserve(&p, c, e.result.Reserved, e, at)}
		}
	case *fsm.Debit:
		if p, known := b.policy[c.Policy]; known && !b.blind {
			b.meters.debit(&p, c, &e.result.Decisions[0], e.now, at, &b.debited)
		}
	case *fsm.Admit:
		if p, known := b.policy[c.Policy]; known && !b.blind {
			b.slots.admit(&p, e.result.Admission, e.now, at, &b.held)
		}
	case *fsm.Release:
		b.slots.drop(c.LeaseID)
	case *fsm.Heartbeat:
		if !b.blind {
			b.slots.beat(e.result.Beat, e.now, at, &b.held)
		}
	}
}

// windowTo returns the window of a budget that ends at end, which it may open.
func (b *books) windowTo(budget history.Budget, p *policy.Policy, end clock.Millis, e *publicEffect, at Problem) *Window {
	w := b.open[budget]
	if w != nil && w.End == end {
		return w
	}
	if w != nil { // otherwise end would have closed it
		b.clock.add(at, "a check at %d is about a window to %d, before the one of [%d, %d) has ended", e.now, end, w.Start, w.End)
		b.closed = append(b.closed, w)
	}
	is := p.Cadence.At(e.now)
	if end <= e.now || end > is.End {
		b.clock.add(at, "a check at %d is about a window to %d, by the policy it ends at %d", e.now, end, is.End)
	}
	w = &Window{
		WindowID: WindowID{budget, is.Start}, End: end, Peak: p.Limit, OpenedAt: e.index, Ended: history.Never,
		Holders: make(map[escrow.HolderID]escrow.Allotment), guessed: true,
	}
	b.enter(w)
	return w
}

// strict enters a check that a ledger decided and returns its window, nil if it was
// denied.
func (b *books) strict(p *policy.Policy, key string, cost escrow.Credits, d *strategy.Decision, e *publicEffect, at Problem) *Window {
	budget := history.Budget{Policy: p.Name, Key: key}
	at.Budget = budget.String()
	var out escrow.Credits
	if w := b.open[budget]; w != nil {
		out = w.Out()
	}
	left := max(0, p.Limit-out)
	if d.Allowed != (cost <= left) {
		b.conserve.add(at, "a check of %d is answered %+v, while %d of %d are left", cost, *d, left, p.Limit)
	}
	var w *Window
	if d.Allowed {
		w = b.windowTo(budget, p, clock.Millis(d.ResetAt), e, at)
		w.Taken += cost
		w.Peak = max(w.Peak, p.Limit)
		left -= cost
	}
	if d.Limit != int64(p.Limit) || d.Remaining != int64(max(0, left)) || (d.RetryAfter > 0) == d.Allowed {
		b.conserve.add(at, "a check of %d is answered %+v; %d of %d are left", cost, *d, left, p.Limit)
	}
	return w
}

// reserve enters a reservation and returns its window.
func (b *books) reserve(p *policy.Policy, c *fsm.Reserve, r *fsm.Reserved, e *publicEffect, at Problem) *Window {
	budget := history.Budget{Policy: p.Name, Key: c.Key}
	at.Budget = budget.String()
	var out escrow.Credits
	if w := b.open[budget]; w != nil {
		out = w.Out()
	}
	left := max(0, p.Limit-out)
	if want := min(escrow.Credits(c.Wants), left); r.Granted != want || r.Left != left-want || r.Limit != p.Limit {
		b.conserve.add(at, "a reservation of %d is answered %+v, while %d of %d are left", c.Wants, *r, left, p.Limit)
	}
	if r.Granted == 0 {
		return nil
	}
	w := b.windowTo(budget, p, r.Window.End, e, at)
	if w.guessed {
		w.Start, w.guessed = r.Window.Start, false
	}
	w.Given += r.Granted
	w.Peak = max(w.Peak, p.Limit)
	return w
}

// A meterBook counts what each key was served.
type meterBook struct{ served map[history.Budget]*served }

type served struct {
	end    clock.Millis
	tokens escrow.Credits
}

func newMeterBook() *meterBook { return &meterBook{make(map[history.Budget]*served)} }

func (b *meterBook) debit(p *policy.Policy, c *fsm.Debit, d *strategy.Decision, now clock.Millis, at Problem, bad *problems) {
	budget := history.Budget{Policy: c.Policy, Key: c.Key}
	at.Budget = budget.String()
	s := b.served[budget]
	if s == nil || now >= s.end {
		s = &served{end: p.Cadence.At(now).End}
		b.served[budget] = s
	}
	before, allowed := s.tokens, s.tokens < p.Limit
	if allowed {
		s.tokens += escrow.Credits(c.Tokens)
	}
	want := strategy.Decision{Allowed: allowed, Limit: int64(p.Limit), Remaining: int64(max(0, p.Limit-s.tokens)), ResetAt: int64(s.end)}
	if !allowed {
		want.RetryAfter = int64(s.end - now)
	}
	if *d != want {
		bad.add(at, "a debit of %d after %d of %d is answered %+v, want %+v", c.Tokens, before, p.Limit, *d, want)
	}
}

// A slotBook knows the slots that are held.
type slotBook struct {
	held  map[string]*heldSlot // by lease id
	fence uint64               // newest
	taken int
	ended int // reclaimed
	// oldest is the longest time after which a slot that was not kept was still seen
	// to be held.
	oldest time.Duration
}

type heldSlot struct {
	policy string
	end    clock.Millis
	kept   history.Time // when it was given, or kept
}

// freeWithin is how long after its last keep a slot may be held, by the records'
// clock: its time to live, and what the cluster clock may be behind. Steps of that
// clock are taken out, and when nothing was appended, since nobody led.
const freeWithin = time.Duration(fsm.SlotTTL)*time.Millisecond + time.Second

// longIdle is how long a cluster with a leader appends nothing, at most: a few ticks.
const longIdle = 500 * time.Millisecond

func newSlotBook() *slotBook { return &slotBook{held: make(map[string]*heldSlot)} }

// end reclaims what has ended.
func (b *slotBook) end(now clock.Millis) {
	for id, s := range b.held {
		if s.end <= now {
			delete(b.held, id)
			b.ended++
		}
	}
}

// shift keeps slots for what they had left, after a step of the clock.
func (b *slotBook) shift(by clock.Millis) {
	for _, s := range b.held {
		s.end += by
		s.kept = s.kept.Add(time.Duration(by) * time.Millisecond)
	}
}

// idle is told for how long nothing was appended.
func (b *slotBook) idle(d time.Duration) {
	if d < longIdle {
		return
	}
	for _, s := range b.held {
		s.kept = s.kept.Add(d)
	}
}

func (b *slotBook) drop(id string) { delete(b.held, id) }

// inUse counts the slots of a policy.
func (b *slotBook) inUse(policy string) (n int64) {
	for _, s := range b.held {
		if s.policy == policy {
			n++
		}
	}
	return n
}

// ceilingOf returns how many slots a policy had when it gave an answer: what it is
// made to have, or what an answer that no rate has a part in says.
func ceilingOf(p *policy.Policy, a *fsm.Admission) (n int64, known bool) {
	if p.Guard.MinLimit == p.Guard.MaxLimit {
		return int64(p.Guard.MaxLimit), true
	}
	return a.Limit, p.Strategy == ""
}

func (b *slotBook) admit(p *policy.Policy, a *fsm.Admission, now clock.Millis, at Problem, bad *problems) {
	n := b.inUse(p.Name)
	ceiling, known := ceilingOf(p, a)
	at.Budget = p.Name
	if known && (ceiling < int64(p.Guard.MinLimit) || ceiling > int64(p.Guard.MaxLimit)) {
		bad.add(at, "the ceiling is %d, it is to be from %d to %d", ceiling, p.Guard.MinLimit, p.Guard.MaxLimit)
	}
	if !a.Allowed {
		if known && a.Axis == fsm.AxisConcurrency && n < ceiling {
			bad.add(at, "a slot is denied at %d, while %d of %d are held", now, n, ceiling)
		}
		b.age(p.Name, at, bad)
		return
	}
	if known && n >= ceiling {
		bad.add(at, "a slot is given at %d, while %d of %d are held", now, n, ceiling)
	}
	digits, ok := fenceOf(a.LeaseID)
	fence, err := strconv.ParseUint(digits, 16, 64)
	if !ok || err != nil || fence != a.Fence || fence <= b.fence {
		bad.add(at, "slot %s has fence %x after one with fence %x", a.LeaseID, a.Fence, b.fence)
	}
	if a.ExpiresAt != now+fsm.SlotTTL {
		bad.add(at, "slot %s, given at %d, ends at %d", a.LeaseID, now, a.ExpiresAt)
	}
	b.fence = max(b.fence, fence)
	b.taken++
	b.held[a.LeaseID] = &heldSlot{p.Name, now + fsm.SlotTTL, at.At}
}

// age checks that the slots which keep a request out are not held for too long.
func (b *slotBook) age(policy string, at Problem, bad *problems) {
	for id, s := range b.held {
		if s.policy != policy {
			continue
		}
		old := at.At.Sub(s.kept)
		b.oldest = max(b.oldest, old)
		if old > freeWithin {
			bad.add(at, "slot %s was kept %v ago and is not free", id, old)
		}
	}
}

func (b *slotBook) beat(r *fsm.Beat, now clock.Millis, at Problem, bad *problems) {
	for _, id := range r.Live {
		s := b.held[id]
		if s == nil {
			bad.add(at, "slot %s is told to live at %d, it was given back or had ended", id, now)
			continue
		}
		s.end, s.kept = now+fsm.SlotTTL, at.At
	}
	for _, id := range r.Reclaimed {
		if s := b.held[id]; s != nil {
			bad.add(at, "slot %s is told to be reclaimed at %d, it ends at %d", id, now, s.end)
		}
	}
}

// publicSlots checks slots: by the books, and by what their holders say.
func publicSlots(x *Case, p *problems) {
	p.take(x.Story.books.held)
	x.comeBack(p)
	held := make(map[string][]*history.Held)
	left := 0
	for _, c := range x.History {
		for i := range c.Held {
			h := &c.Held[i]
			held[h.Policy] = append(held[h.Policy], h)
			if h.Left {
				left++
			}
		}
	}
	for _, name := range sortedKeys(held) {
		most, at := together(held[name])
		ceiling := x.Story.Policies[name].Guard.MaxLimit
		if most > ceiling {
			p.add(Problem{At: at, Budget: name}, "%d slots of %s are held at once, as their holders see it, the ceiling is never above %d", most, name, ceiling)
		}
		p.stat("slots of "+name, "%d held, at most %d at once of %d", len(held[name]), most, ceiling)
	}
	if held := x.Story.books.slots; held.taken > 0 {
		p.stat("held for longest without being kept", "%v", held.oldest.Round(time.Millisecond))
	}
	p.stat("slots taken, reclaimed, left on purpose", "%d, %d, %d", x.Story.books.slots.taken, x.Story.books.slots.ended, left)
}

// comeBack checks that no slot is told to live after it was told to be reclaimed.
func (x *Case) comeBack(p *problems) {
	gone := make(map[string]*history.Op) // the first to be told
	beats := make([]*history.Op, 0)
	for _, o := range x.ops {
		if o.Kind == history.KindPublic && o.Public.Method == history.Heartbeat && o.Outcome == history.OK {
			beats = append(beats, o)
		}
	}
	slices.SortStableFunc(beats, func(a, b *history.Op) int { return int(int64(a.Answer.Index) - int64(b.Answer.Index)) })
	for _, o := range beats {
		for _, id := range o.Answer.Live {
			if g := gone[id]; g != nil && g.Answer.Index < o.Answer.Index {
				p.add(place(o), "slot %s is told to live at index %d, it was told to be reclaimed at index %d", id, o.Answer.Index, g.Answer.Index)
			}
		}
		for _, id := range o.Answer.Reclaimed {
			if gone[id] == nil {
				gone[id] = o
			}
		}
	}
}

// together returns how many of the spans have an instant in common, at most, and
// one that they have.
func together(all []*history.Held) (most int, at history.Time) {
	type edge struct {
		at    history.Time
		begin bool
	}
	var edges []edge
	for _, h := range all {
		edges = append(edges, edge{h.First, true}, edge{h.Last, false})
	}
	slices.SortFunc(edges, func(a, b edge) int {
		switch {
		case a.at != b.at:
			return int(max(-1, min(1, a.at-b.at)))
		case a.begin == b.begin:
			return 0
		case a.begin: // spans that touch have an instant in common
			return -1
		}
		return 1
	})
	n := 0
	for _, e := range edges {
		if !e.begin {
			n--
			continue
		}
		if n++; n > most {
			most, at = n, e.at
		}
	}
	return most, at
}
