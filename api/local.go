package api

import (
	"context"
	"time"

	"github.com/tkcoord/tkcoord/api/throttlekitv1"
	"github.com/tkcoord/tkcoord/policy"
	"golang.org/x/sync/errgroup"
)

const (
	// inTurn is how long the keys of a batch are checked one after the other. From
	// credits in hand that is enough for thousands. Once it has passed, some key waited
	// for the log, and the rest do so together.
	inTurn = time.Millisecond
	// atOnce bounds how many of them wait at once. They share entries of the log, so
	// 4096 keys without credits take as long as 16 entries, and not as 4096.
	atOnce = 256
)

// checkHere has keys checked by this node's tier. Equal keys are charged in their
// order. The first error ends it: what was charged until then stays charged.
func checkHere(ctx context.Context, tier localTier, p *policy.Policy, keys []string, cost int64) ([]*throttlekitv1.Decision, error) {
	all := make([]*throttlekitv1.Decision, len(keys))
	check := func(ctx context.Context, i int) error {
		d, err := tier.Check(ctx, p, keys[i], cost)
		if err == nil {
			all[i] = wireDecision(&d)
		}
		return err
	}
	begin := time.Now()
	for i := range keys {
		if i > 0 && time.Since(begin) > inTurn {
			return all, together(ctx, keys, i, check)
		}
		if err := check(ctx, i); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// together checks the keys from a place on, atOnce of them at a time. A key that is
// listed again waits for its turn, since it is to see what it was charged before.
func together(ctx context.Context, keys []string, from int, check func(ctx context.Context, i int) error) error {
	again := make([]int, len(keys)) // the next place of the same key, 0 if there is none
	last := make(map[string]int, len(keys)-from)
	first := make([]int, 0, len(keys)-from)
	for i := from; i < len(keys); i++ {
		if before, ok := last[keys[i]]; ok {
			again[before] = i
		} else {
			first = append(first, i)
		}
		last[keys[i]] = i
	}
	work, ending := errgroup.WithContext(ctx)
	work.SetLimit(atOnce)
	for _, i := range first {
		if ending.Err() != nil {
			break // there is an error, or nobody waits any more
		}
		work.Go(func() error {
			for {
				if err := check(ending, i); err != nil {
					return err
				}
				if i = again[i]; i == 0 {
					return nil
				}
			}
		})
	}
	if err := work.Wait(); err != nil {
		return err
	}
	return context.Cause(ctx)
}
