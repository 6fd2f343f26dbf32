package sim

import (
	"bytes"
	"time"

	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/fsm/clock"
)

// A node is one replica: what is on its disk, and what its process knows.
type node struct {
	w  *world
	id int
	disk

	// Of the process. life counts processes: what an earlier one had scheduled
	// does not happen any more.
	up          bool
	life        uint64
	pausedUntil time.Duration
	mono        oscillator
	wall        clock.Millis // how far its wall clock is off
	election
	machine  *fsm.Machine
	source   clock.Source
	applied  uint64
	applying bool
	saving   bool // a snapshot is being written
	proposer
	offsets [replicas]clock.Millis // of the voters' wall clocks from the leader's monotonic one
	heard   [replicas]bool         // told any since this node leads
}

func newNode(w *world, id int) *node {
	n := &node{w: w, id: id, disk: disk{first: 1}}
	n.wall = clock.Millis(w.rnd.IntN(200) - 100)
	return n
}

// start begins a new process from what the disk holds. Its monotonic clock starts
// anywhere.
func (n *node) start() {
	w := n.w
	n.up, n.life, n.pausedUntil = true, n.life+1, 0
	n.mono = w.newOscillator()
	n.machine, n.source = fsm.New(), clock.Source{}
	n.applied, n.applying, n.saving = n.snap.index, false, false
	n.election = election{commit: n.snap.index, leader: -1}
	n.proposer = proposer{id: w.id()}
	if n.snap.data != nil {
		n.restore(n.snap)
	}
	w.note("start", n.id, int64(n.life), int64(n.snap.index), int64(n.last()))
	n.awaitElection()
	n.watchElection()
}

// stop ends the process. Of what was not fsynced a part may have reached the disk.
func (n *node) stop() {
	if !n.up {
		return
	}
	n.up = false
	n.life++
	n.abandon()
	kept := n.durable
	if n.last() > kept {
		kept += n.w.rnd.Uint64N(n.last() - kept + 1)
	}
	n.w.note("stop", n.id, int64(n.durable), int64(kept), int64(n.last()))
	n.truncate(kept + 1)
	n.durable = kept
	n.waiting, n.syncing, n.writes = nil, false, n.writes+1
}

// restore replaces the state by that of a snapshot.
func (n *node) restore(s snapshot) {
	m, err := fsm.Restore(bytes.NewReader(s.data))
	if err != nil {
		n.w.fail("node %d: %v", n.id, err)
		return
	}
	if m.Index() > s.index {
		n.w.fail("node %d: snapshot of entry %d says %d", n.id, s.index, m.Index())
	}
	n.machine, n.applied = m, s.index
	n.source.Note(m.Now(), n.w.reading(&n.mono))
	n.w.res.Restores++
	n.w.note("restore", n.id, int64(s.index), int64(m.Now()), 0)
}

// run calls do in a life of the process, after the pause if it is paused.
func (n *node) run(life uint64, do func()) {
	switch {
	case !n.up || n.life != life:
	case n.pausedUntil > n.w.now:
		n.w.after(n.pausedUntil-n.w.now, func() { n.run(life, do) })
	default:
		do()
	}
}

// in schedules do in this life of the process.
func (n *node) in(d time.Duration, do func()) {
	life := n.life
	n.w.after(d, func() { n.run(life, do) })
}

// wallClock reads the node's wall clock.
func (n *node) wallClock() clock.Millis {
	return max(1, epoch+n.wall+clock.Millis(n.w.now/time.Millisecond))
}
