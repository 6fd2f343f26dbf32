package run

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/tkcoord/tkcoord/jepsen/nemesis"
)

// faults runs the nemeses in turns until their time is over, then heals the
// cluster and waits until all nodes serve.
func (r *runner) faults(ctx context.Context) error {
	session := nemesis.NewSession(r.cluster, r.timeline, r.s.Seed)
	rng := rand.New(rand.NewPCG(r.s.Seed, 99))
	fctx, cancel := context.WithTimeout(ctx, r.s.Time-warmTime-calmTime)
	defer cancel()
	var errs []error
	for i := 0; i < len(r.s.Nemeses) || len(r.s.Nemeses) > 0 && fctx.Err() == nil; i++ {
		turn := r.turn(fctx, i)
		if turn < leastTurn && i >= len(r.s.Nemeses) {
			_ = pass(fctx, turn) // too short for another fault to show anything
			break
		}
		n, _ := nemesis.Find(r.s.Nemeses[i%len(r.s.Nemeses)])
		bctx := fctx
		if i < len(r.s.Nemeses) {
			bctx = ctx // each has its turn, also if the ones before took their time
		}
		a, err := session.Begin(bctx, n)
		switch {
		case err != nil && bctx.Err() != nil: // it was just about to begin
		case errors.Is(err, nemesis.ErrSkipped):
			r.say.linef("fault", "%v", err)
		case err != nil:
			errs = append(errs, err)
		default:
			r.say.linef("fault", "%s of %v %s", a.Name, a.Targets, a.Detail)
			_ = pass(ctx, min(a.Hold, max(turn-leastTurn, leastTurn)))
			errs = append(errs, a.End(ctx))
		}
		_ = pass(fctx, 300*time.Millisecond+time.Duration(rng.Int64N(int64(900*time.Millisecond))))
	}
	if len(r.s.Nemeses) == 0 {
		errs = append(errs, pass(ctx, r.s.Time-warmTime-calmTime))
	}
	// NB: with ctx, since fctx has ended.
	errs = append(errs, session.Heal(ctx))
	hctx, cancel := context.WithTimeout(ctx, bootTime)
	defer cancel()
	return errors.Join(append(errs, r.cluster.Ensure(hctx))...)
}

// leastTurn is the shortest time that a fault and the pause after it are given.
const leastTurn = 1200 * time.Millisecond

// turn returns how long the i-th fault may take, with the pause after it, so that
// each nemesis has its turn before the time is over.
func (r *runner) turn(ctx context.Context, i int) time.Duration {
	end, _ := ctx.Deadline()
	return max(0, time.Until(end)) / time.Duration(max(1, len(r.s.Nemeses)-i))
}
