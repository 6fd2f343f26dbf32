package nemesis

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/tkcoord/tkcoord/jepsen/host"
	"github.com/tkcoord/tkcoord/jepsen/netfault"
)

// A grudge is the set of directed links that are cut: grudge[a][b] is set if b
// does not hear a.
type grudge map[string]map[string]bool

func (g grudge) cut(from, to string) {
	if g[from] == nil {
		g[from] = make(map[string]bool)
	}
	g[from][to] = true
}

// cutAll cuts both directions between the hosts of two sets.
func (g grudge) cutAll(as, bs []string) {
	for _, a := range as {
		for _, b := range bs {
			g.cut(a, b)
			g.cut(b, a)
		}
	}
}

// A split draws a grudge among nodes, which are in random order. It may not
// know what to do with few nodes.
type split struct {
	name, about string
	least       int // nodes
	draw        func(nodes []string) grudge
}

func splits() []split {
	return []split{
		{"one", "a node from the others", 2, func(n []string) grudge { return apart(n[:1], n[1:]) }},
		{"halves", "a majority from the rest", 2, func(n []string) grudge { return apart(n[:len(n)/2+1], n[len(n)/2+1:]) }},
		{"ring", "so that every node hears a majority, and no two the same one", 3, ring},
		{"bridge", "two halves that only one node hears both of", 3, bridge},
		{"deaf", "a node that hears nobody, and is heard", 2, func(n []string) grudge {
			g := make(grudge)
			for _, other := range n[1:] {
				g.cut(other, n[0])
			}
			return g
		}},
		{"mute", "a node that nobody hears, and that hears all", 2, func(n []string) grudge {
			g := make(grudge)
			for _, other := range n[1:] {
				g.cut(n[0], other)
			}
			return g
		}},
	}
}

func apart(as, bs []string) grudge {
	g := make(grudge)
	g.cutAll(as, bs)
	return g
}

// ring lets each node hear a majority of neighbours on a circle, itself in the
// middle. With an even window the links between some are one-way.
func ring(nodes []string) grudge {
	n, g := len(nodes), make(grudge)
	window := n/2 + 1
	for i := range nodes {
		for k := window; k < n; k++ {
			g.cut(nodes[(i-(window-1)/2+k+n)%n], nodes[i])
		}
	}
	return g
}

func bridge(nodes []string) grudge {
	half := (len(nodes) - 1) / 2
	return apart(nodes[1:1+half], nodes[1+half:])
}

// partitions cut nodes from each other, or edges from nodes.
func partitions() []Nemesis {
	var all []Nemesis
	for _, s := range splits() {
		all = append(all, Nemesis{
			Name:   "partition-" + s.name,
			About:  "cut " + s.about,
			Breaks: true, // until the next election, or for as long as it lasts
			Start: func(_ context.Context, c *host.Cluster, rng *rand.Rand) (Fault, error) {
				return cutNodes(c, rng, s, names(shuffled(c, rng)), anyClass)
			},
		})
	}
	return append(all, Nemesis{
		Name:   "partition-leader",
		About:  "cut the leader from the others",
		Breaks: true,
		Start: func(ctx context.Context, c *host.Cluster, rng *rand.Rand) (Fault, error) {
			leader, err := awaitLeader(ctx, c)
			if err != nil {
				return Fault{}, err
			}
			return cutNodes(c, rng, splits()[0], leaderFirst(leader, names(shuffled(c, rng))), anyClass)
		},
	}, Nemesis{
		Name:  "partition-gossip",
		About: "cut a majority from the rest for gossip only, so that nodes think each other dead which are not",
		Start: func(_ context.Context, c *host.Cluster, rng *rand.Rand) (Fault, error) {
			return cutNodes(c, rng, splits()[1], names(shuffled(c, rng)), func(c netfault.Class) bool { return c == netfault.Gossip })
		},
	}, Nemesis{
		Name:  "partition-clients",
		About: "cut edges from all nodes, or their requests or their answers only",
		Start: cutClients,
	})
}

func leaderFirst(leader *host.Node, nodes []string) []string {
	ordered := []string{leader.Name()}
	for _, n := range nodes {
		if n != leader.Name() {
			ordered = append(ordered, n)
		}
	}
	return ordered
}

func anyClass(netfault.Class) bool { return true }

func cutNodes(c *host.Cluster, rng *rand.Rand, s split, nodes []string, of func(netfault.Class) bool) (Fault, error) {
	if len(nodes) < s.least {
		return Fault{}, fmt.Errorf("%w: %d nodes, needs %d", ErrSkipped, len(nodes), s.least)
	}
	g := s.draw(nodes)
	f := cutOff(c, g, of)
	f.Targets, f.Hold = nodes, between(rng, elections(c, 2), elections(c, 2)+4*time.Second)
	return f, nil
}

// cutOff cuts what a grudge says.
func cutOff(c *host.Cluster, g grudge, of func(netfault.Class) bool) Fault {
	remove := c.Net.Add(func(f netfault.Flow) netfault.Effect {
		return netfault.Effect{Cut: g[f.From][f.To] && of(f.Class)}
	})
	return Fault{Detail: g.String(), Stop: func(context.Context) error {
		remove()
		return nil
	}}
}

func cutClients(_ context.Context, c *host.Cluster, rng *rand.Rand) (Fault, error) {
	chosen, err := someEdges(c, rng)
	if err != nil {
		return Fault{}, err
	}
	edges, nodes, g := names(chosen), names(c.Nodes()), make(grudge)
	way := rng.IntN(3)
	for _, e := range edges {
		for _, n := range nodes {
			if way != 1 {
				g.cut(e, n)
			}
			if way != 2 {
				g.cut(n, e)
			}
		}
	}
	f := cutOff(c, g, anyClass)
	f.Detail = [...]string{"both ways", "answers", "requests"}[way]
	f.Targets, f.Hold = edges, between(rng, c.Config().MaxLease/2, c.Config().MaxLease*2)
	return f, nil
}

// String lists what is cut: "n1|n2" is both ways, "n1>n2" means that n2 does not
// hear n1.
func (g grudge) String() string {
	var parts []string
	for _, from := range sortedKeys(g) {
		for _, to := range sortedKeys(g[from]) {
			switch back := g[to][from]; {
			case !back:
				parts = append(parts, from+">"+to)
			case from < to:
				parts = append(parts, from+"|"+to)
			}
		}
	}
	return strings.Join(parts, " ")
}
