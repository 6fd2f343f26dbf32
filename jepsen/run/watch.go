package run

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tkcoord/tkcoord/jepsen/history"
)

// watch keeps snapshots before nodes drop them, and both clocks of the machine on
// one line, and says now and then how the run is getting on.
func (r *runner) watch(ctx context.Context) {
	t := time.NewTicker(100 * time.Millisecond)
	defer t.Stop()
	for i := 1; ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if err := r.keepSnapshots(); err != nil {
			r.say.linef("trouble", "%v", err)
		}
		if i%10 == 0 {
			r.meta.Wall = append(r.meta.Wall, history.PairNow())
		}
		if i%20 == 0 {
			r.say.linef("...", "%s", r.status(ctx))
		}
	}
}

func (r *runner) keepSnapshots() error {
	var errs []error
	for _, n := range r.cluster.Nodes() {
		errs = append(errs, r.archive.Collect(n.Name(), n.Data))
	}
	return errors.Join(errs...)
}

// status says who leads, and how far.
func (r *runner) status(ctx context.Context) string {
	leader, err := r.cluster.Leader(ctx)
	if err != nil {
		return err.Error()
	}
	s, err := leader.Status(ctx)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%s leads term %d, %d entries, %d budgets", leader.Name(), s.Term, s.CommitIndex, s.Budgets)
}
