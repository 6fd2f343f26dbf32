package check

import (
	"fmt"
	"strings"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/jepsen/history"
	"github.com/tkcoord/tkcoord/jepsen/raftlog"
	"github.com/tkcoord/tkcoord/policy"
)

// A Step is one entry of the log as the state machine took it.
type Step struct {
	Index uint64
	Term  uint64
	// At is when the leader appended the entry, on the clock of the records. Its
	// stamp was made no later.
	At history.Time
	// Now is the cluster clock after the stamp, and Jump by how much a step of
	// the clock in the same entry then moved it.
	Now  clock.Millis
	Jump clock.Millis
	Out  escrow.Credits // over all budgets, after the entry
}

// A RequestID names a request: repeats of it have the same one.
type RequestID struct {
	Edge        string
	Incarnation uint64
	Seq         uint64
}

// A Story is what the committed log says happened, in order.
type Story struct {
	Settings fsm.Settings
	Steps    []Step
	// Effects are the exchanges that were settled, by request, in the order of
	// the log. One that was refused as a whole has no effect.
	Effects map[RequestID][]*effect
	Windows map[WindowID]*Window
	// Public are the calls of the public contract that the log carried out, and
	// Policies all policies that there were, as they were in the end.
	Public   []*publicEffect
	Policies map[string]policy.Policy
	// EdgeOf names the edge of each holder.
	EdgeOf  map[escrow.HolderID]string
	Digests map[uint64]string // after each digest command
	Alarms  []fsm.RaisedAlarm // every alarm that was raised
	Changes int               // changes of policies that took effect
	Final   string            // digest of the last state
	Last    uint64            // index of the last entry

	Log     *raftlog.Log
	Bridged []raftlog.Gap // replaced by a snapshot
	Missing []raftlog.Gap // not replaced by anything

	peeks                  map[*history.Op]*peeked
	books                  *books
	replay, replica, skews problems
}

// Covered returns the share of the committed log that was replayed.
func (s *Story) Covered() float64 {
	missing := uint64(0)
	for _, g := range append(s.Bridged, s.Missing...) {
		missing += g.To - g.From + 1
	}
	if s.Log.Committed == 0 {
		return 0
	}
	return 1 - float64(missing)/float64(s.Log.Committed)
}

func (id RequestID) String() string {
	return fmt.Sprintf("%s/%x/%d", id.Edge, id.Incarnation, id.Seq)
}

// Describe says what entry index holds, for people.
func (s *Story) Describe(index uint64) string {
	var b strings.Builder
	for i := range s.Log.Entries {
		e := &s.Log.Entries[i]
		if e.Index != index {
			continue
		}
		fmt.Fprintf(&b, "entry %d of term %d, %v\n", e.Index, e.Term, e.Type)
		parts, err := fsm.Decode(e.Data)
		if err != nil {
			break
		}
		fmt.Fprintf(&b, "stamp %d\n", parts.Stamp)
		for _, c := range parts.Commands {
			text := fmt.Sprintf("%T %+v", c, c)
			if x, ok := c.(*fsm.Exchange); ok {
				text = fmt.Sprintf("exchange of %s, incarnation %x, session %d, seq %d: %+v", x.EdgeID, x.Incarnation, x.Session, x.Seq, x.Asks)
			}
			fmt.Fprintln(&b, strings.ToValidUTF8(text[:min(len(text), 500)], ""))
		}
	}
	return b.String()
}
