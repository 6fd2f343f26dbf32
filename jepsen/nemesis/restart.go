package nemesis

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/tkcoord/tkcoord/jepsen/host"
)

// restarts are those that an operator does, in order.
func restarts() []Nemesis {
	return []Nemesis{{
		Name:  "restart-rolling",
		About: "stop each node in order and start it again, one after the other",
		Start: startRolling,
	}, {
		Name:   "restart-all",
		About:  "stop the whole cluster in order, and start it again",
		Breaks: true, Alone: true,
		Start: func(ctx context.Context, c *host.Cluster, rng *rand.Rand) (Fault, error) {
			nodes := shuffled(c, rng)
			f := Fault{
				Targets: names(nodes), Hold: between(rng, 100*time.Millisecond, 3*time.Second),
				Stop: func(context.Context) error { return startAll(processes(nodes, ofNode)) },
			}
			return f, stopAll(ctx, nodes)
		},
	}}
}

// stopTime is how long a node may take to hand over and drain, see the bounds in
// tkcoord serve. One that is paused, or talks to a network that is cut, may need
// to be killed after it.
const stopTime = 10 * time.Second

// stopNode ends a node in order, or by force where another fault prevents that.
func stopNode(ctx context.Context, n *host.Node) error {
	ctx, cancel := context.WithTimeout(ctx, stopTime)
	defer cancel()
	return ignore(ignore(n.Stop(ctx), host.ErrNotRunning), context.DeadlineExceeded)
}

func stopAll(ctx context.Context, nodes []*host.Node) error {
	done := make(chan error, len(nodes))
	for _, n := range nodes {
		go func() { done <- stopNode(ctx, n) }()
	}
	var errs []error
	for range nodes {
		errs = append(errs, <-done)
	}
	return errors.Join(errs...)
}

// startRolling begins with the first node; Stop lets it finish.
func startRolling(_ context.Context, c *host.Cluster, rng *rand.Rand) (Fault, error) {
	nodes := shuffled(c, rng)
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { done <- roll(ctx, c, nodes) }()
	return Fault{Targets: names(nodes), Stop: func(ctx context.Context) error {
		defer cancel()
		select {
		case err := <-done:
			return err
		case <-ctx.Done():
			cancel()
			return errors.Join(ctx.Err(), <-done, startAll(processes(nodes, ofNode)))
		}
	}}, nil
}

// roll restarts nodes one after the other. It waits for each to serve again, but
// not for ever: another fault may keep it from that.
func roll(ctx context.Context, c *host.Cluster, nodes []*host.Node) error {
	for _, n := range nodes {
		if err := stopNode(ctx, n); err != nil {
			return err
		}
		if err := ignore(n.Start(), host.ErrRunning); err != nil {
			return err
		}
		settle(ctx, c, n)
	}
	return nil
}

// settle waits until a node serves, for about ten elections at most.
func settle(ctx context.Context, c *host.Cluster, n *host.Node) {
	ctx, cancel := context.WithTimeout(ctx, elections(c, 10))
	defer cancel()
	_ = n.Serving(ctx) // it need not, see roll
}
