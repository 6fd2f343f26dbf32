package sim

import (
	"slices"
	"time"

	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/fsm/clock"
)

// The rules of transport.ClusterClock: a lag above stepBeyond is stepped over,
// everything else is slewed.
const (
	stepBeyond clock.Millis = 1000
	steerEvery              = time.Second
)

// watchWalls follows the voters' median wall clock while the node leads.
func (n *node) watchWalls(term uint64) {
	if !n.leads || n.term != term {
		return
	}
	at := n.w.reading(&n.mono)
	if lag, ok := n.median(); ok {
		now := n.source.At(at)
		switch {
		case lag <= stepBeyond:
			n.source.Steer(lag, n.w.cfg.Rates.Slew, at)
		case n.w.opt.Broken.NoStretch:
			n.source.Note(now+lag, at)
		default:
			to := min(now+lag, clock.MaxInstant)
			n.w.note("step", n.id, int64(now), int64(to), int64(lag))
			n.propose(&call{command: fsm.Encode(fsm.Step{To: to})})
		}
	}
	n.in(steerEvery, func() { n.watchWalls(term) })
}

// median returns how far the cluster clock lags the middle of the voters' wall
// clocks, if a majority told theirs. Of two the earlier one counts.
func (n *node) median() (clock.Millis, bool) {
	offsets := []clock.Millis{n.wallClock() - n.monoMillis()}
	for i, o := range n.offsets {
		if i != n.id && n.heard[i] {
			offsets = append(offsets, o)
		}
	}
	slices.Sort(offsets)
	wall := offsets[(len(offsets)-1)/2] + n.monoMillis()
	return wall - n.source.At(n.w.reading(&n.mono)), len(offsets) >= majority
}

// monoMillis reads the monotonic clock in milliseconds, to carry forward what
// others said about their wall clocks.
func (n *node) monoMillis() clock.Millis {
	return clock.Millis(n.w.reading(&n.mono) / clock.NanosPerMilli)
}
