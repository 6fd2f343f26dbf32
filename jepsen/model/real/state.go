package real

import (
	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/jepsen/model/cluster"
)

// A state is the world at one instant, always in normal form, see normal.go.
type state struct {
	w *World
	d *driver // the real state machine; no part of the state

	cluster.Cluster
	head head
	left budget

	// Entries that the leader sealed and that are not committed, oldest first.
	pending []entry
	read    clock.Millis // EarlyStamp: the stamp for the next batch, 0 for none

	edges []edge
}

// A head is the state machine after the newest committed entry, without what is
// about one edge alone. Every node that has applied that entry has this state,
// so there is one for all of them.
type head struct {
	now       clock.Millis
	limit     escrow.Credits
	length    clock.Millis
	exists    bool // the policy
	deleted   bool // but its window goes on
	since     clock.Millis
	forgotten clock.Millis

	open           bool          // there is a ledger, of the window below
	window         escrow.Window // the newest one of the budget, also when it is forgotten
	capacity, peak escrow.Credits
	lost           []escrow.Allotment // of holders that nobody speaks for any more

	// The world's own account of the window, until it ends.
	admitted escrow.Credits
	most     escrow.Credits // highest limit under which something was asked for
}

// over reports whether the newest window has ended at the owner.
func (h *head) over() bool { return h.now >= h.window.End }

// A budget says how often things may still happen.
type budget struct {
	duplicates, elections, crashes, restarts, steps, changes, deaths int

	faults  int // of any kind
	returns int // no fault
}

func (b *budget) kinds() [7]*int {
	return [...]*int{&b.duplicates, &b.elections, &b.crashes, &b.restarts, &b.steps, &b.changes, &b.deaths}
}

// spend takes one from a kind of fault.
func (b *budget) spend(kind *int) {
	*kind--
	b.faults--
}

// An entry is a sealed batch of one command at most.
type entry struct {
	what   content
	stamp  clock.Millis
	edge   int          // anAsk
	req    request      // anAsk
	to     clock.Millis // aStep
	change int          // aChange: index into World.choices
}

type content uint8

const (
	nothing content = iota
	anAsk
	aStep
	aChange
)

// An edge is a process that spends, what the state machine knows about it, and
// its messages under way.
//
// Holders are numbered within the edge: 1 is that of its session in the state
// machine, larger ones are what it had before, 0 is none.
type edge struct {
	fast        bool
	incarnation int
	session     int  // what it believes, 0 for none
	halted      bool // it was told that it was replaced
	lease       lease
	promised    escrow.Credits // ReportFirst: reported as returned, not yet taken away

	record    record
	allotment escrow.Allotment // of the record's holder in the newest window
	known     bool             // the ledger has an entry for that holder

	requests []request // by incarnation and number
	answers  []answer  // in order of their fields
}

// A lease is an escrow.Lease as plain values; see edges.go for how it comes to
// life. Readings are taken at ticks only, so a deadline may be
// that of the first tick that is not before it.
type lease struct {
	exists bool
	start  clock.Millis // of the window
	until  int          // first tick at which it admits nothing; 0 if that has passed
	escrow.Allotment
}

// A record is the session that the state machine has for an edge.
type record struct {
	exists      bool
	incarnation int
	replaced    [4]int
	holder      int // 1, or 0 without a session
	seq         int
	seen        clock.Millis // kept only if sessions can end
}

// A request is an exchange about the one budget.
type request struct {
	incarnation int
	session     int
	seq         int
	sent        int  // tick
	void        bool // the edge started over and listens no more
	window      clock.Millis
	used        escrow.Credits
	returned    escrow.Credits
	want        escrow.Credits // a total
	need        escrow.Credits
	more        escrow.Credits // Increments: by how much the grant is to grow
}

// An answer is what came of a request.
type answer struct {
	refused bool // the session is not current
	final   bool // and another process has the identity
	session int
	window  clock.Millis // its start
	granted escrow.Credits
	// Until which tick, exclusive, the credits may be spent if it is heard before:
	// that of the deadline that escrow.Lease makes of the ttl and the sending. 0 if
	// that has passed.
	until int
	ttl   clock.Millis // LateReading: which needs it at the hearing
}
