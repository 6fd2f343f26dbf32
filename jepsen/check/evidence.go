package check

import (
	"time"

	"github.com/tkcoord/tkcoord/jepsen/raftlog"
)

// mostBend is how far the machine's wall clock may have moved against the
// monotonic one during a run. Entries are dated by it.
const mostBend = 5 * time.Millisecond

// evidence checks what the other checkers rely on.
func evidence(x *Case, p *problems) {
	if err := x.History.Validate(); err != nil {
		p.add(Problem{}, "the histories: %v", err)
	}
	for _, c := range x.Story.Log.Conflicts {
		p.add(Problem{}, "nodes disagree about the committed log: %s", c)
	}
	for _, g := range x.Story.Missing {
		p.add(Problem{Index: g.From}, "entries %d to %d are committed, on no node, and bridged by no snapshot", g.From, g.To)
	}
	p.take(x.Story.replay)
	if covered := x.Story.Covered(); covered < x.Need.Covered {
		p.add(Problem{}, "%.1f %% of the log was replayed, want %.1f %%", 100*covered, 100*x.Need.Covered)
	}
	if bend := x.Wall.Bend(); bend > mostBend || len(x.Wall) < 2 {
		p.add(Problem{}, "the machine's wall clock was set by %v during the run, by %d readings: the dates of entries mean nothing", bend, len(x.Wall))
	}
	ph := x.Phases
	if !(0 < ph.Boot && ph.Boot <= ph.Warm && ph.Warm <= ph.Faults && ph.Faults <= ph.Healed && ph.Healed <= ph.Quiet && ph.Quiet <= ph.End) {
		p.add(Problem{}, "the phases of the run are not in order: %+v", ph)
	}
	p.stat("clients", "%d", len(x.History))
	p.stat("operations", "%d", len(x.ops))
	p.stat("log", "%d entries committed, %.1f %% replayed", x.Story.Log.Committed, 100*x.Story.Covered())
	p.stat("bridged by snapshots", "%d", span(x.Story.Bridged))
	p.stat("wall clock bent by", "%v", x.Wall.Bend())
}

func span(gaps []raftlog.Gap) (n uint64) {
	for _, g := range gaps {
		n += g.To - g.From + 1
	}
	return n
}
