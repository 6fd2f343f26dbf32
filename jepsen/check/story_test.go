package check

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/jepsen/history"
	"github.com/tkcoord/tkcoord/jepsen/raftlog"
	"github.com/tkcoord/tkcoord/policy"
)

// TestUnknownOutcomes: an exchange whose reply was lost is looked up in the log,
// where it may stand or not.
func TestUnknownOutcomes(t *testing.T) {
	p := newPlay(t)
	p.op("d2", 0).Outcome, p.op("d2", 0).Reply = history.Info, nil
	gone := *p.op("d2", 0)
	gone.Op, gone.At, gone.Ended = 2, p.at, p.at+ms
	gone.Exchange = &history.Exchange{Edge: "d2", Incarnation: 7, Seq: 2, Asks: gone.Exchange.Asks}
	p.clients["d2"].Ops = append(p.clients["d2"].Ops, gone)
	x := p.finish()
	if names, text := failing(t, x); len(names) > 0 {
		t.Errorf("fails %q:\n%s", names, text)
	}
	cells, resolved := x.linearCells(), 0
	for _, h := range cells {
		for _, o := range h {
			if o.Output.(linearAnswer).resolved {
				resolved++
				if next := p.op("e2", 1); o.Return != int64(next.Ended) {
					t.Errorf("its effect is known by %d, want the next reply at %d", o.Return, next.Ended)
				}
			}
		}
	}
	if resolved != 1 {
		t.Errorf("%d operations were resolved from the log, want the one that is in it", resolved)
	}
}

// TestSameRequestTwiceInOneEntry: two copies of a request may be settled by one
// entry, each with its own answer.
func TestSameRequestTwiceInOneEntry(t *testing.T) {
	p := newPlay(t)
	x := &fsm.Exchange{EdgeID: "d3", Incarnation: 7, Seq: 1, Asks: []fsm.Ask{ask(cell, 0, 0, 0, 2, 9)}}
	c, from := p.client("d3", history.RoleDirect), p.at
	p.at += ms
	out := p.entry(x, x)
	p.at += ms
	for i := range 2 {
		a := answerOf(&out.Results[1-i].Answers[0]) // the answers overtake each other
		c.Ops = append(c.Ops, history.Op{
			Client: "d3", Call: history.Call{Op: int64(i + 1), Lane: i, At: from, Kind: history.KindExchange, Exchange: &history.Exchange{
				Edge: "d3", Incarnation: 7, Seq: 1, Asks: []history.Ask{{Key: key(c, cell), Need: 2, Want: 9}},
			}},
			Ended: p.at, Outcome: history.OK,
			Reply: &history.Reply{Session: uint64(out.Results[0].Session), Index: out.Index, Clock: out.Now, Answers: []history.Answer{a}},
		})
	}
	p.pass(5 * time.Millisecond)
	if names, text := failing(t, p.finish()); len(names) > 0 {
		t.Errorf("fails %q:\n%s", names, text)
	}
}

// TestLemma: stamps that the leader could not have made by the rules.
func TestLemma(t *testing.T) {
	for _, tt := range []struct {
		name string
		skew func(*play)
		text string
	}{
		{"a leader that continues from a wall clock that is ahead", func(p *play) { p.epoch += 5 }, "more than Lemma 1 allows"},
		{"a stamp from before the batch was sealed", func(p *play) {
			p.epoch -= 40 // made 40 ms before the exchange was even sent
			p.exchange("e2", history.RoleEdge, ask(hot, p.window, 0, 0, 0, 0))
			p.epoch += 40
		}, "more than Lemma 1 allows"},
		{"a step, which the lemma leaves out", func(p *play) {
			p.entry(fsm.Step{To: p.clock() + 5000})
			p.epoch += 5000
		}, ""},
		{"a clock that is slow", func(p *play) { p.epoch -= 50; p.pass(time.Second) }, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPlay(t)
			p.pass(2 * time.Second) // the windows are over
			p.exchange("e2", history.RoleEdge)
			tt.skew(p)
			p.exchange("e2", history.RoleEdge)
			names, text := failing(t, p.finish())
			if tt.text == "" && len(names) > 0 || tt.text != "" && !slices.Equal(names, []string{"I7 clock"}) || !strings.Contains(text, tt.text) {
				t.Errorf("fails %q, want %q:\n%s", names, tt.text, text)
			}
		})
	}
}

// TestStepStretches: a step of the clock prolongs windows with credits out, and
// spending from them goes on.
func TestStepStretches(t *testing.T) {
	p := newPlay(t)
	o := p.exchange("e1", history.RoleEdge, ask(history.Budget{Policy: "hot", Key: "s"}, 0, 0, 0, 10, 10))
	p.entry(fsm.Step{To: p.clock() + 60_000})
	p.epoch += 60_000
	p.admit("e1", history.Budget{Policy: "hot", Key: "s"}, o.Reply.Answers[0].Start, 10)
	p.exchange("e1", history.RoleEdge, ask(history.Budget{Policy: "hot", Key: "s"}, o.Reply.Answers[0].Start, 10, 0, 0, 0))
	x := p.finish()
	if names, text := failing(t, x); len(names) > 0 {
		t.Errorf("fails %q:\n%s", names, text)
	}
	w := x.Story.Windows[WindowID{history.Budget{Policy: "hot", Key: "s"}, o.Reply.Answers[0].Start}]
	if w == nil || w.End <= o.Reply.Answers[0].End {
		t.Errorf("the window is %+v, want it stretched", w)
	}
}

// TestLimitChange: within a window the largest limit in force counts.
func TestLimitChange(t *testing.T) {
	p := newPlay(t)
	b := history.Budget{Policy: "hot", Key: "c"}
	o := p.exchange("e1", history.RoleEdge, ask(b, 0, 0, 0, 100, 100))
	p.entry(fsm.Policies{Put: []policy.Policy{limitPolicy("hot", 40, 1000)}})
	p.exchange("e2", history.RoleEdge, ask(b, 0, 0, 0, 1, 1))
	p.admit("e1", b, o.Reply.Answers[0].Start, o.Reply.Answers[0].Granted)
	if names, text := failing(t, p.finish()); len(names) > 0 {
		t.Errorf("fails %q:\n%s", names, text)
	}
}

// TestBridgedLog: what all nodes have dropped is bridged by a snapshot.
func TestBridgedLog(t *testing.T) {
	p := newPlay(t)
	s := saveSnapshot(t, p.machine, p.index)
	p.pass(1500 * time.Millisecond)
	p.exchange("e1", history.RoleEdge, ask(hot, 0, 0, 0, 5, 5))
	p.log.Snapshots = []raftlog.Snapshot{s}
	p.log.Entries = slices.Delete(p.log.Entries, 0, int(s.Index))
	p.meta.Need.Covered, p.meta.Need.Linear, p.meta.Need.Windows, p.meta.Need.Full = 0.1, 0, 0, 0
	x := p.finish()
	if names, text := failing(t, x); len(names) > 0 {
		t.Errorf("fails %q:\n%s", names, text)
	}
	if len(x.Story.Bridged) != 1 || x.unseen == 0 {
		t.Errorf("bridged %v, %d exchanges unseen", x.Story.Bridged, x.unseen)
	}
}

// TestSnapshotDiffers: a snapshot that is not the state of the replay.
func TestSnapshotDiffers(t *testing.T) {
	p := newPlay(t)
	s := saveSnapshot(t, p.machine, p.index)
	p.log.Entries = append(p.log.Entries, raftlog.Entry{Index: p.index + 1, Type: raft.LogNoop})
	p.index++
	p.exchange("e1", history.RoleEdge)
	late := s
	late.Index = p.index
	p.log.Snapshots = []raftlog.Snapshot{s, late}
	names, text := failing(t, p.finish())
	if !slices.Equal(names, []string{"I9 replicas"}) || !strings.Contains(text, "restores to a state") {
		t.Errorf("fails %q:\n%s", names, text)
	}
}
