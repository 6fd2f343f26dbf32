package nemesis

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/tkcoord/tkcoord/jepsen/host"
)

// stormFlags make a snapshot of nearly every change and keep almost no log, so
// that a node which was away for a moment needs the whole snapshot.
var stormFlags = []string{"--snapshot-threshold=8", "--trailing-logs=4", "--snapshot-interval=50ms"}

// snapshots make the rare ways of raft common: taking, sending and restoring
// snapshots.
func snapshots() []Nemesis {
	return []Nemesis{{
		Name:  "snapshot-storm",
		About: "restart the nodes with tiny snapshot thresholds and crash one, which must then be sent a snapshot; restart with ordinary ones",
		Start: startStorm,
	}}
}

func startStorm(ctx context.Context, c *host.Cluster, rng *rand.Rand) (Fault, error) {
	nodes := shuffled(c, rng)
	setFlags(nodes, stormFlags...)
	away := nodes[0]
	stop := func(ctx context.Context) error {
		err := ignore(away.Start(), host.ErrRunning)
		settle(ctx, c, away) // by a snapshot
		setFlags(nodes)
		return errors.Join(err, roll(ctx, c, nodes))
	}
	f := Fault{
		Targets: names(nodes), Detail: away.Name() + " is away",
		Hold: between(rng, time.Second, 4*time.Second), Stop: stop,
	}
	if err := errors.Join(roll(ctx, c, nodes), killAll([]*host.Process{away.Process})); err != nil {
		return Fault{}, errors.Join(err, stop(ctx))
	}
	return f, nil
}

func setFlags(nodes []*host.Node, flags ...string) {
	for _, n := range nodes {
		n.SetFlags(flags...)
	}
}
