package run

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"github.com/tkcoord/tkcoord/jepsen/history"
	"github.com/tkcoord/tkcoord/jepsen/host"
)

// phases goes through the run. Whatever happens, the faults are taken back.
func (r *runner) phases(ctx context.Context) error {
	r.meta.Wall = append(r.meta.Wall, history.PairNow())
	var watching sync.WaitGroup
	wctx, stop := context.WithCancel(ctx)
	watching.Go(func() { r.watch(wctx) })
	err := r.traffic(ctx)
	stop()
	watching.Wait()
	if err != nil {
		return err
	}
	r.meta.Phases.Quiet = history.Now()
	if err := r.end(ctx); err != nil {
		return err
	}
	r.stop(ctx)
	r.meta.Phases.End = history.Now()
	r.meta.Wall = append(r.meta.Wall, history.PairNow())
	return errors.Join(ctx.Err(), r.keepSnapshots())
}

// stop ends all nodes, and notes who ended before or would not end now. One that
// would not prints its stacks first.
func (r *runner) stop(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, stopTime)
	defer cancel()
	stuck := time.AfterFunc(stopTime/2, func() { r.stacks(func(*host.Node) bool { return true }) })
	defer stuck.Stop()
	if err := r.cluster.Stop(ctx); err != nil {
		r.meta.Died = append(r.meta.Died, err.Error())
	}
	for _, e := range r.cluster.Died() {
		r.meta.Died = append(r.meta.Died, fmt.Sprintf("%s (%s) ended without having been told to", e.Name, e.State))
	}
}

// traffic is the part of the run with clients.
func (r *runner) traffic(ctx context.Context) error {
	ph := &r.meta.Phases
	ph.Boot = history.Now()
	r.say.linef("boot", "%d nodes, %s, seed %d", r.s.Nodes, r.s.Workload, r.s.Seed)
	bctx, cancel := context.WithTimeout(ctx, bootTime)
	defer cancel()
	if err := r.cluster.Start(bctx); err != nil {
		return err
	}
	if err := r.startClients(bctx); err != nil {
		return err
	}
	ph.Warm = history.Now()
	if err := r.warm(ctx); err != nil {
		return err
	}
	ph.Faults = history.Now()
	if err := r.faults(ctx); err != nil {
		return err
	}
	ph.Healed = history.Now()
	r.say.linef("healed", "all faults are taken back")
	if err := pass(ctx, calmTime); err != nil {
		return err
	}
	var ended sync.WaitGroup // clients give back what they hold
	sctx, cancel := context.WithTimeout(ctx, stopTime)
	defer cancel()
	errs := make([]error, len(r.cluster.Edges()))
	for i, e := range r.cluster.Edges() {
		ended.Go(func() {
			if err := e.Stop(sctx); !errors.Is(err, host.ErrNotRunning) {
				errs[i] = err
			}
		})
	}
	ended.Wait()
	return errors.Join(errs...)
}

// pass lets time go by.
func pass(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// startClients starts the programs, one on each edge host.
func (r *runner) startClients(ctx context.Context) error {
	var addresses []string
	for _, n := range r.cluster.Nodes() {
		addresses = append(addresses, n.Calls)
	}
	for i, spec := range r.specs(addresses) {
		e := r.cluster.Edges()[i]
		spec.FaultFile = e.Seam.Path()
		if r.s.TLS {
			files, err := r.cluster.ClientTLS(e.Name())
			if err != nil {
				return err
			}
			spec.TLS = files
		}
		path := filepath.Join(e.Dir, "spec.json")
		if err := spec.Write(path); err != nil {
			return err
		}
		e.Run(func(life int) []string {
			return []string{r.Client, "edge", "--spec", path, "--life", strconv.Itoa(life)}
		})
		if err := e.Start(); err != nil {
			return err
		}
	}
	for _, e := range r.cluster.Edges() {
		if _, err := e.AwaitReady(ctx); err != nil {
			return err
		}
	}
	return nil
}

// warm lets the traffic run without faults, and fails if there is none: faults
// on an idle cluster show nothing.
func (r *runner) warm(ctx context.Context) error {
	before, err := r.committed(ctx)
	if err != nil {
		return err
	}
	if err := pass(ctx, warmTime); err != nil {
		return err
	}
	after, err := r.committed(ctx)
	if err != nil {
		return err
	}
	rate := float64(after-before) / warmTime.Seconds()
	r.say.linef("warm", "%.0f entries/s", rate)
	if least := r.meta.Need.WarmRate / 2; rate < least {
		return fmt.Errorf("the log grows by %.1f entries/s before the first fault, want at least %.1f", rate, least)
	}
	return nil
}

// committed returns the commit index of the leader. It waits for one: on a
// crowded machine leaders change without a fault.
func (r *runner) committed(ctx context.Context) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, leaderTime)
	defer cancel()
	for {
		leader, err := r.cluster.Leader(ctx)
		if err == nil {
			var s *tkcoordv1.StatusResponse
			if s, err = leader.Status(ctx); err == nil {
				return s.CommitIndex, nil
			}
		}
		if pass(ctx, retryEvery) != nil {
			return 0, err
		}
	}
}
