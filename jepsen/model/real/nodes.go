package real

import (
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/jepsen/model/cluster"
)

// seal closes a batch and reads its stamp. Nothing is lost by doing both at once:
// a request that waits in a closed batch might as well arrive later. Without a
// pipeline the entry is committed at once, see the package comment.
func (s *state) seal(e entry, c cluster.Choice) error {
	e.stamp = s.Clock()
	if s.w.Rule == EarlyStamp && s.read != 0 {
		e.stamp, s.read = s.read, 0
	}
	if s.w.Rule == KeptStamp {
		s.Nodes[s.Leader].Stamp = e.stamp
	}
	s.pending = append(s.pending, e)
	if s.w.Pipeline > 0 {
		return nil
	}
	return s.commit(c)
}

func (s *state) sealAsk(c cluster.Choice) error {
	e := &s.edges[c.Process]
	req := e.requests[c.Place]
	if !c.Keep {
		e.dropRequest(c.Place)
	}
	return s.seal(entry{what: anAsk, edge: c.Process, req: req}, c)
}

// note has a node apply the log up to its end and note the newest pair.
func (s *state) note(n *cluster.Node) { s.Note(n, s.head.now) }

// elect makes a node lead. Entries that its predecessor sealed and that were not
// committed by then are overwritten.
func (s *state) elect(p int) {
	var ahead clock.Millis
	if s.w.Rule == WallClock {
		ahead = s.w.Length
	}
	s.Elect(p, ahead)
	s.pending, s.read = s.pending[:0], 0
}

func (s *state) crash(p int) {
	if s.Leader == p {
		s.read = 0
	}
	s.Crash(p)
}

// steers are the slews that a leader may have, in units of the largest.
var steers = [...]clock.PPM{0, 1, -1}

func (s *state) steer(to clock.PPM) { s.Steer(to, s.w.Slew) }
