package check

import (
	"slices"
	"strings"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/jepsen/history"
	"github.com/tkcoord/tkcoord/jepsen/raftlog"
)

// A Case is a run, ready to be judged.
type Case struct {
	Meta
	History history.History
	Story   *Story
	Faults  []Fault
	Lines   []LogLine

	ops []*history.Op // of all clients, by the time of their call
	// effectOf is what an exchange did: of one that is ok where its answer says,
	// of one with an unknown outcome what is left over in the log. An exchange
	// that is not in it had no effect.
	effectOf map[*history.Op]*effect
	// lost are exchanges that were acknowledged and are not in the log, and
	// orphans are effects that no exchange accounts for.
	lost    []*history.Op
	orphans []*effect
	unseen  int // acknowledged in a part of the log that is missing
	public  publicCalls
}

// NewCase puts the evidence together: it replays the log and finds out what
// became of every operation.
func NewCase(m Meta, h history.History, l *raftlog.Log, f []Fault, lines []LogLine) *Case {
	x := &Case{Meta: m, History: h, Faults: f, Lines: lines, ops: h.Ops(), effectOf: make(map[*history.Op]*effect)}
	x.Story = Tell(l, m.Wall, x.ops...)
	x.resolve()
	x.public = x.resolvePublic()
	return x
}

func requestOf(e *history.Exchange) RequestID {
	return RequestID{e.Edge, e.Incarnation, e.Seq}
}

// resolve finds the effect of every exchange.
func (x *Case) resolve() {
	taken := make(map[*effect]bool)
	unknown := make(map[RequestID][]*history.Op)
	for _, o := range x.ops {
		if o.Kind != history.KindExchange {
			continue
		}
		id := requestOf(o.Exchange)
		if o.Outcome == history.Info {
			unknown[id] = append(unknown[id], o)
		}
		if o.Outcome != history.OK {
			continue
		}
		switch e := effectOf(x.Story.Effects[id], o.Reply, taken); {
		case e != nil:
			x.effectOf[o] = e
			taken[e] = true
		case x.Story.missing(o.Reply.Index):
			x.unseen++
		default:
			x.lost = append(x.lost, o)
		}
	}
	for id, effects := range x.Story.Effects {
		waiting := unknown[id] // by the time of their call
		for _, e := range effects {
			if taken[e] {
				continue
			}
			if strings.HasPrefix(id.Edge, nodeEdge) {
				continue // nodes are edges, too, and keep no record
			}
			if len(waiting) == 0 || waiting[0].At > e.at.Add(x.Wall.Bend()) {
				x.orphans = append(x.orphans, e)
				continue
			}
			x.effectOf[waiting[0]] = e
			waiting = waiting[1:]
		}
	}
	slices.SortFunc(x.orphans, func(a, b *effect) int { return int(int64(a.index) - int64(b.index)) })
}

// effectOf finds the effect that a reply is about. One entry may hold the same
// request twice; then it is the one that was answered alike, if there is one.
func effectOf(all []*effect, r *history.Reply, taken map[*effect]bool) *effect {
	var found *effect
	for _, e := range all {
		if e.index != r.Index || taken[e] {
			continue
		}
		if answeredAlike(e, r) {
			return e
		}
		if found == nil {
			found = e
		}
	}
	return found
}

func answeredAlike(e *effect, r *history.Reply) bool {
	for i := range e.result.Answers {
		if i < len(r.Answers) && r.Answers[i].Problem == "" && r.Answers[i] != answerOf(&e.result.Answers[i]) {
			return false
		}
	}
	return true
}

// missing reports whether the story does not tell what happened at an index.
func (s *Story) missing(index uint64) bool {
	if index > s.Log.Committed {
		return false // it must not be: what was acknowledged is committed
	}
	for _, g := range append(slices.Clip(s.Bridged), s.Missing...) {
		if g.From <= index && index <= g.To {
			return true
		}
	}
	return index > s.Last
}

// edgeOf returns the edge of each holder, also of those whose first exchange lies
// in a gap of the log.
func (x *Case) edgeOf() map[escrow.HolderID]string {
	of := make(map[escrow.HolderID]string)
	for _, o := range x.ops {
		if o.Kind == history.KindExchange && o.Outcome == history.OK {
			of[escrow.HolderID(o.Reply.Session)] = o.Exchange.Edge
		}
	}
	for h, edge := range x.Story.EdgeOf {
		of[h] = edge
	}
	return of
}
