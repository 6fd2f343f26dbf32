package nemesis

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/tkcoord/tkcoord/jepsen/host"
)

// leaders move leadership without any failure.
func leaders() []Nemesis {
	return []Nemesis{{
		Name:  "leader-transfer",
		About: "hand leadership from node to node, over and over",
		Start: startTransfers,
	}}
}

func startTransfers(ctx context.Context, c *host.Cluster, rng *rand.Rand) (Fault, error) {
	if len(c.Nodes()) < 2 {
		return Fault{}, fmt.Errorf("%w: a single node has nobody to hand over to", ErrSkipped)
	}
	if err := transfer(ctx, c, rng); err != nil {
		return Fault{}, err
	}
	every := between(rng, c.Config().Heartbeat, c.Config().Heartbeat*6)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		t := time.NewTicker(every)
		defer t.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-t.C:
			}
			_ = transfer(ctx, c, rng) // later ones may fail: another fault may have taken the leader
		}
	}()
	return Fault{
		Targets: names(c.Nodes()), Detail: fmt.Sprintf("each %v", every.Round(time.Millisecond)),
		Hold: 5*every + time.Second,
		Stop: func(context.Context) error {
			cancel()
			<-done
			return nil
		},
	}, nil
}

// transferTime bounds one attempt, which waits for the log of the next leader.
const transferTime = 5 * time.Second

// transfer hands leadership to a node that does not have it.
func transfer(ctx context.Context, c *host.Cluster, rng *rand.Rand) error {
	ctx, cancel := context.WithTimeout(ctx, transferTime)
	defer cancel()
	from, err := awaitLeader(ctx, c)
	if err != nil {
		return err
	}
	to := shuffled(c, rng)
	if to[0] == from {
		to = to[1:]
	}
	if err := c.TransferLeadership(ctx, to[0]); err != nil {
		return fmt.Errorf("hand leadership from %s to %s: %w", from.Name(), to[0].Name(), err)
	}
	return nil
}

// awaitLeader returns the node that leads, for which it waits about ten
// elections. Without one, as under another fault, there is nobody to hit; that a
// cluster must have one when it is left alone is for the checkers to say.
func awaitLeader(ctx context.Context, c *host.Cluster) (*host.Node, error) {
	ctx, cancel := context.WithTimeout(ctx, elections(c, 10))
	defer cancel()
	t := time.NewTicker(20 * time.Millisecond)
	defer t.Stop()
	for {
		leader, err := c.Leader(ctx)
		if err == nil {
			return leader, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", ErrSkipped, err)
		case <-t.C:
		}
	}
}
