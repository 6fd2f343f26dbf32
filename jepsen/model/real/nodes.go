package real

import (
	"github.com/tkcoord/tkcoord/fsm/clock"
)

// at is what the node's monotonic clock shows.
func (s *state) at(n *node) clock.Nanos { return s.w.reading(n.fast, s.tick) }

// clock is the leader's cluster clock now: what a stamp made now would be.
func (s *state) clock() clock.Millis {
	n := &s.nodes[s.leader]
	src := clock.SourceOf(n.source)
	return max(src.At(s.at(n)), n.stamp)
}

// seal closes a batch and reads its stamp. Nothing is lost by doing both at once:
// a request that waits in a closed batch might as well arrive later. Without a
// pipeline the entry is committed at once, see the package comment.
func (s *state) seal(e entry, c choose) error {
	e.stamp = s.clock()
	if s.w.Rule == EarlyStamp && s.read != 0 {
		e.stamp, s.read = s.read, 0
	}
	if s.w.Rule == KeptStamp {
		s.nodes[s.leader].stamp = e.stamp
	}
	s.pending = append(s.pending, e)
	if s.w.Pipeline > 0 {
		return nil
	}
	return s.commit(c)
}

func (s *state) sealAsk(c choose) error {
	e := &s.edges[c.process]
	req := e.requests[c.place]
	if !c.keep {
		e.dropRequest(c.place)
	}
	return s.seal(entry{what: anAsk, edge: c.process, req: req}, c)
}

// note has a node apply the log up to its end and note the newest pair. Applying
// it entry by entry would note more pairs, of which only the newest is ever used.
func (s *state) note(n *node) {
	src := clock.SourceOf(n.source)
	src.Note(s.head.now, s.at(n))
	n.source, n.fresh = src.State(), true
}

// elect makes a node lead that has applied everything committed, which is what it
// waits for with its barrier. Entries that its predecessor sealed and that were
// not committed by then are overwritten.
func (s *state) elect(p int) {
	s.follow()
	n := &s.nodes[p]
	src := clock.SourceOf(n.source)
	if s.w.Rule == WallClock {
		src.Note(src.At(s.at(n))+s.w.Length, s.at(n)) // its wall clock is a window ahead
	}
	src.Lead()
	n.source = src.State()
	s.leader = p
	s.pending, s.read = s.pending[:0], 0
}

// follow ends leadership.
func (s *state) follow() {
	if s.leader < 0 {
		return
	}
	n := &s.nodes[s.leader]
	src := clock.SourceOf(n.source)
	src.Follow()
	n.source = src.State()
	s.leader = -1
}

// crash has a node lose what it had in memory: the pair, and its leadership. The
// log is on disk, so it applies that again.
func (s *state) crash(p int) {
	if s.leader == p {
		s.follow()
		s.read = 0
	}
	n := &s.nodes[p]
	n.source, n.fresh, n.stamp = clock.State{}, false, 0
}

// steers are the slews that a leader may have, in units of the largest.
var steers = [...]clock.PPM{0, 1, -1}

func (s *state) steer(to clock.PPM) {
	n := &s.nodes[s.leader]
	src := clock.SourceOf(n.source)
	src.Steer(clock.Millis(to)*million, s.w.Slew, s.at(n))
	n.source = src.State()
}
