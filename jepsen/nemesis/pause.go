package nemesis

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/tkcoord/tkcoord/jepsen/host"
)

// A pauseLength is measured by the longest lease: whoever is paused for longer
// wakes up with leases that are over, and must notice before it uses them.
type pauseLength struct {
	name, about string
	draw        func(c *host.Cluster, rng *rand.Rand) time.Duration
}

func pauseLengths() []pauseLength {
	return []pauseLength{
		{"short", "for less than a lease", func(c *host.Cluster, rng *rand.Rand) time.Duration {
			return between(rng, c.Config().MaxLease/8, c.Config().MaxLease)
		}},
		{"long", "for longer than a lease", func(c *host.Cluster, rng *rand.Rand) time.Duration {
			return between(rng, c.Config().MaxLease*5/4, c.Config().MaxLease*3)
		}},
	}
}

// pauses stop nodes as they are, as a debugger, a swapping machine or a moving
// VM does.
func pauses() []Nemesis {
	var all []Nemesis
	for _, who := range []choice{oneNode(), theLeader(), majority(), allNodes()} {
		for _, length := range pauseLengths() {
			all = append(all, Nemesis{
				Name:   "pause-" + who.name + "-" + length.name,
				About:  "pause " + who.about + " " + length.about,
				Breaks: who.breaks,
				Start: func(ctx context.Context, c *host.Cluster, rng *rand.Rand) (Fault, error) {
					nodes, err := who.pick(ctx, c, rng)
					if err != nil {
						return Fault{}, err
					}
					stop, err := pauseAll(processes(nodes, ofNode))
					return Fault{Targets: names(nodes), Hold: length.draw(c, rng), Stop: stop}, err
				},
			})
		}
	}
	return all
}

// pauseAll pauses what runs, at least one. On an error nothing is paused.
func pauseAll(ps []*host.Process) (stop func(context.Context) error, err error) {
	var resumes []func() error
	stop = func(context.Context) error {
		var errs []error
		for _, resume := range resumes {
			errs = append(errs, resume())
		}
		return errors.Join(errs...)
	}
	for _, p := range ps {
		resume, err := p.Pause()
		switch {
		case errors.Is(err, host.ErrNotRunning):
		case err != nil:
			return nil, errors.Join(err, stop(context.Background()))
		default:
			resumes = append(resumes, resume)
		}
	}
	if len(resumes) == 0 {
		return nil, fmt.Errorf("%w: nothing to pause runs", ErrSkipped)
	}
	return stop, nil
}
