package nemesis

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/tkcoord/tkcoord/jepsen/host"
	"github.com/tkcoord/tkcoord/jepsen/seam"
)

// stores make the writes of raft's log slow, or hang.
func stores() []Nemesis {
	var all []Nemesis
	for _, who := range []choice{oneNode(), theLeader(), allNodes()} {
		all = append(all, Nemesis{
			Name:  "store-slow-" + who.name,
			About: "make each log write of " + who.about + " slow",
			Start: func(ctx context.Context, c *host.Cluster, rng *rand.Rand) (Fault, error) {
				nodes, err := who.pick(ctx, c, rng)
				if err != nil {
					return Fault{}, err
				}
				delay := between(rng, 20*time.Millisecond, 2*c.Config().Heartbeat)
				return hinder(ctx, nodes, Fault{
					Detail: fmt.Sprintf("%v per write", delay.Round(time.Millisecond)),
					Hold:   between(rng, elections(c, 2), elections(c, 2)+4*time.Second),
				}, func(f *seam.Faults) { f.StoreDelayMS = delay.Milliseconds() })
			},
		})
	}
	for _, who := range []choice{oneNode(), theLeader()} {
		all = append(all, Nemesis{
			Name:    "store-hang-" + who.name,
			Breaks:  who.breaks,
			About:   "let a log write of " + who.about + " hang; a node gives up after its deadline, and is started again",
			Excuses: []string{"node stops for good"},
			Start: func(ctx context.Context, c *host.Cluster, rng *rand.Rand) (Fault, error) {
				nodes, err := who.pick(ctx, c, rng)
				if err != nil {
					return Fault{}, err
				}
				return hinder(ctx, nodes, Fault{Hold: between(rng, time.Second, writeDeadline*3/2)},
					func(f *seam.Faults) { f.StoreHang = true })
			},
		})
	}
	return all
}

// writeDeadline is after what time a node gives up a write, see
// transport.DefaultStoreConfig.
const writeDeadline = 5 * time.Second

// hinder changes the fault files of nodes. While it lasts, a node may end by
// itself. Stop takes it back and starts those that did.
func hinder(ctx context.Context, nodes []*host.Node, f Fault, edit func(*seam.Faults)) (Fault, error) {
	var withdraw []func()
	for _, n := range nodes {
		if w, err := n.Excuse(); err == nil {
			withdraw = append(withdraw, w)
		}
	}
	f.Targets = names(nodes)
	f.Stop = func(ctx context.Context) error {
		var errs []error
		for _, n := range nodes {
			errs = append(errs, n.Seam.Change(func(f *seam.Faults) { f.StoreDelayMS, f.StoreHang = 0, false }))
		}
		for _, n := range nodes {
			errs = append(errs, revive(ctx, n))
		}
		for _, w := range withdraw {
			w()
		}
		return errors.Join(errs...)
	}
	for _, n := range nodes {
		if err := n.Seam.Change(edit); err != nil {
			return Fault{}, errors.Join(err, f.Stop(ctx))
		}
	}
	return f, nil
}

// revive starts a node that gave up. A node that does not answer may be just
// about to end, and is not taken for one that lives on.
func revive(ctx context.Context, n *host.Node) error {
	if _, err := n.Status(ctx); err != nil {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_ = n.Wait(ctx) // one that lives on is not waited for any longer
	}
	return ignore(n.Start(), host.ErrRunning)
}
