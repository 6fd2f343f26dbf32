package bubble

import (
	"bytes"
	"time"

	"github.com/hashicorp/raft"
	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/fsm/clock"
)

// A judge reads the committed log through the real state machine and holds the
// records of edges against it.
type judge struct {
	c       *cluster
	machine *fsm.Machine
	open    map[budget]*spanned
	windows map[windowID]*spanned
	asked   map[place]answered
	granted map[holding]escrow.Credits

	term     uint64
	appended []time.Time // of the term's entries, oldest first: of the first one, and then of batches
	anchor   reading
}

// A reading is the cluster clock after an entry that moved it.
type reading struct {
	now   clock.Millis
	since time.Time // its stamp was made no earlier
}

// A holding is what one session has of one window.
type holding struct {
	session escrow.HolderID
	windowID
}

type windowID struct {
	budget budget
	start  clock.Millis
}

// A spanned is one window as the log tells it.
type spanned struct {
	windowID
	end      clock.Millis // with what steps added
	peak     escrow.Credits
	closed   bool
	closedAt time.Time // when an entry beyond its end was appended: no earlier than its stamp was made
	admitted escrow.Credits
}

// A place is one exchange in the log.
type place struct {
	index       uint64
	edge        string
	incarnation uint64
	seq         uint64
}

type answered struct {
	result fsm.Result
	now    clock.Millis
}

// formed reports whether there is a log.
func (c *cluster) formed() bool { return c.applied() > 0 }

// applied is the newest entry that any member's process applied.
func (c *cluster) applied() (index uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.digests {
		index = max(index, i)
	}
	return max(index, c.acked.Load())
}

func (c *cluster) judge() {
	j := &judge{
		c: c, machine: fsm.New(), open: make(map[budget]*spanned), windows: make(map[windowID]*spanned), asked: make(map[place]answered),
		granted: make(map[holding]escrow.Credits),
	}
	for i := uint64(1); i <= c.applied(); i++ {
		l := c.entry(i)
		if l == nil {
			c.violated("no two members have entry %d, and it was applied", i)
			return
		}
		if l.Term != j.term {
			j.term, j.appended = l.Term, []time.Time{l.AppendedAt}
		}
		if l.Type == raft.LogCommand && !j.apply(l) {
			return
		}
	}
	j.answers()
	j.admissions()
	c.stats.Entries = int(c.applied())
	c.stats.Exchanges, c.stats.Admissions, c.stats.Windows = len(c.replies), len(c.admissions), len(j.windows)
	c.stats.Leaders, c.stats.Restored = c.lines.led, c.lines.put
}

// entry returns a committed entry: the one that a majority has. What else was
// stored at its index was so by a minority only.
func (c *cluster) entry(i uint64) *raft.Log {
	var all []*raft.Log
	for _, m := range c.members {
		if l := m.disk.archive[i]; l != nil {
			all = append(all, l)
		}
	}
	for k, l := range all {
		for _, o := range all[k+1:] {
			if l.Term != o.Term {
				continue
			}
			if !bytes.Equal(l.Data, o.Data) || l.Type != o.Type {
				c.violated("entry %d of term %d is not the same on two members", i, l.Term)
			}
			return l
		}
	}
	return nil
}

// apply executes one entry and takes down what it answers and ends.
func (j *judge) apply(l *raft.Log) bool {
	out, err := j.machine.Apply(l.Index, l.Data, true)
	if err != nil {
		j.c.violated("entry %d: %v", l.Index, err)
		return false
	}
	e, err := fsm.Decode(l.Data)
	if err != nil {
		j.c.violated("entry %d: %v", l.Index, err)
		return false
	}
	j.clock(l, out)
	j.closeUntil(out.Now, l.AppendedAt)
	for i, cmd := range e.Commands {
		if x, ok := cmd.(*fsm.Exchange); ok {
			r := out.Results[i]
			j.asked[place{l.Index, x.EdgeID, x.Incarnation, x.Seq}] = answered{r, out.Now}
			for k := range r.Answers {
				if a := &r.Answers[k]; a.Err == nil {
					j.seen(budget{x.Asks[k].Policy, x.Asks[k].Key}, a, l.AppendedAt)
					j.wanted(r.Session, &x.Asks[k], a)
				}
			}
		}
	}
	if out.Stepped {
		j.c.stats.Steps++
		j.stretched()
	}
	if s, ok := j.c.digests[l.Index]; ok {
		if d := j.machine.Freeze().Digest(); d != s.digest {
			j.c.violated("after entry %d %s is not as the log says", l.Index, s.who)
			return false
		}
		j.c.stats.Digests++
		if err := j.machine.Check(); err != nil {
			j.c.violated("entry %d: %v", l.Index, err)
		}
	}
	return true
}

// roundings is what stamps in whole milliseconds may add, ms.
const roundings = 3

// clock checks Lemma 1: between two stamps the cluster clock, steps aside, moves
// no further than a fast clock that is slewed forward would. A stamp is made
// before its entry is appended, and after the entry before was, or as many before
// as may be in flight: a leader's first after the first entry of its term.
func (j *judge) clock(l *raft.Log, out fsm.Outcome) {
	s := &j.c.swarm
	at := reading{out.Now, j.appended[max(0, len(j.appended)-s.inFlight)]}
	j.appended = append(j.appended, l.AppendedAt)
	if out.Now == j.anchor.now {
		return
	}
	rates := s.settings.Rates
	fastest := (1 + float64(rates.Drift)/1e6) * (1 + float64(rates.Slew)/1e6)
	most := clock.Millis(l.AppendedAt.Sub(j.anchor.since).Seconds()*1000*fastest) + roundings
	if moved := out.Now - j.anchor.now; !out.Stepped && moved > most {
		j.c.violated("entry %d: the cluster clock moved by %d ms, in real time by %d at most (Lemma 1)", l.Index, moved, most)
	}
	j.anchor = at
}

// seen opens the window that an answer is about, or compares it with what is
// known.
func (j *judge) seen(b budget, a *fsm.Answer, at time.Time) {
	o := j.open[b]
	if o != nil && o.start != a.Window.Start {
		if a.Window.Start < o.end {
			j.c.violated("%v: a window begins at %d, inside [%d, %d)", b, a.Window.Start, o.start, o.end)
		}
		o.close(at)
		o = nil
	}
	if o == nil {
		o = &spanned{windowID: windowID{b, a.Window.Start}, end: a.Window.End}
		j.open[b], j.windows[o.windowID] = o, o
	}
	if a.Window.End < o.end {
		j.c.violated("%v: window %d ended at %d and now at %d", b, o.start, o.end, a.Window.End)
	}
	o.end = a.Window.End
	o.peak = max(o.peak, a.Limit)
}

// wanted compares a total with what was asked for: it never grows beyond that,
// however often a message comes.
func (j *judge) wanted(session escrow.HolderID, q *fsm.Ask, a *fsm.Answer) {
	h := holding{session, windowID{budget{q.Policy, q.Key}, a.Window.Start}}
	if most := max(j.granted[h], q.Want, q.Need); a.Granted > most {
		j.c.violated("%v: session %d is granted %d, the most that it asked for is %d", h.budget, session, a.Granted, most)
	}
	j.granted[h] = max(j.granted[h], a.Granted)
}

func (j *judge) closeUntil(now clock.Millis, at time.Time) {
	for _, o := range j.open {
		if o.end <= now {
			o.close(at)
		}
	}
}

func (o *spanned) close(at time.Time) {
	if !o.closed {
		o.closed, o.closedAt = true, at
	}
}

// stretched reads the ends of the live windows after a step.
func (j *judge) stretched() {
	j.machine.Freeze().Budgets(func(s fsm.BudgetState) bool {
		if o := j.open[budget{s.Policy, s.Key}]; o != nil && o.start == s.Window.Start {
			o.end = max(o.end, s.Window.End)
			if s.Window.End > j.machine.Now() {
				o.closed = false
			}
		}
		return true
	})
}

// answers checks G2: what an edge was told is what the log says, at the entry
// that the answer names.
func (j *judge) answers() {
	for _, r := range j.c.replies {
		at := place{r.res.Index, r.req.EdgeId, r.req.Incarnation, r.req.Seq}
		a, ok := j.asked[at]
		switch {
		case !ok:
			j.c.violated("edge %s was told that its exchange %d is entry %d, which it is not (G2)", at.edge, at.seq, at.index)
		case a.result.Err != nil || uint64(a.result.Session) != r.res.Session || int64(a.now) != r.res.ClockMs || len(a.result.Answers) != len(r.res.Answers):
			j.c.violated("edge %s, exchange %d, entry %d: answered %v, the log says %+v at %d (G2)", at.edge, at.seq, at.index, r.res, a.result, a.now)
		default:
			j.grants(at, r, a)
		}
	}
}

func (j *judge) grants(at place, r reply, a answered) {
	for i, told := range r.res.Answers {
		is := &a.result.Answers[i]
		if is.Err != nil {
			if told.Problem == nil {
				j.c.violated("edge %s, exchange %d, entry %d: granted %d, the log refuses: %v (G2)", at.edge, at.seq, at.index, told.Granted, is.Err)
			}
			continue
		}
		if told.Granted != int64(is.Granted) || told.WindowStartMs != int64(is.Window.Start) || told.TtlMs != int64(is.TTL) {
			j.c.violated("edge %s, exchange %d, entry %d: told %v, the log grants %+v (G2)", at.edge, at.seq, at.index, told, is)
		}
	}
}

// admissions checks G1 on the edges' own records: no more in a window than the
// highest limit in force, and nothing since its owner stamped its end (Lemma 2).
func (j *judge) admissions() {
	for _, a := range j.c.admissions {
		w := j.windows[windowID{a.budget, a.start}]
		if w == nil {
			j.c.violated("%s admitted %d of %v in window %d, which the log does not know", a.edge, a.n, a.budget, a.start)
			continue
		}
		w.admitted += a.n
		if w.closed && !a.at.Before(w.closedAt) {
			j.c.violated("%s admitted %d of %v in window [%d, %d) %v after an entry beyond it was appended (Lemma 2)", a.edge, a.n, a.budget, w.start, w.end, a.at.Sub(w.closedAt))
		}
	}
	for _, w := range j.windows {
		if w.admitted > w.peak {
			j.c.violated("%d admitted of %v in window [%d, %d), its limit was never above %d (G1)", w.admitted, w.budget, w.start, w.end, w.peak)
		}
		if w.admitted == w.peak {
			j.c.stats.Full++
		}
	}
}
