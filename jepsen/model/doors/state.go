package doors

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
	traffic Traffic
	now     clock.Millis // of the state machine
	limit   int
	deleted bool // the policy, which will come back
	left    budget

	clients []client
	orphans []clock.Millis // ends of slots that no client and no message names, in order

	ledger ledger // Units
	meter  meter  // Tokens

	// The world's own account.
	//
	// Slots: most is the highest ceiling that counts.
	// Units: admitted of the ledger's window, and the highest limit under which
	// something was asked for.
	// Tokens: admitted in the window until accountEnd, and likewise.
	admitted, most int64
	largest        int64 // debit
	accountEnd     clock.Millis
}

// A ledger is what the state machine counts of the one budget.
type ledger struct {
	exists         bool
	since          clock.Millis  // of the policy, see the state machine
	window         escrow.Window // the newest one, also when it is forgotten
	capacity, peak escrow.Credits
	taken, given   escrow.Credits
}

// A meter is what the state machine has served in the window until end.
type meter struct {
	exists bool
	escrow.Meter
}

// A budget says how often things may still happen.
type budget struct {
	duplicates, elections, crashes, restarts, steps, changes, deaths, restores int

	faults int // of any kind
}

func (b *budget) kinds() [8]*int {
	return [...]*int{&b.duplicates, &b.elections, &b.crashes, &b.restarts, &b.steps, &b.changes, &b.deaths, &b.restores}
}

// spend takes one from a kind of fault.
func (b *budget) spend(kind *int) {
	*kind--
	b.faults--
}

// A client is a process, what the cluster has of it alone, and its messages under
// way.
//
// Slots that it or its messages name are numbered from 1; 0 is none.
type client struct {
	fast bool
	hold hold
	// Slots: their ends at the cluster, 0 for one that is no more.
	slots []clock.Millis

	// Units: the first one is an edge, and has a lease.
	edge   bool
	record bool // the state machine has its session
	known  bool // and an allotment of the newest window
	escrow.Allotment

	requests []request
	answers  []answer
}

// A hold is what a client believes to have: a slot, or credits of the window from
// start, as totals.
type hold struct {
	slot          int
	until         int // first tick at which it may rely on it no more; 0 if that has passed
	start         clock.Millis
	granted, used escrow.Credits
}

type verb uint8

const (
	anAdmit verb = iota + 1
	aBeat
	aRelease
	anAsk
	aReserve
)

// A request is a message to the cluster.
type request struct {
	verb       verb
	void       bool // the client has given up and listens no more
	sent       int  // tick
	slot       int  // aBeat, aRelease
	start      clock.Millis
	used, want escrow.Credits // anAsk: totals
}

type outcome uint8

const (
	admitted outcome = iota + 1
	live
	gone
	granted
)

// An answer is a message to a client. Denials are not modelled: hearing one
// changes nothing.
type answer struct {
	outcome outcome
	slot    int
	until   int // that hold has if this is heard before
	start   clock.Millis
	granted escrow.Credits
}

func (s *state) over() bool { return s.now >= s.ledger.window.End }

// live returns how many slots the state machine has.
func (s *state) live() int {
	n := 0
	for _, end := range s.orphans {
		if end != 0 {
			n++
		}
	}
	for i := range s.clients {
		for _, end := range s.clients[i].slots {
			if end != 0 {
				n++
			}
		}
	}
	return n
}

// believers returns how many clients take themselves for holding a slot.
func (s *state) believers() int {
	n := 0
	for i := range s.clients {
		if h := &s.clients[i].hold; h.slot != 0 && s.Tick < h.until {
			n++
		}
	}
	return n
}
