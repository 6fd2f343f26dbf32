package check

import (
	"strconv"
	"strings"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/jepsen/history"
)

// traffic checks that the run saw enough. A run in which nothing happened finds
// nothing wrong.
func traffic(x *Case, p *problems) {
	need := func(what string, got, want float64) {
		p.stat(what, "%s, want %s", number(got), number(want))
		if got < want {
			p.add(Problem{}, "%s: %s, want at least %s", what, number(got), number(want))
		}
	}
	exchanges, warm := 0, 0
	for _, o := range x.ops {
		if o.Kind != history.KindExchange || o.Outcome != history.OK {
			continue
		}
		exchanges++
		if o.Ended < x.Phases.Faults {
			warm++
		}
	}
	var units escrow.Credits
	var denied int64
	for _, c := range x.History {
		for i := range c.Admitted {
			units += c.Admitted[i].Units
		}
		for i := range c.Denied {
			denied += c.Denied[i].Times
		}
	}
	ended, full := 0, 0
	for _, w := range x.Story.Windows {
		if w.Ended == history.Never {
			continue
		}
		ended++
		if 2*w.Out() >= w.Peak {
			full++
		}
	}
	need("exchanges acknowledged", float64(exchanges), float64(x.Need.Exchanges))
	need("of them per second before the faults", rate(warm, x.Phases), x.Need.WarmRate)
	need("units admitted", float64(units), float64(x.Need.Admissions))
	need("requests denied", float64(denied), float64(x.Need.Denials))
	need("windows ended", float64(ended), float64(x.Need.Windows))
	need("of them at least half granted", float64(full), float64(x.Need.Full))
	need("requests that took effect again", float64(x.repeated()), float64(x.Need.Repeats))
	x.publicTraffic(need)
	need("changes of policies", float64(x.Story.Changes), float64(x.Need.Changes))
}

// number writes a count in full and a rate to a tenth.
func number(v float64) string {
	return strings.TrimSuffix(strconv.FormatFloat(v, 'f', 1, 64), ".0")
}

func rate(n int, ph Phases) float64 {
	if span := ph.Faults.Sub(ph.Warm).Seconds(); span > 0 {
		return float64(n) / span
	}
	return 0
}

// faults checks that every fault overlapped operations: a fault that hit nobody
// shows nothing. A run without nemeses has nothing to show here.
func faults(x *Case, p *problems) {
	if len(x.Nemeses) > 0 && len(x.Faults) == 0 {
		p.add(Problem{}, "no fault was injected, although %v were to be", x.Nemeses)
	}
	hit := make(map[string]int)
	for _, f := range x.Faults {
		at := Problem{At: f.From}
		if f.To == history.Never {
			p.add(at, "%s of %v was not taken back", f.Nemesis, f.Targets)
		}
		n, disturbed := 0, 0
		for _, o := range x.ops {
			if o.At > f.To {
				break
			}
			if o.Ended < f.From || o.At < x.Phases.Warm {
				continue
			}
			n++
			if o.Outcome != history.OK {
				disturbed++
			}
		}
		hit[f.Nemesis]++
		p.stat(f.Nemesis, "%v to %v, %d operations under way, %d of them not acknowledged", f.From.Sub(x.Phases.Boot).Round(1e6), f.end(x).Sub(x.Phases.Boot).Round(1e6), n, disturbed)
		if n < x.Need.InFlight {
			p.add(at, "%s of %v overlapped %d operations, want at least %d", f.Nemesis, f.Targets, n, x.Need.InFlight)
		}
	}
	for _, name := range x.Nemeses {
		if len(x.Faults) > 0 && hit[name] == 0 {
			p.add(Problem{}, "nemesis %s injected no fault", name)
		}
	}
}

// end is when a fault ended, or the run if it did not.
func (f *Fault) end(x *Case) history.Time { return min(f.To, x.Phases.End) }

// lastWrite checks that the run ended with a write that succeeded and is the
// newest exchange of the log.
func lastWrite(x *Case, p *problems) {
	switch l := x.Last; {
	case l == nil:
		p.add(Problem{At: x.Phases.Quiet}, "no last write was made")
	case l.Error != "":
		p.add(Problem{At: l.At}, "the last write failed: %s", l.Error)
	case !x.Story.missing(l.Index) && l.Index > x.Story.Last:
		p.add(Problem{At: l.At, Index: l.Index}, "the last write was acknowledged at index %d, the log ends at %d", l.Index, x.Story.Last)
	default:
		p.stat("took", "%v", l.Took)
		p.stat("index", "%d", l.Index)
	}
}
