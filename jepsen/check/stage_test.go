package check

import (
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/jepsen/history"
	"github.com/tkcoord/tkcoord/jepsen/raftlog"
	"github.com/tkcoord/tkcoord/policy"
)

// A stage makes histories by hand: a state machine, a log and clients that are
// told what happens and when. What it makes is good unless a test spoils it.
type stage struct {
	testing.TB
	machine *fsm.Machine
	log     raftlog.Log
	at      history.Time // real time
	epoch   clock.Millis // the cluster clock at real time 0
	clients map[string]*history.Client
	order   history.History
	seq     map[string]uint64
	session map[string]uint64
	meta    Meta
	faults  []Fault
	lines   []LogLine
	index   uint64
}

const (
	ms       = history.Time(time.Millisecond)
	wallZero = int64(1_800_000_000_000_000_000) // the machine's wall clock at real time 0
)

func newStage(t testing.TB, policies ...policy.Policy) *stage {
	s := &stage{
		TB: t, machine: fsm.New(), at: 1000 * ms, epoch: 1_800_000_000_000, clients: make(map[string]*history.Client),
		seq: make(map[string]uint64), session: make(map[string]uint64),
	}
	s.meta = Meta{
		Nodes: []string{"n1", "n2", "n3"}, Nemeses: []string{"pause"}, Linear: []string{"cell"}, Need: DefaultNeeds(),
		Wall: history.WallClock{{Mono: 0, Wall: wallZero, Within: 1}, {Mono: 3600_000 * ms, Wall: wallZero + int64(3600_000*ms), Within: 1}},
	}
	n := &s.meta.Need
	n.Exchanges, n.WarmRate, n.Admissions, n.Windows, n.Linear = 5, 1, 5, 1, 3
	s.meta.Phases.Boot = s.at
	settings := fsm.DefaultSettings()
	s.entry(fsm.Genesis{ClusterID: "c", Settings: settings})
	s.entry(fsm.Step{To: s.clock()})
	s.entry(fsm.Policies{Put: policies})
	return s
}

func limitPolicy(name string, limit escrow.Credits, period escrow.Millis) policy.Policy {
	return policy.Policy{Name: name, Strategy: policy.FixedWindow, Limit: limit, MaxKeys: 100, Cadence: escrow.Cadence{Kind: escrow.Fixed, Period: period}}
}

// clock is the cluster clock at the present real time.
func (s *stage) clock() clock.Millis { return s.epoch + clock.Millis(s.at/ms) }

func (s *stage) pass(d time.Duration) { s.at += history.Time(d) }

// entry appends one entry that is made now.
func (s *stage) entry(cmds ...fsm.Command) fsm.Outcome {
	s.Helper()
	var b fsm.Batch
	for _, c := range cmds {
		b.Add(c)
	}
	s.index++
	data := b.Seal(s.clock(), 1)
	out, err := s.machine.Apply(s.index, data, true)
	if err != nil {
		s.Fatal(err)
	}
	s.log.Entries = append(s.log.Entries, raftlog.Entry{Index: s.index, Term: 1, Type: raft.LogCommand, Wall: wallZero + int64(s.at), Data: data})
	return out
}

func (s *stage) client(name, role string) *history.Client {
	c := s.clients[name]
	if c == nil {
		c = &history.Client{Head: history.Head{Version: 1, Client: name, Role: role, Edge: name, Began: s.at}, Complete: true, Names: make(map[int]history.Budget)}
		s.clients[name] = c
		s.order = append(s.order, c)
	}
	return c
}

func key(c *history.Client, b history.Budget) int {
	for k, v := range c.Names {
		if v == b {
			return k
		}
	}
	c.Names[len(c.Names)+1] = b
	return len(c.Names)
}

// exchange asks and is answered within 3 ms.
func (s *stage) exchange(name, role string, asks ...fsm.Ask) *history.Op {
	s.Helper()
	s.seq[name]++
	return s.send(name, role, s.seq[name], asks...)
}

// send is exchange with a sequence number of its own.
func (s *stage) send(name, role string, seq uint64, asks ...fsm.Ask) *history.Op {
	s.Helper()
	c := s.client(name, role)
	req := &history.Exchange{Edge: name, Incarnation: 7, Session: s.session[name], Seq: seq}
	for _, a := range asks {
		req.Asks = append(req.Asks, history.Ask{Key: key(c, history.Budget{Policy: a.Policy, Key: a.Key}), Window: a.Window, Used: a.Used, Returned: a.Returned, Need: a.Need, Want: a.Want})
	}
	o := history.Op{Client: name, Call: history.Call{Op: int64(len(c.Ops) + 1), At: s.at, Kind: history.KindExchange, Exchange: req}, Outcome: history.OK}
	s.at += ms
	out := s.entry(&fsm.Exchange{EdgeID: name, Incarnation: 7, Session: escrow.HolderID(s.session[name]), Seq: seq, Asks: asks})
	s.at += ms
	res := out.Results[0]
	if res.Err != nil {
		s.Fatal(res.Err)
	}
	s.session[name] = uint64(res.Session)
	o.Ended = s.at
	o.Reply = &history.Reply{Session: uint64(res.Session), Index: out.Index, Clock: out.Now}
	for i := range res.Answers {
		o.Reply.Answers = append(o.Reply.Answers, answerOf(&res.Answers[i]))
	}
	s.at += ms
	c.Ops = append(c.Ops, o)
	return &c.Ops[len(c.Ops)-1]
}

// admit records that an edge admitted units now.
func (s *stage) admit(name string, b history.Budget, window escrow.Millis, units escrow.Credits) {
	c := s.client(name, history.RoleEdge)
	c.Admitted = append(c.Admitted, history.Admission{Budget: b, Admitted: history.Admitted{
		Key: key(c, b), Window: window, Units: units, Times: int64(units), First: s.at, Last: s.at,
	}})
}

func (s *stage) deny(name string, b history.Budget) {
	c := s.client(name, history.RoleEdge)
	c.Denied = append(c.Denied, history.Denial{Budget: b, Denied: history.Denied{Key: key(c, b), Why: "local", Units: 1, Times: 1, First: s.at, Last: s.at}})
}

// finish ends the run: last write, digests, phases.
func (s *stage) finish() *Case {
	last := s.exchange("final", history.RoleDirect)
	s.meta.Last = &LastWrite{At: last.At, Took: last.Ended.Sub(last.At), Index: last.Reply.Index}
	out := s.entry(fsm.Digest{})
	d := s.machine.Freeze().Digest()
	s.meta.Digests = &Digests{Index: out.Index, Nodes: map[string]string{"n1": d, "n2": d, "n3": d}, Took: time.Millisecond}
	s.meta.Phases.End = s.at
	if s.meta.Phases.Quiet == 0 {
		s.meta.Phases.Quiet = s.at
	}
	s.meta.Committed = out.Index
	s.log.Committed = out.Index
	return NewCase(s.meta, s.order, &s.log, s.faults, s.lines)
}

// failing returns the names of the verdicts that are not OK, and all problems.
func failing(t testing.TB, x *Case) (names []string, text string) {
	t.Helper()
	for _, v := range Judge(x) {
		if !v.OK {
			names = append(names, v.Name)
			for _, p := range v.Problems {
				text += fmt.Sprintf("%s: %s\n", v.Name, p.Text)
			}
		}
	}
	return names, text
}
