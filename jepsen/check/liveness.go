package check

import (
	"slices"
	"time"

	"github.com/tkcoord/tkcoord/jepsen/history"
)

// settleTime is left out of the latencies after the faults: what waited for them
// to end is answered in it.
const settleTime = time.Second

// liveness checks I10: after the faults an exchange succeeds soon, all nodes
// catch up, and exchanges are as fast as before, within reason.
func liveness(x *Case, p *problems) {
	var before, after []time.Duration
	first := history.Never
	for _, o := range x.ops {
		if o.Kind != history.KindExchange || o.Outcome != history.OK {
			continue
		}
		switch {
		case o.At >= x.Phases.Warm && o.Ended < x.Phases.Faults:
			before = append(before, o.Ended.Sub(o.At))
		case o.At >= x.Phases.Healed.Add(settleTime) && o.At < x.Phases.Quiet:
			after = append(after, o.Ended.Sub(o.At))
		}
		if o.Ended >= x.Phases.Healed {
			first = min(first, o.Ended)
		}
	}
	if first == history.Never || first.Sub(x.Phases.Healed) > x.Need.FirstReply {
		p.add(Problem{At: x.Phases.Healed}, "no exchange was answered within %v of the end of the faults", x.Need.FirstReply)
	} else {
		p.stat("first reply after the faults", "%v", first.Sub(x.Phases.Healed).Round(time.Millisecond))
	}
	if x.Digests != nil {
		p.stat("all nodes at one index", "after %v", x.Digests.Took.Round(time.Millisecond))
		if x.Digests.Took > x.Need.CatchUp {
			p.add(Problem{At: x.Phases.Quiet}, "the nodes took %v to catch up, want at most %v", x.Digests.Took, x.Need.CatchUp)
		}
	}
	p99, then := percentile(before, 99), percentile(after, 99)
	p.stat("p99 before and after", "%v and %v", p99.Round(time.Microsecond), then.Round(time.Microsecond))
	if len(after) == 0 {
		p.add(Problem{At: x.Phases.Healed}, "no exchange was made after the faults")
	}
	if most := max(x.Need.SlowFloor, time.Duration(x.Need.SlowFactor*float64(p99))); then > most {
		p.add(Problem{At: x.Phases.Healed}, "the p99 of exchanges is %v after the faults and was %v before: want at most %v", then, p99, most)
	}
}

// percentile returns the value below which about so many percent lie, 0 of none.
func percentile(all []time.Duration, percent int) time.Duration {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[min(len(all)-1, len(all)*percent/100)]
}
