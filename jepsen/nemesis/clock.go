package nemesis

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/tkcoord/tkcoord/jepsen/host"
	"github.com/tkcoord/tkcoord/jepsen/seam"
)

// A lie is one way in which a clock is wrong. tell sets it in a fault file and
// says what was drawn; the zero value of those fields takes it back.
type lie struct {
	name, about string
	tell        func(c *host.Cluster, rng *rand.Rand, f *seam.Faults) string
	excuses     []string
}

func lies() []lie {
	return []lie{
		{"bump", "let wall clocks jump, by milliseconds or by minutes", func(_ *host.Cluster, rng *rand.Rand, f *seam.Faults) string {
			f.WallOffsetMS = jump(rng)
			return fmt.Sprintf("%+d ms", f.WallOffsetMS)
		}, []string{clockAhead}},
		{"strobe", "let wall clocks jump to and fro", func(_ *host.Cluster, rng *rand.Rand, f *seam.Faults) string {
			f.WallStrobeMS, f.WallStrobePeriodMS = jump(rng), 1+rng.Int64N(1000)
			return fmt.Sprintf("%+d ms each %d ms", f.WallStrobeMS, f.WallStrobePeriodMS)
		}, []string{clockAhead}},
		{"drift", "let both clocks run fast or slow, as far as the cluster was formed to bear", func(c *host.Cluster, rng *rand.Rand, f *seam.Faults) string {
			f.MonotonicRatePPM = rateWithin(rng, c.Config().DriftPPM)
			f.WallRatePPM = f.MonotonicRatePPM
			return fmt.Sprintf("%+d ppm", f.MonotonicRatePPM)
		}, nil},
		{"backwards", "let wall clocks run backwards", func(_ *host.Cluster, rng *rand.Rand, f *seam.Faults) string {
			f.WallRatePPM = -1_000_000 - 1_000 - rng.Int64N(5_000_000)
			return fmt.Sprintf("%.1f times as fast backwards", float64(-1_000_000-f.WallRatePPM)/1_000_000)
		}, []string{clockAhead}},
	}
}

// clockAhead is logged when the voters' wall clocks fall behind the cluster
// clock, which then waits for them.
const clockAhead = "cluster clock is ahead"

// jump draws a span whose size is as likely to be tens of milliseconds as to be
// minutes: 1.5^6 to 1.5^31 ms, the distribution of jepsen's clock nemesis.
func jump(rng *rand.Rand) int64 {
	size := int64(math.Pow(1.5, 6+25*rng.Float64()))
	if rng.IntN(2) == 0 {
		return -size
	}
	return size
}

// rateWithin draws a rate, one of the extremes every second time: the bounds are
// where the guarantees are tight.
func rateWithin(rng *rand.Rand, bound int64) int64 {
	switch rng.IntN(4) {
	case 0:
		return -bound
	case 1:
		return bound
	default:
		return rng.Int64N(2*bound+1) - bound
	}
}

// clocks are wrong in single processes, through their seams; the machine's own
// clocks are never touched. Edges are lied to as well.
func clocks() []Nemesis {
	var all []Nemesis
	for _, l := range lies() {
		all = append(all, Nemesis{
			Name: "clock-" + l.name, About: l.about, Excuses: l.excuses,
			Start: func(ctx context.Context, c *host.Cluster, rng *rand.Rand) (Fault, error) {
				return deceive(ctx, c, rng, l)
			},
		})
	}
	return append(all, Nemesis{
		Name: "clock-step", About: "let the wall clocks of a majority jump ahead together, so that the cluster clock steps",
		Excuses: []string{clockAhead},
		Start: func(ctx context.Context, c *host.Cluster, rng *rand.Rand) (Fault, error) {
			nodes, err := majority().pick(ctx, c, rng)
			if err != nil {
				return Fault{}, err
			}
			by := 2000 + rng.Int64N(58_000)
			return mislead(c, rng, clockedNodes(nodes), func(f *seam.Faults) string {
				f.WallOffsetMS = by
				return fmt.Sprintf("%+d ms", by)
			})
		},
	})
}

// A clocked host has a seam.
type clocked struct {
	name string
	seam *seam.File
}

// deceive lies to some nodes and some edges, to each in its own way.
func deceive(ctx context.Context, c *host.Cluster, rng *rand.Rand, l lie) (Fault, error) {
	nodes, err := someNodes().pick(ctx, c, rng)
	if err != nil {
		return Fault{}, err
	}
	victims := clockedNodes(nodes)
	if edges, err := someEdges(c, rng); err == nil {
		for _, e := range edges {
			victims = append(victims, clocked{e.Name(), e.Seam})
		}
	}
	return mislead(c, rng, victims, func(f *seam.Faults) string { return l.tell(c, rng, f) })
}

func clockedNodes(nodes []*host.Node) []clocked {
	var all []clocked
	for _, n := range nodes {
		all = append(all, clocked{n.Name(), n.Seam})
	}
	return all
}

// mislead sets the clocks of the victims wrong by tell, which says how, for a
// time in which leases end.
func mislead(c *host.Cluster, rng *rand.Rand, victims []clocked, tell func(*seam.Faults) string) (Fault, error) {
	f := Fault{Hold: between(rng, c.Config().MaxLease, c.Config().MaxLease*3+time.Second)}
	f.Stop = func(context.Context) error {
		var errs []error
		for _, v := range victims {
			errs = append(errs, v.seam.Change(tellTruth))
		}
		return errors.Join(errs...)
	}
	var details []string
	for _, v := range victims {
		if err := v.seam.Change(func(s *seam.Faults) { details = append(details, v.name+" "+tell(s)) }); err != nil {
			return Fault{}, errors.Join(err, f.Stop(context.Background()))
		}
		f.Targets = append(f.Targets, v.name)
	}
	f.Detail = strings.Join(details, ", ")
	return f, nil
}

// tellTruth takes back every lie about clocks, and nothing else.
func tellTruth(f *seam.Faults) {
	f.WallOffsetMS, f.WallRatePPM, f.WallStrobeMS, f.WallStrobePeriodMS, f.MonotonicRatePPM = 0, 0, 0, 0, 0
}
