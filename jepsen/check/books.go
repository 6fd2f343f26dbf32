package check

import (
	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/jepsen/history"
	"github.com/tkcoord/tkcoord/policy"
)

// books are a second set of ledgers, kept from questions and answers alone and
// in the dumbest way: the rules of the contract, spelled out, with a map and a
// loop. They accept any answer that the contract allows and report the others.
type books struct {
	limits  map[string]escrow.Credits // of the policies in force
	policy  map[string]policy.Policy
	slots   *slotBook
	meters  *meterBook
	blind   bool         // part of the log is missing: slots and meters are not known
	longest clock.Millis // max_lease_ttl
	open    map[history.Budget]*Window
	soonest clock.Millis // no open window ends before it
	closed  []*Window

	conserve, repeat, clock, debited, held problems // by the checker that reports them
}

func newBooks() *books {
	return &books{
		limits: make(map[string]escrow.Credits), policy: make(map[string]policy.Policy), open: make(map[history.Budget]*Window),
		slots: newSlotBook(), meters: newMeterBook(),
	}
}

// An effect is an exchange that the log settled.
type effect struct {
	index  uint64
	at     history.Time
	now    clock.Millis
	cmd    *fsm.Exchange
	result fsm.Result
}

// settle enters one answer. repeated says that the same request was settled
// before.
func (b *books) settle(e *effect, a *fsm.Ask, ans *fsm.Answer, repeated bool) {
	if ans.Err != nil {
		return
	}
	budget := history.Budget{Policy: a.Policy, Key: a.Key}
	at := Problem{At: e.at, Index: e.index, Client: e.cmd.EdgeID, Budget: budget.String()}
	b.deadline(ans, e, at)
	start := ans.Window.Start
	used, returned, need, want := a.Used, a.Returned, a.Need, a.Want
	if a.Window > start {
		b.conserve.add(at, "the answer is about window %d, the totals were about the later one of %d", start, a.Window)
		return
	}
	if a.Window < start { // news of an earlier window: only the wish for more counts
		gone := used + returned
		used, returned, need, want = 0, 0, max(0, need-gone), max(0, want-gone)
	}
	w := b.open[budget]
	if w != nil && w.guessed && w.End == ans.Window.End {
		w.Start, w.guessed = start, false
	}
	if (w == nil || w.Start != start) && want == 0 && ans.Granted == 0 {
		return // a question that opens nothing: the window may yet become another one
	}
	if w == nil || w.Start != start {
		w = b.begin(budget, w, ans, e, at)
	} else if ans.Window.End != w.End {
		b.clock.add(at, "window %d ends at %d, and at %d by an earlier answer", start, ans.Window.End, w.End)
	}
	h := e.result.Session
	before := w.Holders[h]
	after := escrow.Allotment{Granted: ans.Granted, Returned: max(before.Returned, returned), Used: max(before.Used, used)}
	free := max(0, ans.Limit-w.Out()+after.Returned-before.Returned)

	if after.Used+after.Returned > before.Granted {
		b.conserve.add(at, "holder %d reported used %d + returned %d of %d granted, and was not refused", h, after.Used, after.Returned, before.Granted)
	}
	switch more := after.Granted - before.Granted; {
	case more < 0:
		b.conserve.add(at, "the grant of holder %d fell from %d to %d within window %d", h, before.Granted, after.Granted, w.Start)
	case more > max(0, want-before.Granted):
		where := &b.conserve
		if repeated {
			where = &b.repeat
		}
		where.add(at, "holder %d wants a total of %d, had %d and was raised to %d%s", h, want, before.Granted, after.Granted, aRepeat(repeated))
	case more > free:
		b.conserve.add(at, "holder %d was given %d more while %d of %d were free", h, more, free, ans.Limit)
	case after.Granted < min(need, before.Granted+free):
		b.conserve.add(at, "holder %d needs a total of %d, had %d and got %d although %d were free", h, need, before.Granted, after.Granted, free)
	}
	if after != (escrow.Allotment{}) || want > 0 {
		w.Holders[h] = after
	}
	b.audit(w, ans, need, at)
}

func aRepeat(repeated bool) string {
	if repeated {
		return " by a request that had taken effect before"
	}
	return ""
}

// deadline checks the window of an answer and how long its holder may spend.
func (b *books) deadline(ans *fsm.Answer, e *effect, at Problem) {
	if !ans.Window.Contains(e.now) {
		b.clock.add(at, "the answer at %d is about window %v", e.now, ans.Window)
	}
	most := max(0, min(ans.Window.End-e.now-clock.Resolution, b.longest))
	if ans.TTL < 0 || ans.TTL > most {
		b.clock.add(at, "a ttl of %d ms at %d in window %v: want at most %d", ans.TTL, e.now, ans.Window, most)
	}
}

// begin opens the window that an answer is about, after the one before.
func (b *books) begin(budget history.Budget, before *Window, ans *fsm.Answer, e *effect, at Problem) *Window {
	if before != nil { // otherwise end would have closed it
		b.clock.add(at, "window %v at %d begins before the one of [%d, %d) has ended", ans.Window, e.now, before.Start, before.End)
		b.closed = append(b.closed, before)
	}
	w := &Window{
		WindowID: WindowID{budget, ans.Window.Start}, End: ans.Window.End, Peak: ans.Limit, OpenedAt: e.index,
		Ended: history.Never, Holders: make(map[escrow.HolderID]escrow.Allotment),
	}
	b.enter(w)
	return w
}

func (b *books) enter(w *Window) {
	b.open[w.Budget] = w
	b.soonest = min(b.soonest, w.End)
}

// audit checks an answer against the window as it is after it.
func (b *books) audit(w *Window, ans *fsm.Answer, need escrow.Credits, at Problem) {
	out := w.Out()
	if limit, known := b.limits[w.Policy]; known && limit != ans.Limit {
		b.conserve.add(at, "the answer says that the limit is %d, it is %d", ans.Limit, limit)
	}
	w.Peak = max(w.Peak, ans.Limit)
	if out > w.Peak {
		b.conserve.add(at, "%d credits are out in window %d, its limit was never above %d", out, w.Start, w.Peak)
	}
	if left := max(0, ans.Limit-out); ans.Left != left {
		b.conserve.add(at, "the answer says that %d are left; %d of %d are out", ans.Left, out, ans.Limit)
	}
	if refused := ans.Granted < need; refused != (ans.Retry > 0) {
		b.conserve.add(at, "a grant of %d for a need of %d is answered with retry after %d ms", ans.Granted, need, ans.Retry)
	}
}

// policies enters a change that took effect.
func (b *books) policies(c *fsm.Policies) {
	for i := range c.Put {
		b.limits[c.Put[i].Name] = c.Put[i].Limit
		b.policy[c.Put[i].Name] = c.Put[i]
	}
	for _, name := range c.Delete {
		delete(b.limits, name)
		delete(b.policy, name)
	}
	for budget, w := range b.open {
		w.Peak = max(w.Peak, b.limits[budget.Policy])
	}
}
