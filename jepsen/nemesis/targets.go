package nemesis

import (
	"context"
	"fmt"
	"math/rand/v2"

	"github.com/tkcoord/tkcoord/jepsen/host"
)

// A choice picks the nodes that a fault hits.
type choice struct {
	name   string
	about  string
	breaks bool // without them the cluster has no leader
	pick   func(ctx context.Context, c *host.Cluster, rng *rand.Rand) ([]*host.Node, error)
}

// shuffled returns all nodes in random order.
func shuffled(c *host.Cluster, rng *rand.Rand) []*host.Node {
	all := append([]*host.Node(nil), c.Nodes()...)
	rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

func oneNode() choice {
	return choice{"one", "a node", false, func(_ context.Context, c *host.Cluster, rng *rand.Rand) ([]*host.Node, error) {
		return shuffled(c, rng)[:1], nil
	}}
}

// theLeader picks the node that leads now. While none leads there is nothing to
// hit: another node would be another fault.
func theLeader() choice {
	return choice{"leader", "the leader", true, func(ctx context.Context, c *host.Cluster, _ *rand.Rand) ([]*host.Node, error) {
		leader, err := awaitLeader(ctx, c)
		return []*host.Node{leader}, err
	}}
}

// minority picks as many nodes as a cluster must be able to do without.
func minority() choice {
	return choice{"minority", "as many nodes as the cluster can do without", false, func(_ context.Context, c *host.Cluster, rng *rand.Rand) ([]*host.Node, error) {
		n := (len(c.Nodes()) - 1) / 2
		if n == 0 {
			return nil, fmt.Errorf("%w: %d nodes have no minority", ErrSkipped, len(c.Nodes()))
		}
		return shuffled(c, rng)[:n], nil
	}}
}

func majority() choice {
	return choice{"majority", "a majority", true, func(_ context.Context, c *host.Cluster, rng *rand.Rand) ([]*host.Node, error) {
		return shuffled(c, rng)[:len(c.Nodes())/2+1], nil
	}}
}

func allNodes() choice {
	return choice{"all", "all nodes", true, func(_ context.Context, c *host.Cluster, rng *rand.Rand) ([]*host.Node, error) {
		return shuffled(c, rng), nil
	}}
}

// someNodes picks any number of nodes but none.
func someNodes() choice {
	return choice{"some", "some nodes", true, func(_ context.Context, c *host.Cluster, rng *rand.Rand) ([]*host.Node, error) {
		return shuffled(c, rng)[:1+rng.IntN(len(c.Nodes()))], nil
	}}
}

// someEdges picks any number of edges but none, and not all if there are several.
func someEdges(c *host.Cluster, rng *rand.Rand) ([]*host.Edge, error) {
	all := append([]*host.Edge(nil), c.Edges()...)
	if len(all) == 0 {
		return nil, fmt.Errorf("%w: the cluster has no edges", ErrSkipped)
	}
	rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all[:1+rng.IntN(max(1, len(all)-1))], nil // NB: without anybody left the fault may hit no operation
}

// named is a host of either kind.
type named interface{ Name() string }

func names[H named](hosts []H) []string {
	out := make([]string, len(hosts))
	for i, h := range hosts {
		out[i] = h.Name()
	}
	return out
}

// processes are what nodes or edges run.
func processes[H any](hosts []H, of func(H) *host.Process) []*host.Process {
	out := make([]*host.Process, len(hosts))
	for i, h := range hosts {
		out[i] = of(h)
	}
	return out
}

func ofNode(n *host.Node) *host.Process { return n.Process }
func ofEdge(e *host.Edge) *host.Process { return e.Process }
