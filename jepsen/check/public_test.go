package check

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/jepsen/history"
	"github.com/tkcoord/tkcoord/policy"
	"github.com/tkcoord/tkcoord/strategy"
)

const publicPolicies = `version: 2
limiters:
  even: { strategy: gcra, limit: 10, period: 1s, burst: 3 }
  fed: { strategy: fixedWindow, limit: 50, period: 1s, federated: { batch: 10 } }
  meter: { fleetBudget: { budget: 100, windowMs: 60000 } }
  leased: { strategy: fixedWindow, limit: 20, period: 1s, twoTier: { batch: 8 } }
  paced: { strategy: gcra, limit: 10, period: 1s, burst: 5, twoTier: { batch: 4 } }
  narrow: { concurrency: { initialLimit: 2, minLimit: 2, maxLimit: 2 } }
`

func commandOf(c *history.Public) fsm.Command {
	switch c.Method {
	case history.Check, history.CheckMany:
		return &fsm.Check{Policy: c.Policy, Keys: c.Keys, Cost: c.Amount}
	case history.Debit:
		return &fsm.Debit{Policy: c.Policy, Key: c.Keys[0], Tokens: c.Amount}
	case history.Reserve:
		return &fsm.Reserve{Policy: c.Policy, Key: c.Keys[0], Wants: c.Amount}
	case history.Admit:
		return &fsm.Admit{Policy: c.Policy, Key: c.Keys[0]}
	case history.Release:
		return &fsm.Release{LeaseID: c.Keys[0], Dropped: c.Dropped}
	case history.Heartbeat:
		return &fsm.Heartbeat{LeaseIDs: c.Keys}
	}
	return nil
}

// call makes a call that is answered within 3 ms.
func (s *stage) call(name string, m history.Method, policy string, amount int64, keys ...string) *history.Op {
	s.Helper()
	c := s.client(name, history.RolePublic)
	call := &history.Public{Method: m, Policy: policy, Keys: keys, Amount: amount}
	o := history.Op{Client: name, Call: history.Call{Op: int64(len(c.Ops) + 1), At: s.at, Kind: history.KindPublic, Public: call}, Outcome: history.OK}
	s.at += ms
	if m == history.Peek {
		d, err := s.machine.Peek(policy, keys[0], s.clock())
		if err != nil {
			s.Fatal(err)
		}
		o.Answer = &history.PublicReply{Index: s.index, Clock: s.clock(), Decisions: []strategy.Decision{d}}
	} else {
		out := s.entry(commandOf(call))
		if out.Results[0].Err != nil {
			s.Fatal(out.Results[0].Err)
		}
		r := replyOf(&publicEffect{result: out.Results[0]})
		r.Index, r.Clock = out.Index, out.Now
		r.Decisions = slices.Clone(r.Decisions)
		o.Answer = &r
	}
	s.at += ms
	o.Ended = s.at
	s.at += ms
	c.Ops = append(c.Ops, o)
	return &c.Ops[len(c.Ops)-1]
}

// local records a check that a node decided now.
func (s *stage) local(policy string, amount int64, d strategy.Decision) {
	c := s.client("local", history.RolePublic)
	c.Ops = append(c.Ops, history.Op{
		Client: "local", Call: history.Call{Op: int64(len(c.Ops) + 1), At: s.at, Kind: history.KindPublic, Public: &history.Public{
			Method: history.Check, Policy: policy, Keys: []string{"a"}, Amount: amount,
		}},
		Outcome: history.OK, Ended: s.at + ms, Answer: &history.PublicReply{Local: true, Decisions: []strategy.Decision{d}},
	})
	s.at += 2 * ms
}

// hold records that a client took a slot for its own.
func (s *stage) hold(name, lease string, first, last history.Time) {
	c := s.client(name, history.RolePublic)
	c.Held = append(c.Held, history.Held{Policy: "narrow", Lease: lease, First: first, Last: last})
}

// A publicPlay is a play in which clients call the public contract, too. One
// client makes each kind of call.
type publicPlay struct {
	*play
	shared history.Budget
	window escrow.Millis // of the edge in shared
	end    int64         // of the window in which a node decides
}

func newPublicPlay(t testing.TB) *publicPlay {
	p := &publicPlay{play: newPlay(t), shared: history.Budget{Policy: "hot", Key: "s"}}
	f, err := policy.Parse("test", []byte(publicPolicies))
	if err != nil {
		t.Fatal(err)
	}
	p.entry(fsm.Policies{Put: f.Policies})
	p.pass(time.Duration(1000-p.clock()%1000) * time.Millisecond) // a new window

	p.call("rate", history.Peek, "even", 1, "a")
	p.call("rate", history.Check, "even", 2, "a")
	p.call("rate", history.CheckMany, "even", 1, "a", "b", "a")
	p.call("rate", history.Peek, "even", 1, "a")

	p.call("shared", history.Check, "hot", 10, "s")
	o := p.exchange("e1", history.RoleEdge, ask(p.shared, 0, 0, 0, 40, 40))
	p.window = o.Reply.Answers[0].Start
	p.admit("e1", p.shared, p.window, 40)
	p.call("shared", history.Check, "hot", 50, "s")
	p.call("shared", history.Check, "hot", 1, "s")
	p.exchange("e1", history.RoleEdge, ask(p.shared, p.window, 40, 0, 0, 0))

	p.call("fleet", history.Reserve, "fed", 30, "a")
	p.call("fleet", history.Reserve, "fed", 30, "a")
	p.call("fleet", history.Reserve, "fed", 30, "a")

	p.call("meter", history.Debit, "meter", 60, "a")
	p.call("meter", history.Debit, "meter", 55, "a")
	p.call("meter", history.Debit, "meter", 1, "a")

	out := p.entry(&fsm.Exchange{EdgeID: "node:n1", Incarnation: 7, Seq: 1, Asks: []fsm.Ask{{Policy: "leased", Key: "a", Need: 3, Want: 8}}})
	p.end = int64(out.Results[0].Answers[0].Window.End)
	p.entry(&fsm.Check{Policy: "paced", Keys: []string{"a"}, Cost: 4})
	granted := int64(out.Results[0].Answers[0].Granted)
	p.local("leased", 3, strategy.Decision{Allowed: true, Limit: 20, ResetAt: p.end})
	p.local("leased", granted-3, strategy.Decision{Allowed: true, Limit: 20, ResetAt: p.end})
	p.local("paced", 4, strategy.Decision{Allowed: true, Limit: 5, ResetAt: p.end})

	p.call("passed on", history.Check, "paced", 1, "a") // by a node that ends
	p.pass(100 * time.Millisecond)
	p.call("passed on", history.Check, "paced", 1, "a")

	a := p.call("slots", history.Admit, "narrow", 0, "x").Answer.Lease
	from := p.at
	b := p.call("slots", history.Admit, "narrow", 0, "x").Answer.Lease
	p.call("slots", history.Admit, "narrow", 0, "x")
	p.call("slots", history.Heartbeat, "", 0, a, b)
	p.hold("slots", b, from+3*ms, p.at)
	p.call("slots", history.Release, "", 0, b)
	c := p.call("slots", history.Admit, "narrow", 0, "x").Answer.Lease
	p.hold("slots", c, p.at, p.at+100*ms)
	p.hold("slots", a, from, p.at+1900*ms)
	p.pass(2100 * time.Millisecond)
	p.call("slots", history.Heartbeat, "", 0, a)
	p.call("slots", history.Heartbeat, "", 0, b)
	p.call("slots", history.Admit, "narrow", 0, "x")
	n := &p.meta.Need
	n.Public, n.PublicDenied, n.PublicLinear, n.Local, n.Slots, n.Shared = 15, 3, 6, 3, 3, 1
	return p
}

func TestGoodPublicRun(t *testing.T) {
	x := newPublicPlay(t).finish()
	if names, text := failing(t, x); len(names) > 0 {
		t.Errorf("a good run fails %q:\n%s", names, text)
	}
}

// TestBadPublicRuns spoils the good run in one way at a time.
func TestBadPublicRuns(t *testing.T) {
	for _, tt := range []struct {
		name  string
		spoil func(*publicPlay)
		want  []string
		text  string
	}{
		{"an answer that is not in the log", func(p *publicPlay) {
			p.op("fleet", 2).Answer.Index += 100
		}, []string{"P1 decided", "P3 order"}, "where the log does not have it"},
		{"a slot that is not in the log", func(p *publicPlay) {
			p.op("slots", 0).Answer.Lease = "1-00000000000000000000000000000000"
		}, []string{"P1 decided"}, "where the log does not have it"},
		{"another answer", func(p *publicPlay) {
			p.op("rate", 1).Answer.Decisions[0].Remaining++
		}, []string{"P1 decided", "P3 order"}, "a replay of entry"},
		{"another clock", func(p *publicPlay) {
			p.op("fleet", 0).Answer.Clock += 5
		}, []string{"P1 decided"}, "says that the clock was"},
		{"a peek that invents", func(p *publicPlay) {
			p.op("rate", 3).Answer.Decisions[0].Remaining++
		}, []string{"P1 decided", "P3 order"}, "a replay up to entry"},
		{"a peek into the past", func(p *publicPlay) {
			p.op("rate", 3).Answer = p.op("rate", 0).Answer
		}, []string{"P3 order"}, "have no order in which gcra gives their answers"},
		{"a refused call took effect", func(p *publicPlay) {
			o := p.op("fleet", 0)
			o.Outcome, o.Answer = history.Fail, nil
		}, []string{"P1 decided"}, "refused or never sent"},
		{"a call took effect twice", func(p *publicPlay) {
			p.entry(&fsm.Check{Policy: "even", Keys: []string{"z"}, Cost: 1}, &fsm.Check{Policy: "even", Keys: []string{"z"}, Cost: 1})
			c := p.client("late", history.RolePublic)
			c.Began = p.at - 10*ms
			c.Ops = append(c.Ops, history.Op{
				Client: "late", Call: history.Call{Op: 1, At: p.at - 5*ms, Kind: history.KindPublic, Public: &history.Public{Method: history.Check, Policy: "even", Keys: []string{"z"}, Amount: 1}},
				Ended: p.at, Outcome: history.Info,
			})
		}, []string{"P1 decided"}, "refused or never sent"},
		{"an effect before its call", func(p *publicPlay) {
			p.entry(&fsm.Debit{Policy: "meter", Key: "z", Tokens: 1})
			c := p.client("late", history.RolePublic)
			c.Ops = append(c.Ops, history.Op{
				Client: "late", Call: history.Call{Op: 1, At: p.at + 5*ms, Kind: history.KindPublic, Public: &history.Public{Method: history.Debit, Policy: "meter", Keys: []string{"z"}, Amount: 1}},
				Ended: p.at + 9*ms, Outcome: history.Info,
			})
		}, []string{"P1 decided"}, "refused or never sent"},
		{"edges and checks together above the limit", func(p *publicPlay) {
			a := p.clients["e1"].Admitted
			a[len(a)-1].Units++
		}, []string{"I1 limit", "P2 limits"}, "calls were admitted 60 units and edges 41"},
		{"a meter that forgot", func(p *publicPlay) {
			p.op("meter", 1).Answer.Decisions[0].Remaining = 45
		}, []string{"P1 decided", "P4 debits"}, "45 remain, although debits of 60"},
		{"a meter that is overdrawn by more than a debit", func(p *publicPlay) {
			p.op("meter", 2).Answer.Decisions[0].Allowed = true
			p.op("meter", 0).Answer.Decisions[0].Limit, p.op("meter", 2).Answer.Decisions[0].Limit = 50, 50
		}, []string{"P1 decided", "P4 debits"}, "116 tokens were debited of 50"},
		{"too many held at once", func(p *publicPlay) {
			h := p.clients["slots"].Held
			h[0].Last = h[1].First
		}, []string{"P5 slots"}, "3 slots of narrow are held at once"},
		{"a slot that came back", func(p *publicPlay) {
			o := p.call("slots", history.Heartbeat, "", 0, p.op("slots", 7).Public.Keys[0])
			o.Answer.Live, o.Answer.Reclaimed = o.Answer.Reclaimed, nil
		}, []string{"P1 decided", "P5 slots"}, "it was told to be reclaimed at index"},
		{"a node that admits more than it was granted", func(p *publicPlay) {
			p.op("local", 1).Public.Amount++
		}, []string{"P2 limits"}, "than they returned"},
		{"a node that admits after the end", func(p *publicPlay) {
			o := p.op("local", 2)
			o.Public.Policy, o.Public.Amount, p.op("local", 1).Answer.Decisions[0].Allowed = "leased", 1, false
			o.At, o.Ended = p.at, p.at+ms
		}, []string{"P2 limits"}, "had ended, and admitted in it"},
		{"a node that admits in no window", func(p *publicPlay) {
			p.op("local", 1).Answer.Decisions[0].ResetAt++
		}, []string{"P2 limits"}, "which the log does not know"},
		{"a node that admits more than it debited", func(p *publicPlay) {
			p.op("local", 2).Public.Amount++
		}, []string{"P2 limits"}, "more of paced/a than they debited"},
		{"a node that decides what it may not", func(p *publicPlay) {
			p.op("local", 0).Public.Policy = "even"
		}, []string{"P1 decided", "P2 limits"}, "which may not decide that"},
		{"nodes decided too little", func(p *publicPlay) { p.meta.Need.Local = 4 }, []string{"traffic"}, "decided by nodes"},
		{"too few calls", func(p *publicPlay) { p.meta.Need.Public = 1000 }, []string{"traffic"}, "calls of the public contract"},
		{"nothing is shared", func(p *publicPlay) { p.meta.Need.Shared = 2 }, []string{"traffic"}, "windows shared with edges"},
		{"too little for porcupine", func(p *publicPlay) { p.meta.Need.PublicLinear = 100 }, []string{"P3 order"}, "want at least 100"},
		{"an answer without an index", func(p *publicPlay) { p.op("fleet", 0).Answer.Index = 0 }, nil, "without an index"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPublicPlay(t)
			tt.spoil(p)
			names, text := failing(t, p.finish())
			if tt.want != nil && !slices.Equal(names, tt.want) {
				t.Errorf("fails %q, want %q:\n%s", names, tt.want, text)
			}
			if !strings.Contains(text, tt.text) {
				t.Errorf("want a problem with %q, got:\n%s", tt.text, text)
			}
		})
	}
}

// TestUnknownPublicOutcomes: calls whose answers were lost are looked up in the
// log, where they may stand or not.
func TestUnknownPublicOutcomes(t *testing.T) {
	p := newPublicPlay(t)
	for _, o := range []*history.Op{p.op("rate", 1), p.op("fleet", 1), p.op("meter", 2), p.op("slots", 5)} {
		o.Outcome, o.Answer = history.Info, nil
	}
	gone := *p.op("meter", 2)
	gone.Op, gone.At, gone.Ended = 99, p.at, p.at+ms
	p.clients["meter"].Ops = append(p.clients["meter"].Ops, gone)
	p.meta.Need.Public = 1
	x := p.finish()
	if names, text := failing(t, x); len(names) > 0 {
		t.Errorf("fails %q:\n%s", names, text)
	}
	resolved := 0
	for o, e := range x.public.effectOf {
		if o.Outcome == history.Info && e != nil {
			resolved++
		}
	}
	if resolved != 4 {
		t.Errorf("%d calls were found in the log, want the 4 that are in it", resolved)
	}
}

// TestStepEndsWhatNobodyHolds: a step of the clock ends a window that only checks
// took from, for the commands that follow it in its entry, too. Slots stay.
func TestStepEndsWhatNobodyHolds(t *testing.T) {
	p := newPublicPlay(t)
	p.call("more", history.Check, "hot", 10, "n")
	lease := p.call("more", history.Admit, "narrow", 0, "x").Answer.Lease
	to := p.clock() + 60_000
	take := &fsm.Exchange{EdgeID: "node:n1", Incarnation: 7, Seq: 2, Asks: []fsm.Ask{{Policy: "hot", Key: "n", Need: 95, Want: 95}}}
	if out := p.entry(fsm.Step{To: to}, take); out.Results[1].Answers[0].Granted != 95 {
		t.Fatalf("the new window grants %+v", out.Results[1].Answers[0])
	}
	p.epoch += 60_000
	if r := p.call("more", history.Heartbeat, "", 0, lease).Answer; len(r.Live) != 1 {
		t.Fatalf("the slot is %+v after the step", r)
	}
	if names, text := failing(t, p.finish()); len(names) > 0 {
		t.Errorf("fails %q:\n%s", names, text)
	}
}

// TestSlotBook gives the book of slots what a state machine with a mistake would
// say.
func TestSlotBook(t *testing.T) {
	p := &policy.Policy{Name: "p", Kind: policy.Guarded}
	p.Guard.MinLimit, p.Guard.MaxLimit = 1, 1
	given := func(now clock.Millis, fence uint64, id string) fsm.Admission {
		return fsm.Admission{Decision: strategy.Decision{Allowed: true, Limit: 1}, LeaseID: id + "-00", Fence: fence, ExpiresAt: now + fsm.SlotTTL}
	}
	type line struct {
		now  clock.Millis
		a    fsm.Admission
		beat fsm.Beat
		drop string
		at   history.Time
	}
	deny := fsm.Admission{Decision: strategy.Decision{Limit: 1}, Axis: fsm.AxisConcurrency}
	for _, tt := range []struct {
		name  string
		lines []line
		want  string
	}{
		{"given, kept, denied, ended, given", []line{
			{now: 0, a: given(0, 1, "1")}, {now: 1900, beat: fsm.Beat{Live: []string{"1-00"}}}, {now: 3899, a: deny}, {now: 3900, a: given(3900, 2, "2")},
		}, ""},
		{"given back", []line{{a: given(0, 1, "1")}, {drop: "1-00"}, {a: given(0, 2, "2")}}, ""},
		{"given above the ceiling", []line{{a: given(0, 1, "1")}, {now: 1, a: given(1, 2, "2")}}, "while 1 of 1 are held"},
		{"denied although one is free", []line{{a: deny}}, "while 0 of 1 are held"},
		{"not free in time", []line{{a: given(0, 1, "1")}, {now: 2000, a: deny}}, "is denied at 2000, while 0 of 1"},
		{"a fence that does not grow", []line{{a: given(0, 2, "2")}, {drop: "2-00"}, {a: given(0, 1, "1")}}, "after one with fence 2"},
		{"a fence that is another's", []line{{a: given(0, 2, "3")}}, "has fence 2"},
		{"revived", []line{{a: given(0, 1, "1")}, {now: 2000, beat: fsm.Beat{Live: []string{"1-00"}}}}, "is told to live at 2000"},
		{"taken away", []line{{a: given(0, 1, "1")}, {now: 1999, beat: fsm.Beat{Reclaimed: []string{"1-00"}}}}, "it ends at 2000"},
		{"a wrong end", []line{{now: 5, a: given(4, 1, "1")}}, "ends at 2004"},
		{"kept by a clock that stands", []line{{a: given(0, 1, "1")}, {at: 3001 * ms, now: 1999, a: deny}}, "was kept 3.001s ago and is not free"},
		{"another ceiling", []line{{a: fsm.Admission{Decision: strategy.Decision{Limit: 1}, Axis: fsm.AxisRate}}}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newSlotBook()
			var bad problems
			for _, l := range tt.lines {
				b.end(l.now)
				b.drop(l.drop)
				b.beat(&l.beat, l.now, Problem{}, &bad)
				if l.a.Allowed || l.a.Axis != "" {
					b.admit(p, &l.a, l.now, Problem{At: l.at}, &bad)
				}
			}
			text := ""
			for _, p := range bad.list {
				text += p.Text + "\n"
			}
			if tt.want == "" && text != "" || !strings.Contains(text, tt.want) {
				t.Errorf("want %q, got %q", tt.want, text)
			}
		})
	}
}

// TestStrictBooks enters checks and reservations beside leases.
func TestStrictBooks(t *testing.T) {
	p := limitPolicy("p", 10, 1000)
	lease := entered{now: 1100, holder: 1, need: 6, want: 6, start: 1000, end: 2000, granted: 6, left: 4, limit: 10, ttl: 899}
	type line struct {
		lease *entered
		cost  escrow.Credits
		d     strategy.Decision
		wants int64
		r     fsm.Reserved
	}
	check := func(cost escrow.Credits, allowed bool, remaining, end int64) line {
		d := strategy.Decision{Allowed: allowed, Limit: 10, Remaining: remaining, ResetAt: end}
		if !allowed {
			d.RetryAfter = end - 1100
		}
		return line{cost: cost, d: d}
	}
	reserve := func(wants int64, granted, left escrow.Credits) line {
		return line{wants: wants, r: fsm.Reserved{Granted: granted, Left: left, Limit: 10, Window: escrow.Window{Start: 1000, End: 2000}}}
	}
	after := lease // a lease, when 3 were taken
	after.granted, after.left, after.need = 6, 1, 6
	for _, tt := range []struct {
		name  string
		lines []line
		want  string
	}{
		{"beside a lease", []line{{lease: &lease}, check(4, true, 0, 2000), check(1, false, 0, 2000)}, ""},
		{"before a lease", []line{check(3, true, 7, 2000), {lease: &after}, reserve(5, 1, 0)}, ""},
		{"denied for its size", []line{check(11, false, 10, 2000)}, ""},
		{"apart from leases", []line{{lease: &lease}, check(5, true, 5, 2000)}, "while 4 of 10 are left"},
		{"denied although there are enough", []line{check(10, false, 10, 2000)}, "while 10 of 10 are left"},
		{"says that more remain", []line{check(4, true, 7, 2000)}, "6 of 10 are left"},
		{"a lease that does not see checks", []line{check(5, true, 5, 2000), {lease: &lease}}, "was given 6 more while 5 of 10 were free"},
		{"reserved too much", []line{{lease: &lease}, reserve(5, 5, 0)}, "while 4 of 10 are left"},
		{"a window of its own", []line{{lease: &lease}, check(1, true, 3, 1999)}, "before the one of [1000, 2000) has ended"},
		{"a window beyond the policy's", []line{check(1, true, 9, 2001)}, "by the policy it ends at 2000"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBooks()
			b.longest = 5000
			b.policies(&fsm.Policies{Put: []policy.Policy{p}})
			for i, l := range tt.lines {
				e := &publicEffect{index: uint64(i + 1), now: 1100}
				switch {
				case l.lease != nil:
					l.lease.settle(b, e.index)
				case l.wants > 0:
					e.cmd, e.result = &fsm.Reserve{Policy: "p", Key: "a", Wants: l.wants}, fsm.Result{Reserved: &l.r}
					b.public(e, Problem{})
				default:
					e.cmd, e.result = &fsm.Check{Policy: "p", Keys: []string{"a"}, Cost: int64(l.cost)}, fsm.Result{Decisions: []strategy.Decision{l.d}}
					b.public(e, Problem{})
				}
			}
			text := ""
			for _, p := range append(b.conserve.list, b.clock.list...) {
				text += p.Text + "\n"
			}
			if tt.want == "" && text != "" || !strings.Contains(text, tt.want) {
				t.Errorf("want %q, got %q", tt.want, text)
			}
		})
	}
}

// TestMeterBook: a meter that forgets, or that counts what it denied.
func TestMeterBook(t *testing.T) {
	p := &policy.Policy{Name: "p", Kind: policy.Meter, Limit: 10, Cadence: escrow.Cadence{Kind: escrow.Fixed, Period: 1000}}
	type line struct {
		now       clock.Millis
		tokens    int64
		allowed   bool
		remaining int64
	}
	for _, tt := range []struct {
		name  string
		lines []line
		bad   bool
	}{
		{"good", []line{{100, 9, true, 1}, {200, 9, true, 0}, {300, 1, false, 0}, {1000, 1, true, 9}}, false},
		{"forgets", []line{{100, 9, true, 1}, {200, 9, true, 1}}, true},
		{"denies too early", []line{{100, 9, true, 1}, {200, 2, false, 1}}, true},
		{"allows when empty", []line{{100, 10, true, 0}, {200, 1, true, 0}}, true},
		{"carries over", []line{{100, 9, true, 1}, {1000, 1, true, 0}}, true},
	} {
		b, bad := newMeterBook(), problems{}
		for _, l := range tt.lines {
			end := l.now/1000*1000 + 1000
			d := strategy.Decision{Allowed: l.allowed, Limit: 10, Remaining: l.remaining, ResetAt: int64(end)}
			if !l.allowed {
				d.RetryAfter = int64(end - l.now)
			}
			b.debit(p, &fsm.Debit{Policy: "p", Key: "a", Tokens: l.tokens}, &d, l.now, Problem{}, &bad)
		}
		if (bad.found > 0) != tt.bad {
			t.Errorf("%s: problems %+v", tt.name, bad.list)
		}
	}
}

// TestStrictModel gives porcupine small histories of a key with gcra: 3 at once, 1
// in each 100 ms.
func TestStrictModel(t *testing.T) {
	s, err := strategy.New(strategy.Params{Name: strategy.GCRA, Limit: 10, Period: 1000, Burst: 3})
	if err != nil {
		t.Fatal(err)
	}
	answers := func(costs ...int64) (all []strategy.Decision) { // at 1000, 1001, ...; 0 peeks
		var state strategy.State
		for i, c := range costs {
			if c == 0 {
				all = append(all, s.Peek(&state, int64(1000+i)))
			} else {
				all = append(all, s.Check(&state, int64(1000+i), strategy.Cost(c)))
			}
		}
		return all
	}
	op := func(call, ret int64, now clock.Millis, cost int64, d strategy.Decision) porcupine.Operation {
		return porcupine.Operation{ClientId: int(call), Call: call, Return: ret, Input: strictOp{now: now, cost: max(1, cost), peek: cost == 0}, Output: d}
	}
	d := answers(2, 1, 0, 1)
	for _, tt := range []struct {
		name string
		h    []porcupine.Operation
		want porcupine.CheckResult
	}{
		{"one after the other", []porcupine.Operation{op(0, 9, 1000, 2, d[0]), op(10, 19, 1001, 1, d[1]), op(20, 29, 1002, 0, d[2]), op(30, 39, 1003, 1, d[3])}, porcupine.Ok},
		{"at once, and the stamps tell the order", []porcupine.Operation{op(0, 50, 1001, 1, d[1]), op(1, 50, 1000, 2, d[0])}, porcupine.Ok},
		{"the times forbid the order of the stamps", []porcupine.Operation{op(0, 9, 1001, 1, d[1]), op(10, 19, 1000, 2, d[0])}, porcupine.Illegal},
		{"an allowance that was not there", []porcupine.Operation{op(0, 9, 1000, 2, d[0]), op(10, 19, 1001, 1, d[1]), op(20, 29, 1003, 1, d[1])}, porcupine.Illegal},
		{"a stale peek", []porcupine.Operation{op(0, 9, 1000, 2, d[0]), op(10, 19, 1002, 0, answers(0)[0])}, porcupine.Illegal},
		{"a peek by a clock that lags", []porcupine.Operation{op(0, 9, 1000, 2, d[0]), op(10, 19, 1001, 1, d[1]), op(20, 29, 990, 0, s.Peek(stateAfter(s), 1001))}, porcupine.Ok},
	} {
		if got := porcupine.CheckOperationsTimeout(strictModel(s), tt.h, linearTime); got != tt.want {
			t.Errorf("%s: porcupine says %v, want %v", tt.name, got, tt.want)
		}
	}
}

// stateAfter is that after checks of 2 at 1000 and of 1 at 1001.
func stateAfter(s strategy.Strategy) *strategy.State {
	var state strategy.State
	s.Check(&state, 1000, 2)
	s.Check(&state, 1001, 1)
	return &state
}

func TestSpans(t *testing.T) {
	for _, tt := range []struct {
		name string
		list []admittance
		over float64
	}{
		{"a burst and the rate", []admittance{{0, 1, 3}, {100, 2, 1}, {300, 3, 2}}, 0},
		{"a long rest saves no more than the burst", []admittance{{0, 1, 1}, {9000, 2, 4}}, 1},
		{"a burst twice", []admittance{{0, 1, 3}, {100, 2, 3}}, 2},
		{"a drizzle above the rate", []admittance{{0, 1, 1}, {50, 2, 1}, {100, 3, 1}, {150, 4, 1}, {200, 5, 1}, {250, 6, 1}}, 0.5},
	} {
		if over, _ := overBucket(tt.list, 3, 0.01); over != tt.over {
			t.Errorf("%s: %g over, want %g", tt.name, over, tt.over)
		}
	}
	if over, _ := overLog([]admittance{{0, 1, 2}, {99, 2, 1}, {100, 3, 2}}, 3, 100); over != 0 {
		t.Errorf("a log that forgets in time is %g over", over)
	}
	if over, at := overLog([]admittance{{0, 1, 2}, {99, 2, 2}}, 3, 100); over != 1 || at.index != 2 {
		t.Errorf("a log that forgets early is %g over at %d, want 1 at 2", over, at.index)
	}
}
