package nemesis

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/tkcoord/tkcoord/jepsen/host"
	"github.com/tkcoord/tkcoord/jepsen/netfault"
)

// An ailment is what is wrong with links.
type ailment struct {
	name, about string
	needs       []host.Capability
	draw        func(rng *rand.Rand) netfault.Effect
}

func ailments() []ailment {
	packets := []host.Capability{host.CanPackets}
	return []ailment{
		{"delay", "delay everything", nil, func(rng *rand.Rand) netfault.Effect {
			return netfault.Effect{Delay: between(rng, 10*time.Millisecond, 120*time.Millisecond)}
		}},
		{"jitter", "delay everything by different times", nil, func(rng *rand.Rand) netfault.Effect {
			return netfault.Effect{Delay: between(rng, time.Millisecond, 20*time.Millisecond), Jitter: between(rng, 20*time.Millisecond, 200*time.Millisecond)}
		}},
		{"slow", "carry few bytes per second", nil, func(rng *rand.Rand) netfault.Effect {
			return netfault.Effect{BytesPerSecond: 4<<10 + rng.Int64N(60<<10)}
		}},
		{"loss", "lose packets", packets, func(rng *rand.Rand) netfault.Effect {
			return netfault.Effect{Loss: 0.02 + 0.28*rng.Float64()}
		}},
		{"duplicate", "deliver packets twice", packets, func(rng *rand.Rand) netfault.Effect {
			return netfault.Effect{Duplicate: 0.1 + 0.6*rng.Float64()}
		}},
		{"reorder", "let packets overtake each other", packets, func(rng *rand.Rand) netfault.Effect {
			return netfault.Effect{Reorder: 0.05 + 0.4*rng.Float64(), Behind: between(rng, 2*time.Millisecond, 50*time.Millisecond)}
		}},
	}
}

// links make the network bad without cutting it.
func links() []Nemesis {
	var all []Nemesis
	for _, a := range ailments() {
		all = append(all, Nemesis{
			Name:  "link-" + a.name,
			About: a.about + ", on some directed links or on all",
			Needs: a.needs,
			Start: func(_ context.Context, c *host.Cluster, rng *rand.Rand) (Fault, error) { return ail(c, rng, a) },
		})
	}
	return all
}

// ail draws the links and what is wrong with them. Each directed link between
// nodes is bad with a probability of a third, two thirds or one; those of edges
// likewise.
func ail(c *host.Cluster, rng *rand.Rand, a ailment) (Fault, error) {
	bad := make(map[[2]string]bool)
	share := 1 + rng.IntN(3)
	hosts := slices.Concat(names(c.Nodes()), names(c.Edges()))
	for i, n := range names(c.Nodes()) {
		for _, x := range hosts[i+1:] {
			for _, l := range [][2]string{{x, n}, {n, x}} {
				if rng.IntN(3) < share {
					bad[l] = true
				}
			}
		}
	}
	if len(bad) == 0 {
		return Fault{}, fmt.Errorf("%w: no links were drawn", ErrSkipped)
	}
	effect := a.draw(rng)
	remove := c.Net.Add(func(f netfault.Flow) netfault.Effect {
		if bad[[2]string{f.From, f.To}] {
			return effect
		}
		return netfault.Effect{}
	})
	return Fault{
		Targets: touched(bad), Detail: fmt.Sprintf("%s on %d directed links", describe(effect), len(bad)),
		Hold: between(rng, elections(c, 2), elections(c, 2)+4*time.Second),
		Stop: func(context.Context) error {
			remove()
			return nil
		},
	}, nil
}

func touched(links map[[2]string]bool) []string {
	hosts := make(map[string]bool)
	for l := range links {
		hosts[l[0]], hosts[l[1]] = true, true
	}
	return sortedKeys(hosts)
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// describe says what an effect is, without what it is not.
func describe(e netfault.Effect) string {
	ms := func(d time.Duration) string { return d.Round(time.Millisecond).String() }
	switch {
	case e.Jitter > 0:
		return fmt.Sprintf("%s to %s late", ms(e.Delay), ms(e.Delay+e.Jitter))
	case e.Delay > 0:
		return ms(e.Delay) + " late"
	case e.BytesPerSecond > 0:
		return fmt.Sprintf("%d bytes/s", e.BytesPerSecond)
	case e.Loss > 0:
		return fmt.Sprintf("%.0f%% lost", 100*e.Loss)
	case e.Duplicate > 0:
		return fmt.Sprintf("%.0f%% twice", 100*e.Duplicate)
	default:
		return fmt.Sprintf("%.0f%% held back for %s", 100*e.Reorder, ms(e.Behind))
	}
}
