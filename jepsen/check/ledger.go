package check

import (
	"slices"

	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/jepsen/history"
)

// conservation checks I2. The work is done while the log is replayed.
func conservation(x *Case, p *problems) {
	p.take(x.Story.books.conserve)
	asks := 0
	for _, all := range x.Story.Effects {
		for _, e := range all {
			asks += len(e.cmd.Asks)
		}
	}
	p.stat("entries", "%d", len(x.Story.Steps))
	p.stat("asks settled", "%d", asks)
	p.stat("windows", "%d", len(x.Story.Windows))
}

// acknowledged checks I3.
func acknowledged(x *Case, p *problems) {
	for _, o := range x.lost {
		p.add(place(o), "the exchange %v was acknowledged at index %d, where the log does not have it", requestOf(o.Exchange), o.Reply.Index)
	}
	for _, e := range x.orphans {
		p.add(Problem{At: e.at, Index: e.index, Client: e.cmd.EdgeID},
			"entry %d holds exchange %v, which was refused or never sent", e.index, RequestID{e.cmd.EdgeID, e.cmd.Incarnation, e.cmd.Seq})
	}
	ok, unknown, effective := 0, 0, 0
	for _, o := range x.ops {
		if o.Kind != history.KindExchange {
			continue
		}
		e := x.effectOf[o]
		switch {
		case o.Outcome == history.OK:
			ok++
		case o.Outcome == history.Info:
			unknown++
			if e != nil {
				effective++
			}
		}
		if e != nil {
			x.compare(o, e, p)
		}
	}
	p.stat("acknowledged", "%d", ok)
	p.stat("unknown outcomes", "%d, of which %d took effect", unknown, effective)
	if x.unseen > 0 {
		p.stat("acknowledged in gaps of the log", "%d", x.unseen)
	}
}

func place(o *history.Op) Problem {
	at := Problem{At: o.At, Client: o.Client, Op: o.Op}
	if o.Reply != nil {
		at.Index = o.Reply.Index
	}
	if o.Answer != nil {
		at.Index = o.Answer.Index
	}
	return at
}

// compare checks that an exchange stands in the log as it was asked, and if it
// was answered, as it was answered.
func (x *Case) compare(o *history.Op, e *effect, p *problems) {
	c := x.History.Client(o.Client)
	at := place(o)
	if len(o.Exchange.Asks) != len(e.cmd.Asks) {
		p.add(at, "%d asks were sent, entry %d has %d", len(o.Exchange.Asks), e.index, len(e.cmd.Asks))
		return
	}
	for i := range e.cmd.Asks {
		sent := o.Exchange.Asks[i]
		b := c.Budget(sent.Key)
		want := fsm.Ask{Policy: b.Policy, Key: b.Key, Window: sent.Window, Used: sent.Used, Returned: sent.Returned, Need: sent.Need, Want: sent.Want}
		if e.cmd.Asks[i] != want {
			p.add(at, "ask %d was sent as %+v, entry %d has %+v", i, want, e.index, e.cmd.Asks[i])
		}
	}
	if o.Outcome != history.OK {
		return
	}
	r := o.Reply
	if r.Clock != e.now && r.Clock != x.Story.nowAfter(e.index) {
		p.add(at, "the reply says that the clock was %d, at entry %d it was %d", r.Clock, e.index, e.now)
	}
	if r.Session != uint64(e.result.Session) {
		p.add(at, "the reply is for session %d, entry %d is of %d", r.Session, e.index, e.result.Session)
	}
	for i := range e.result.Answers {
		got, want := r.Answers[i], answerOf(&e.result.Answers[i])
		if refused := want.Problem != ""; refused != (got.Problem != "") || !refused && got != want {
			p.add(at, "ask %d was answered %+v, entry %d grants %+v", i, got, e.index, want)
		}
	}
}

// nowAfter returns the clock after an entry and all its commands.
func (s *Story) nowAfter(index uint64) clock.Millis {
	i, ok := slices.BinarySearchFunc(s.Steps, index, func(s Step, i uint64) int { return int(int64(s.Index) - int64(i)) })
	if !ok {
		return -1
	}
	return s.Steps[i].Now + s.Steps[i].Jump
}

// answerOf puts an answer of the state machine into the words of the wire. The
// reasons of problems have other names there.
func answerOf(a *fsm.Answer) history.Answer {
	if a.Err != nil {
		return history.Answer{Problem: a.Err.Error()}
	}
	return history.Answer{
		Start: a.Window.Start, End: a.Window.End, Granted: a.Granted, TTL: a.TTL, Limit: a.Limit, Left: a.Left, Retry: a.Retry,
	}
}

// repeats checks I4. The books do, while the log is replayed.
func repeats(x *Case, p *problems) {
	p.take(x.Story.books.repeat)
	sent, effective := 0, x.repeated()
	for _, o := range x.ops {
		if o.Repeat != 0 {
			sent++
		}
	}
	p.stat("requests sent again", "%d", sent)
	p.stat("requests that took effect again", "%d", effective)
}

// repeated counts the effects of requests that had one before.
func (x *Case) repeated() (n int) {
	for _, all := range x.Story.Effects {
		n += len(all) - 1
	}
	return n
}
