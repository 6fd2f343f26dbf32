package nemesis

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/tkcoord/tkcoord/jepsen/host"
)

// Combine returns a nemesis that does what all parts do, at the same time. They
// are stopped in the opposite order, and together last as long as the longest.
func Combine(parts ...Nemesis) Nemesis {
	if len(parts) == 1 {
		return parts[0]
	}
	var all Nemesis
	var titles, abouts []string
	for _, p := range parts {
		titles, abouts = append(titles, p.Name), append(abouts, p.About)
		all.Needs, all.Excuses = append(all.Needs, p.Needs...), append(all.Excuses, p.Excuses...)
	}
	all.Name, all.About = strings.Join(titles, "+"), strings.Join(abouts, "; ")
	all.Start = func(ctx context.Context, c *host.Cluster, rng *rand.Rand) (Fault, error) {
		return startParts(ctx, c, rng, parts)
	}
	return all
}

func startParts(ctx context.Context, c *host.Cluster, rng *rand.Rand, parts []Nemesis) (Fault, error) {
	var all Fault
	var stops []func(context.Context) error
	all.Stop = func(ctx context.Context) error {
		var errs []error
		for _, stop := range slices.Backward(stops) {
			errs = append(errs, stop(ctx))
		}
		return errors.Join(errs...)
	}
	var details []string
	for _, p := range parts {
		f, err := p.Start(ctx, c, rng)
		if f.Stop != nil {
			stops = append(stops, f.Stop)
		}
		if err != nil {
			return Fault{}, errors.Join(fmt.Errorf("%s: %w", p.Name, err), all.Stop(ctx))
		}
		all.Targets = append(all.Targets, f.Targets...)
		all.Hold = max(all.Hold, f.Hold)
		details = append(details, strings.TrimSpace(p.Name+" of "+strings.Join(f.Targets, ",")+" "+f.Detail))
	}
	slices.Sort(all.Targets)
	all.Targets = slices.Compact(all.Targets)
	all.Detail = strings.Join(details, "; ")
	return all, nil
}

// Draw draws count nemeses from a list, each a combination of 1 to most of
// different families. Equal seeds draw equal lists. No single nemesis is drawn
// again before all have been drawn, except where a combination has no room for
// those that are left, so that a long run misses none.
func Draw(seed uint64, from []Nemesis, count, most int) []Nemesis {
	if len(from) == 0 {
		return nil
	}
	rng := rand.New(rand.NewPCG(seed, 0))
	var deck []Nemesis
	var drawn []Nemesis
	for range count {
		var parts []Nemesis
		for range 1 + rng.IntN(most) {
			i := nextFitting(deck, parts)
			if i < 0 {
				deck = append(deck, shuffledList(from, rng)...)
				i = nextFitting(deck, parts)
			}
			if i < 0 {
				break // nothing fits any more
			}
			parts = append(parts, deck[i])
			deck = slices.Delete(deck, i, i+1)
		}
		slices.SortStableFunc(parts, func(a, b Nemesis) int { return order(a.Breaks, b.Breaks) })
		drawn = append(drawn, Combine(parts...))
	}
	return drawn
}

// nextFitting returns the first of a deck that can be combined with parts, -1 if
// none can.
func nextFitting(deck, parts []Nemesis) int {
	return slices.IndexFunc(deck, func(n Nemesis) bool {
		return !slices.ContainsFunc(parts, func(p Nemesis) bool { return n.Alone || p.Alone || n.Family() == p.Family() })
	})
}

func shuffledList(from []Nemesis, rng *rand.Rand) []Nemesis {
	fresh := slices.Clone(from)
	rng.Shuffle(len(fresh), func(i, j int) { fresh[i], fresh[j] = fresh[j], fresh[i] })
	return fresh
}

// order puts false before true.
func order(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	default:
		return 1
	}
}
