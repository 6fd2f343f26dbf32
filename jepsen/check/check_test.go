package check

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/jepsen/history"
)

var (
	hot  = history.Budget{Policy: "hot", Key: "a"}
	cell = history.Budget{Policy: "cell", Key: "a"}
)

func ask(b history.Budget, window escrow.Millis, used, returned, need, want escrow.Credits) fsm.Ask {
	return fsm.Ask{Policy: b.Policy, Key: b.Key, Window: window, Used: used, Returned: returned, Need: need, Want: want}
}

// A play is the run that most tests are made of: two edges that spend from one
// budget over two windows, two clients that take and give by hand, and a pause.
// The operations that tests spoil have names.
type play struct {
	*stage
	first, second *history.Op // the grants of the edges in the first window
	window        escrow.Millis
	take, again   *history.Op // by hand; again repeats take
	read          *history.Op
	spent         escrow.Credits // by e1 in the first window
}

func newPlay(t testing.TB) *play {
	p := &play{stage: newStage(t, limitPolicy("hot", 100, 1000), limitPolicy("cell", 20, 1000))}
	p.meta.Phases.Warm = p.at
	p.first = p.exchange("e1", history.RoleEdge, ask(hot, 0, 0, 0, 30, 60))
	g1 := p.first.Reply.Answers[0]
	p.window, p.spent = g1.Start, g1.Granted
	p.admit("e1", hot, p.window, g1.Granted)
	p.second = p.exchange("e2", history.RoleEdge, ask(hot, 0, 0, 0, 40, 40))
	g2 := p.second.Reply.Answers[0]
	p.pass(100 * time.Millisecond)
	p.meta.Phases.Faults = p.at
	from := p.at
	p.take = p.exchange("d1", history.RoleDirect, ask(cell, 0, 0, 0, 12, 12))
	p.again = p.send("d1", history.RoleDirect, 1, ask(cell, 0, 0, 0, 12, 12))
	p.again.Lane, p.again.Repeat = 1, p.take.Op
	p.read = p.exchange("d2", history.RoleDirect, ask(cell, 0, 0, 0, 12, 12))
	p.deny("e1", hot)
	p.admit("e2", hot, p.window, g2.Granted-10)
	p.exchange("e2", history.RoleEdge, ask(hot, p.window, g2.Granted-10, 10, 0, 0))
	p.faults = append(p.faults, Fault{Nemesis: "pause", Targets: []string{"n1"}, From: from, To: p.at})
	p.meta.Phases.Healed = p.at
	p.pass(1200 * time.Millisecond) // into the next window
	next := p.exchange("e1", history.RoleEdge, ask(hot, p.window, p.spent, 0, p.spent+5, p.spent+5))
	p.admit("e1", hot, next.Reply.Answers[0].Start, 3)
	p.pass(10 * time.Millisecond)
	p.exchange("e1", history.RoleEdge, ask(hot, next.Reply.Answers[0].Start, 3, 2, 0, 0))
	return p
}

// early records an admission in the first window, in time.
func (p *play) early(edge string, units escrow.Credits) {
	now := p.at
	p.at = p.first.Ended
	p.admit(edge, hot, p.window, units)
	p.at = now
}

// op returns an operation of a client for spoiling.
func (s *stage) op(client string, n int) *history.Op { return &s.clients[client].Ops[n] }

func TestGoodRun(t *testing.T) {
	x := newPlay(t).finish()
	if names, text := failing(t, x); len(names) > 0 {
		t.Errorf("a good run fails %q:\n%s", names, text)
	}
}

// TestBadRuns spoils the good run in one way at a time. want names all verdicts
// that must fail, no more and no fewer, and text is part of a problem.
func TestBadRuns(t *testing.T) {
	for _, tt := range []struct {
		name  string
		spoil func(*play)
		want  []string
		text  string
	}{
		{"one unit too many in all", func(p *play) {
			p.early("e2", 100)
		}, []string{"I1 limit"}, "its limit was never above 100"},
		{"one unit more than the edge was granted", func(p *play) {
			p.early("e2", 1)
		}, []string{"I1 limit"}, "admitted by e2 in window"},
		{"an edge that never asked", func(p *play) {
			p.early("e3", 1)
		}, []string{"I1 limit"}, "granted 0 more"},
		{"spent twice what was returned", func(p *play) {
			p.early("e2", 10)
		}, []string{"I1 limit"}, "than it returned"},
		{"a window that was never granted", func(p *play) {
			p.admit("e1", hot, p.window+7000, 1)
		}, []string{"I1 limit"}, "which the log does not know"},
		{"reported more than was admitted", func(p *play) {
			p.clients["e2"].Admitted = nil
		}, []string{"I1 limit"}, "reported 30 units as spent"},
		{"admitted after the window had ended", func(p *play) {
			a := &p.clients["e1"].Admitted[0]
			a.Last = p.at // entries since then are beyond its end
		}, []string{"I1 owner"}, "had ended at its owner"},
		{"an acknowledged grant is not in the log", func(p *play) {
			p.first.Reply.Index = 900
		}, []string{"I3 acknowledged", "I7 clock", "linearizable"}, "acknowledged at index 900"},
		{"a refused exchange took effect", func(p *play) {
			p.read.Outcome, p.read.Reply = history.Fail, nil
		}, []string{"I3 acknowledged", "linearizable"}, "refused or never sent"},
		{"another grant was answered", func(p *play) {
			p.first.Reply.Answers[0].Granted++
		}, []string{"I3 acknowledged"}, "was answered"},
		{"another clock was answered", func(p *play) {
			p.first.Reply.Clock += 3
		}, []string{"I3 acknowledged"}, "says that the clock was"},
		{"another question is in the log", func(p *play) {
			p.first.Exchange.Asks[0].Want++
		}, []string{"I3 acknowledged"}, "was sent as"},
		{"the clock of replies runs back", func(p *play) {
			last := p.op("e1", 2)
			p.first.Reply.Clock, last.Reply.Clock = last.Reply.Clock, p.first.Reply.Clock
		}, []string{"I3 acknowledged", "I7 clock"}, "the one before had"},
		{"a read from the past", func(p *play) {
			p.read.Reply.Answers[0] = p.take.Reply.Answers[0]
		}, []string{"I3 acknowledged", "linearizable"}, "have no order"},
		{"a replica differs", func(p *play) {
			p.meta.Nodes = append(p.meta.Nodes, "n4")
		}, []string{"I9 replicas"}, "n4 took no part"},
		{"a panic", func(p *play) {
			p.meta.Excused = []string{"runtime error"}
			p.lines = append(p.lines, LogLine{Node: "n1", N: 3, Text: "panic: runtime error", More: []string{"goroutine 1"}})
		}, []string{"I12 logs"}, "goroutine 1"},
		{"an error that no fault explains", func(p *play) {
			p.meta.Excused = []string{"store failed"}
			p.lines = append(p.lines, LogLine{Node: "n1", N: 3, Text: `level=ERROR msg="store failed"`}, LogLine{Node: "n1", N: 4, Text: "level=ERROR msg=other"})
		}, []string{"I12 logs"}, "n1:4"},
		{"a node ended by itself", func(p *play) { p.meta.Died = []string{"n2 ended"} }, []string{"I12 logs"}, "n2 ended"},
		{"no answer after the faults", func(p *play) {
			p.meta.Need.FirstReply = time.Second
		}, []string{"I10 liveness"}, "within 1s"},
		{"slow after the faults", func(p *play) {
			p.meta.Need.SlowFloor = time.Millisecond
			p.op("e1", 2).Ended += 5 * ms
		}, []string{"I10 liveness"}, "the p99 of exchanges"},
		{"too little traffic", func(p *play) { p.meta.Need.Exchanges = 1000 }, []string{"traffic"}, "want at least 1000"},
		{"nothing was denied", func(p *play) { p.clients["e1"].Denied = nil }, []string{"traffic"}, "requests denied"},
		{"too little for porcupine", func(p *play) { p.meta.Need.Linear = 1000 }, []string{"linearizable"}, "want at least 1000"},
		{"a fault that hit nothing", func(p *play) {
			p.faults[0].From, p.faults[0].To = p.meta.Phases.Healed+50*ms, p.meta.Phases.Healed+60*ms
		}, []string{"faults"}, "overlapped 0 operations"},
		{"no fault at all", func(p *play) { p.faults = nil }, []string{"faults"}, "no fault was injected"},
		{"a fault that was left", func(p *play) { p.faults[0].To = history.Never }, []string{"faults"}, "not taken back"},
		{"overlapping operations of one client", func(p *play) {
			p.first.Ended = p.at
		}, []string{"evidence"}, "overlap"},
		{"the wall clock was set", func(p *play) {
			p.meta.Wall = append(p.meta.Wall, history.WallPair{Mono: 3601_000 * ms, Wall: wallZero, Within: 1})
		}, []string{"evidence"}, "wall clock was set"},
		{"nodes disagree", func(p *play) { p.log.Conflicts = []string{"entry 3"} }, []string{"evidence"}, "disagree about the committed log"},
		{"an entry that nobody has", func(p *play) {
			p.log.Entries = slices.Delete(p.log.Entries, 5, 6)
		}, nil, "on no node"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPlay(t)
			p.first, p.second, p.take, p.again, p.read = p.op("e1", 0), p.op("e2", 0), p.op("d1", 0), p.op("d1", 1), p.op("d2", 0)
			tt.spoil(p)
			names, text := failing(t, p.finish())
			if tt.want != nil && !slices.Equal(names, tt.want) {
				t.Errorf("fails %q, want %q:\n%s", names, tt.want, text)
			}
			if !strings.Contains(text, tt.text) || len(names) == 0 {
				t.Errorf("want a problem with %q, got:\n%s", tt.text, text)
			}
		})
	}
}

// TestAfterTheEnd spoils what finish makes.
func TestAfterTheEnd(t *testing.T) {
	for _, tt := range []struct {
		name  string
		spoil func(*Case)
		want  string
		text  string
	}{
		{"no last write", func(x *Case) { x.Last = nil }, "last write", "no last write"},
		{"the last write failed", func(x *Case) { x.Last.Error = "unavailable" }, "last write", "unavailable"},
		{"no comparison", func(x *Case) { x.Digests = nil }, "I9 replicas", "were not compared"},
		{"a digest differs", func(x *Case) { x.Digests.Nodes["n2"] = "123" }, "I9 replicas", "n2 has digest 123"},
		{"a node that did not answer", func(x *Case) { x.Digests.Nodes["n2"] = "error: gone" }, "I9 replicas", "error: gone"},
		{"all nodes differ from the replay", func(x *Case) {
			for n := range x.Digests.Nodes {
				x.Digests.Nodes[n] = "123"
			}
		}, "I9 replicas", "the replay"},
		{"slow to catch up", func(x *Case) { x.Digests.Took = time.Hour }, "I10 liveness", "to catch up"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			x := newPlay(t).finish()
			tt.spoil(x)
			names, text := failing(t, x)
			if !slices.Equal(names, []string{tt.want}) || !strings.Contains(text, tt.text) {
				t.Errorf("fails %q, want %q with %q:\n%s", names, tt.want, tt.text, text)
			}
		})
	}
}
