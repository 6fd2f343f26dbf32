package check

import (
	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/jepsen/history"
	"github.com/tkcoord/tkcoord/jepsen/raftlog"
)

// checkEvery is how many entries go by between two visits of the whole state.
const checkEvery = 32

// A narrator reads the log: the state machine, and what was gathered so far.
type narrator struct {
	*Story
	wall      history.WallClock
	machine   *fsm.Machine
	now       clock.Millis
	snapshots []raftlog.Snapshot
	since     int // entries since the whole state was checked
	// asked are the peeks that are to be answered, by the entry after which they were.
	asked map[uint64][]*history.Op
}

// Tell replays a log through the state machine and keeps books beside it. On the
// way it answers the peeks among the operations once more.
func Tell(l *raftlog.Log, wall history.WallClock, ops ...*history.Op) *Story {
	n := &narrator{
		Story: &Story{
			Effects: make(map[RequestID][]*effect), Windows: make(map[WindowID]*Window), Digests: make(map[uint64]string),
			EdgeOf: make(map[escrow.HolderID]string), Log: l, books: newBooks(), peeks: make(map[*history.Op]*peeked),
		},
		wall: wall, machine: fsm.New(), snapshots: l.Snapshots, asked: peeksOf(ops),
	}
	entries := l.Entries
	for _, gap := range append(l.Gaps(), raftlog.Gap{From: l.Committed + 1}) {
		for len(entries) > 0 && entries[0].Index < gap.From {
			if !n.entry(&entries[0]) {
				entries, gap = nil, raftlog.Gap{}
				break
			}
			entries = entries[1:]
		}
		if gap.To == 0 {
			break
		}
		s, ok := l.Bridge(gap)
		if !ok || !n.jump(gap, s) {
			n.Missing = append(n.Missing, gap)
			break
		}
		for len(entries) > 0 && entries[0].Index <= s.Index {
			entries = entries[1:]
		}
	}
	n.finish()
	return n.Story
}

// jump goes on from a snapshot.
func (n *narrator) jump(gap raftlog.Gap, s raftlog.Snapshot) bool {
	m, err := s.Restore()
	if err != nil {
		n.replica.add(Problem{Index: s.Index}, "snapshot of %s at %d: %v", s.Node, s.Index, err)
		return false
	}
	n.machine, n.now = m, m.Now()
	n.Settings = m.Settings()
	n.books.load(m)
	n.Bridged = append(n.Bridged, raftlog.Gap{From: gap.From, To: s.Index})
	n.Last = s.Index
	return true
}

// entry takes one entry. It reports false if the story cannot go on.
func (n *narrator) entry(e *raftlog.Entry) bool {
	n.compareSnapshots(e.Index)
	n.Last = e.Index
	if !e.Command() {
		return true
	}
	at := Problem{At: n.wall.At(e.Wall), Index: e.Index}
	parts, err := fsm.Decode(e.Data)
	if err != nil {
		n.replay.add(at, "entry %d: %v", e.Index, err)
		return false
	}
	before := n.machine.Now()
	out, err := n.machine.Apply(e.Index, e.Data, true)
	if err != nil {
		n.replay.add(at, "replay of entry %d: %v", e.Index, err)
		return false
	}
	s := Step{Index: e.Index, Term: e.Term, At: at.At, Now: max(before, parts.Stamp)}
	n.now = s.Now
	n.books.end(s.Now, e.Index, s.At)
	n.books.slots.end(s.Now)
	if len(n.Steps) > 0 {
		n.books.slots.idle(at.At.Sub(n.Steps[len(n.Steps)-1].At))
	}
	for i, c := range parts.Commands {
		at.place = i
		n.command(c, out.Results[i], at)
	}
	if s.Jump = n.machine.Now() - s.Now; s.Jump != 0 {
		n.now = n.machine.Now()
		n.books.end(n.now, e.Index, s.At)
	}
	if out.Now < before {
		n.skews.add(at, "the cluster clock runs back from %d to %d", before, out.Now)
	}
	n.visit(out.Stepped || len(out.ChangedPolicies) > 0, at)
	n.peek(e.Index)
	s.Out = n.outstanding()
	n.Steps = append(n.Steps, s)
	return true
}

func (n *narrator) command(c fsm.Command, res fsm.Result, at Problem) {
	switch c := c.(type) {
	case fsm.Genesis:
		n.Settings = n.machine.Settings()
		n.books.longest = n.Settings.LongestLease
	case fsm.Step:
		if c.To > n.now {
			n.books.step(n.now, c.To, n.machine.Freeze(), at)
			n.books.slots.shift(c.To - n.now)
			n.now = c.To
			n.books.end(n.now, at.Index, at.At) // NB: what follows in the entry comes after it
		}
	case *fsm.Exchange:
		if res.Err == nil {
			n.exchange(&effect{index: at.Index, at: at.At, now: n.now, cmd: c, result: res})
		}
	case fsm.Policies:
		if res.Err == nil {
			n.books.policies(&c)
			n.Changes++
		}
	case fsm.Digest:
		n.Digests[at.Index] = n.machine.Freeze().Digest()
	case fsm.Alarm:
		if !c.Clear {
			n.Alarms = append(n.Alarms, fsm.RaisedAlarm{Kind: c.Kind, Node: c.Node, Detail: c.Detail, At: n.now})
		}
	default:
		n.public(&publicEffect{index: at.Index, at: at.At, now: n.now, cmd: c, result: res}, at)
	}
}

func (n *narrator) exchange(e *effect) {
	id := RequestID{e.cmd.EdgeID, e.cmd.Incarnation, e.cmd.Seq}
	repeated := len(n.Effects[id]) > 0
	n.Effects[id] = append(n.Effects[id], e)
	if other, known := n.EdgeOf[e.result.Session]; known && other != e.cmd.EdgeID {
		n.books.conserve.add(Problem{At: e.at, Index: e.index, Client: e.cmd.EdgeID}, "holder %d was of edge %q before", e.result.Session, other)
	}
	n.EdgeOf[e.result.Session] = e.cmd.EdgeID
	if len(e.result.Answers) != len(e.cmd.Asks) {
		n.replay.add(Problem{At: e.at, Index: e.index}, "%d answers to %d asks", len(e.result.Answers), len(e.cmd.Asks))
		return
	}
	for i := range e.cmd.Asks {
		n.books.settle(e, &e.cmd.Asks[i], &e.result.Answers[i], repeated)
	}
}

// visit lets the state machine check itself, now and then and whenever much
// changed.
func (n *narrator) visit(now bool, at Problem) {
	n.since++
	if !now && n.since < checkEvery {
		return
	}
	n.since = 0
	if err := n.machine.Check(); err != nil {
		n.books.conserve.add(at, "after entry %d: %v", at.Index, err)
	}
}

func (n *narrator) outstanding() (out escrow.Credits) {
	_, all := n.machine.Policies()
	for i := range all {
		out += all[i].Counters.LiveOut
	}
	return out
}

// compareSnapshots compares the snapshots that end before an index with the
// state as it was replayed up to there.
func (n *narrator) compareSnapshots(before uint64) {
	digest := ""
	for len(n.snapshots) > 0 && n.snapshots[0].Index < before {
		s := n.snapshots[0]
		n.snapshots = n.snapshots[1:]
		if s.Index < n.Last || n.Last == 0 {
			continue // in a gap
		}
		m, err := s.Restore()
		if err != nil {
			n.replica.add(Problem{Index: s.Index}, "snapshot of %s at %d: %v", s.Node, s.Index, err)
			continue
		}
		if digest == "" {
			digest = n.machine.Freeze().Digest()
		}
		if got := m.Freeze().Digest(); got != digest {
			n.replica.add(Problem{Index: s.Index}, "the snapshot of %s at %d restores to a state with digest %.16s, the replay has %.16s", s.Node, s.Index, got, digest)
		}
		if err := m.Check(); err != nil {
			n.replica.add(Problem{Index: s.Index}, "the snapshot of %s at %d: %v", s.Node, s.Index, err)
		}
	}
}

func (n *narrator) finish() {
	n.compareSnapshots(n.Last + 1)
	n.visit(true, Problem{Index: n.Last})
	n.Final = n.machine.Freeze().Digest()
	b := n.books
	for _, w := range b.open {
		b.closed = append(b.closed, w)
	}
	for _, w := range b.closed {
		if w.Start >= 0 {
			n.Windows[w.WindowID] = w
		}
	}
	b.closed, b.open = nil, nil
	n.Policies = b.policy
}
