package nemesis

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/tkcoord/tkcoord/jepsen/host"
)

// kills crash nodes, which come back from their disks.
func kills() []Nemesis {
	var all []Nemesis
	for _, who := range []choice{oneNode(), theLeader(), minority(), majority(), allNodes()} {
		all = append(all, Nemesis{
			Name:   "kill-" + who.name,
			About:  "crash " + who.about + ", and start again what crashed",
			Breaks: who.breaks, Alone: who.name == allNodes().name,
			Start: func(ctx context.Context, c *host.Cluster, rng *rand.Rand) (Fault, error) {
				nodes, err := who.pick(ctx, c, rng)
				if err != nil {
					return Fault{}, err
				}
				f := Fault{
					Targets: names(nodes),
					Hold:    between(rng, 100*time.Millisecond, elections(c, 1)+3*time.Second), // also shorter than an election
					Stop:    func(context.Context) error { return startAll(processes(nodes, ofNode)) },
				}
				return f, killAll(processes(nodes, ofNode))
			},
		})
	}
	return all
}

// killAll kills what runs, all at nearly the same time.
func killAll(ps []*host.Process) error {
	done := make(chan error, len(ps))
	for _, p := range ps {
		go func() { done <- ignore(p.Kill(), host.ErrNotRunning) }()
	}
	var errs []error
	for range ps {
		errs = append(errs, <-done)
	}
	return errors.Join(errs...)
}

// startAll starts what does not run.
func startAll(ps []*host.Process) error {
	var errs []error
	for _, p := range ps {
		errs = append(errs, ignore(p.Start(), host.ErrRunning))
	}
	return errors.Join(errs...)
}

// ignore returns nil for an error that another fault under way explains.
func ignore(err, expected error) error {
	if errors.Is(err, expected) {
		return nil
	}
	return err
}
