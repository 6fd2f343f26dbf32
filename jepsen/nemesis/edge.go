package nemesis

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/tkcoord/tkcoord/jepsen/host"
)

// edges crash and pause with leases in hand.
func edges() []Nemesis {
	all := []Nemesis{{
		Name:  "edge-crash",
		About: "crash edges with leases in hand; they come back as new clients",
		Start: func(_ context.Context, c *host.Cluster, rng *rand.Rand) (Fault, error) {
			edges, err := someEdges(c, rng)
			if err != nil {
				return Fault{}, err
			}
			f := Fault{
				Targets: names(edges), Hold: between(rng, 50*time.Millisecond, c.Config().MaxLease*2),
				Stop: func(context.Context) error { return startAll(processes(edges, ofEdge)) },
			}
			return f, killAll(processes(edges, ofEdge))
		},
	}}
	for _, length := range pauseLengths() {
		all = append(all, Nemesis{
			Name:  "edge-pause-" + length.name,
			About: "pause edges with leases in hand, " + length.about,
			Start: func(_ context.Context, c *host.Cluster, rng *rand.Rand) (Fault, error) {
				edges, err := someEdges(c, rng)
				if err != nil {
					return Fault{}, err
				}
				stop, err := pauseAll(processes(edges, ofEdge))
				return Fault{Targets: names(edges), Hold: length.draw(c, rng), Stop: stop}, err
			},
		})
	}
	return all
}
