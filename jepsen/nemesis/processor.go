package nemesis

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/tkcoord/tkcoord/jepsen/host"
)

// processors take the processor away from nodes, as crowded machines and tight
// container limits do.
func processors() []Nemesis {
	var all []Nemesis
	for _, who := range []choice{oneNode(), theLeader(), allNodes()} {
		all = append(all, Nemesis{
			Name:  "cpu-" + who.name,
			About: "leave " + who.about + " a small share of a processor",
			Start: func(ctx context.Context, c *host.Cluster, rng *rand.Rand) (Fault, error) {
				nodes, err := who.pick(ctx, c, rng)
				if err != nil {
					return Fault{}, err
				}
				share := 0.03 + 0.22*rng.Float64()
				how := "by quota"
				if c.Quota() == nil {
					how = "by pausing in turns"
				}
				return Fault{
					Targets: names(nodes), Detail: fmt.Sprintf("%.0f%% %s", 100*share, how),
					Hold: between(rng, elections(c, 3), elections(c, 3)+4*time.Second),
					Stop: starve(c, nodes, share),
				}, nil
			},
		})
	}
	return all
}

// starve begins at once and goes on until stop is called.
func starve(c *host.Cluster, nodes []*host.Node, share float64) (stop func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, len(nodes))
	for _, n := range nodes {
		go func() { done <- n.Starve(ctx, share, c.Quota()) }()
	}
	return func(context.Context) error {
		cancel()
		var errs []error
		for range nodes {
			errs = append(errs, <-done)
		}
		return errors.Join(errs...)
	}
}
