// Package cluster is what the worlds of real code have in common: real time in
// ticks, nodes that can lead, each with a real clock.Source, and the encoding of
// states.
//
// All nodes have the same state machine once they have applied the same entries,
// so a world has one, at the end of the log. A node that has not applied the
// newest entry differs in one thing that matters: it has not noted its clock.
package cluster

import (
	"github.com/tkcoord/tkcoord/fsm/clock"
)

const million = 1_000_000

// Time says how clocks run.
type Time struct {
	// Beat is the real time between two ticks, in ms. A clock advances in it by
	// Beat·(1±Drift). Slew lets a leader run faster or slower than its clock.
	Beat        clock.Millis
	Drift, Slew clock.PPM
}

// Reading is what a process's monotonic clock shows after so many ticks.
func (t *Time) Reading(fast bool, tick int) clock.Nanos {
	rate := million - int64(t.Drift)
	if fast {
		rate = million + int64(t.Drift)
	}
	return clock.Nanos(int64(tick) * int64(t.Beat) * rate) // ms·10⁻⁶ is ns
}

// Rates are the cluster's assumptions about clocks, which hold here.
func (t *Time) Rates() clock.Rates { return clock.Rates{Drift: t.Drift, Slew: t.Slew} }

// Ticks returns how many ticks it takes until a fast clock has passed a span, and
// one more.
func (t *Time) Ticks(span clock.Millis) int {
	fast := int(t.Beat) * (million + int(t.Drift))
	return (int(span)*million+fast-1)/fast + 1
}

// A Node is a process that can lead.
type Node struct {
	Fast   bool
	Fresh  bool         // it has applied the newest entry and noted it
	Source clock.State  // of its clock.Source
	Stamp  clock.Millis // it stamps no less than this
}

// A Cluster is its nodes at one instant.
type Cluster struct {
	Time   *Time
	Tick   int // real time
	Nodes  []Node
	Leader int // index into Nodes, -1 if nobody leads
}

// At is what the node's monotonic clock shows.
func (c *Cluster) At(n *Node) clock.Nanos { return c.Time.Reading(n.Fast, c.Tick) }

// Clock is the leader's cluster clock now: what a stamp made now would be.
func (c *Cluster) Clock() clock.Millis {
	n := &c.Nodes[c.Leader]
	src := clock.SourceOf(n.Source)
	return max(src.At(c.At(n)), n.Stamp)
}

// Note has a node apply the log up to its end, where the state machine's clock
// shows now, and note the newest pair. Applying it entry by entry would note more
// pairs, of which only the newest is ever used.
func (c *Cluster) Note(n *Node, now clock.Millis) {
	src := clock.SourceOf(n.Source)
	src.Note(now, c.At(n))
	n.Source, n.Fresh = src.State(), true
}

// Committed tells that an entry was: nobody has applied it yet.
func (c *Cluster) Committed() {
	for i := range c.Nodes {
		c.Nodes[i].Fresh = false
	}
}

// Elect makes a node lead. It should have applied everything committed, which is
// what it waits for with its barrier. With ahead its clock continues that much
// later than it should.
func (c *Cluster) Elect(p int, ahead clock.Millis) {
	c.Follow()
	n := &c.Nodes[p]
	src := clock.SourceOf(n.Source)
	if ahead != 0 {
		src.Note(src.At(c.At(n))+ahead, c.At(n))
	}
	src.Lead()
	n.Source = src.State()
	c.Leader = p
}

// Follow ends leadership.
func (c *Cluster) Follow() {
	if c.Leader < 0 {
		return
	}
	n := &c.Nodes[c.Leader]
	src := clock.SourceOf(n.Source)
	src.Follow()
	n.Source = src.State()
	c.Leader = -1
}

// Crash has a node lose what it had in memory: the pair, and its leadership. The
// log is on disk, so it applies that again.
func (c *Cluster) Crash(p int) {
	if c.Leader == p {
		c.Follow()
	}
	n := &c.Nodes[p]
	n.Source, n.Fresh, n.Stamp = clock.State{}, false, 0
}

// Steer sets the leader's slew, which is within ±limit.
func (c *Cluster) Steer(slew, limit clock.PPM) {
	n := &c.Nodes[c.Leader]
	src := clock.SourceOf(n.Source)
	src.Steer(clock.Millis(slew)*million, limit, c.At(n))
	n.Source = src.State()
}

// Swap exchanges two nodes.
func (c *Cluster) Swap(i, k int) {
	c.Nodes[i], c.Nodes[k] = c.Nodes[k], c.Nodes[i]
	switch c.Leader {
	case i:
		c.Leader = k
	case k:
		c.Leader = i
	}
}

// Normalise brings the nodes into normal form: a pair that a node must note anew
// before it may lead is never used, unless stale, and a follower runs from its
// newest pair only. A clock that is not slewed goes on in the same way from any
// point that it has passed. Now is the clock of the state machine, and elections
// is whether there can be any more.
func (c *Cluster) Normalise(now clock.Millis, elections, stale bool) {
	for i := range c.Nodes {
		n := &c.Nodes[i]
		at := c.At(n)
		if !elections {
			c.forget(i, now)
		}
		if !n.Fresh && !stale {
			n.Source.Newest = clock.Pair{}
		}
		if c.Leader != i {
			n.Source.Base = clock.Pair{}
		}
		if n.Source.Slew == 0 {
			n.Source.Base = advance(n.Source.Base, at)
		}
		n.Source.Newest = advance(n.Source.Newest, at) // slew starts at 0 when it leads
	}
}

// forget: once there are no elections any more, a node that does not lead never
// will, and the leader needs its newest pair only if a step is in the log that
// carries its clock forward.
func (c *Cluster) forget(i int, now clock.Millis) {
	n := &c.Nodes[i]
	switch {
	case c.Leader != i:
		*n = Node{Fast: n.Fast, Fresh: true}
	case now <= c.Clock():
		n.Fresh, n.Source.Newest = true, clock.Pair{}
	}
}

// advance moves a pair along its clock to the newest whole millisecond before
// at.
func advance(p clock.Pair, at clock.Nanos) clock.Pair {
	if p == (clock.Pair{}) {
		return p
	}
	d := at - p.At
	return clock.Pair{Now: p.Now + clock.Millis(d/clock.NanosPerMilli), At: at - d%clock.NanosPerMilli}
}
