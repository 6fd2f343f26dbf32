package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/tkcoord/tkcoord/jepsen/history"
)

// A round is one run of all clients.
type round struct {
	dir     string
	tools   *tools
	kills   int
	clients []*client
	skipped []string

	cluster  *cluster
	verdicts []*verdict
	tallies  []*tally
	outages  []outage
	notes    []string // of what was done to the cluster
	problems []string // of no suite
}

// Bounds of the phases. A machine that is busy with other things needs some of it.
const (
	startTime    = 40 * time.Second
	contractTime = 60 * time.Second
	electTime    = 20 * time.Second
	trafficTime  = 30 * time.Second
	coverTime    = 45 * time.Second
	drainTime    = 40 * time.Second
	stopTime     = 15 * time.Second
)

// run does the round. Everything that it started has ended when it returns.
func (r *round) run(ctx context.Context) (err error) {
	r.cluster, err = openCluster(r.tools.tkcoord, r.dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.cluster.close()) }()
	if err := bounded(ctx, startTime, func(ctx context.Context) error { return r.cluster.start(ctx, "interop/policies.yaml") }); err != nil {
		return fmt.Errorf("start the cluster: %w", err)
	}
	fmt.Println("three nodes serve; every client on its own")
	if err := bounded(ctx, contractTime, r.contract); err != nil {
		return err
	}
	if r.kills > 0 {
		fmt.Println("all clients, while leaders are killed")
		if err := r.failover(ctx); err != nil {
			return err
		}
	}
	err = bounded(ctx, stopTime, r.cluster.stop)
	r.problems = append(r.problems, r.cluster.trouble()...)
	return err
}

func bounded(ctx context.Context, most time.Duration, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, most, fmt.Errorf("not done within %v", most))
	defer cancel()
	return f(ctx)
}

// suite makes one run of the i-th client.
func (r *round) suite(i int, mode string, leader int, stop <-chan struct{}) (*suite, error) {
	c := r.clients[i]
	j := job{
		Mode: mode, Secret: secret, Guarded: r.cluster.guarded().calls,
		Targets: r.cluster.addresses(leader + i), // so that some begin with the leader and some do not
	}
	return newSuite(c, r.tools, j, filepath.Join(r.dir, c.name+"-"+mode+".log"), stop)
}

// contract runs every suite once, all at the same time: their keys differ.
func (r *round) contract(ctx context.Context) error {
	leader, term, err := r.cluster.awaitLeader(ctx, 0)
	if err != nil {
		return err
	}
	r.verdicts = make([]*verdict, len(r.clients), 2*len(r.clients))
	var all sync.WaitGroup
	for i := range r.clients {
		s, err := r.suite(i, contract, leader, nil)
		if err != nil {
			return err
		}
		all.Go(func() {
			err := s.client.run(ctx, s)
			r.verdicts[i] = s.judge(err, nil)
		})
	}
	all.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	_, now, err := r.cluster.awaitLeader(ctx, 0)
	for _, v := range r.verdicts {
		if v.interrupted > 0 && now == term {
			v.fail("%d calls had no answer, and there was no election", v.interrupted)
		}
	}
	if now != term {
		r.note("the cluster elected by itself, %d times: a busy machine", now-term)
	}
	return err
}

// failover runs all suites together while leaders are killed and come back.
func (r *round) failover(ctx context.Context) error {
	leader, _, err := r.cluster.awaitLeader(ctx, 0)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := make(chan struct{})
	suites := make([]*suite, len(r.clients))
	errs := make([]error, len(r.clients))
	for i := range r.clients {
		if suites[i], err = r.suite(i, failover, leader, stop); err != nil {
			return err
		}
	}
	var all sync.WaitGroup
	ended := make(chan struct{})
	for i, s := range suites {
		all.Go(func() {
			if errs[i] = s.client.run(ctx, s); errs[i] != nil {
				cancel(fmt.Errorf("%s: %w", s.client.title, errs[i])) // the others cannot make up for it
			}
		})
	}
	go func() { all.Wait(); close(ended) }()
	err = r.attack(ctx, suites)
	close(stop)
	if err == nil {
		select {
		case <-ended:
		case <-time.After(drainTime):
			r.problems = append(r.problems, fmt.Sprintf("suites did not end within %v", drainTime))
		}
	}
	cause := context.Cause(ctx)
	cancel(nil)
	<-ended
	if err != nil {
		return errors.Join(err, cause) // half of a verdict says nothing
	}
	var calls []*call
	for i, s := range suites {
		v := s.judge(errs[i], r.outages)
		r.verdicts = append(r.verdicts, v)
		calls = append(calls, s.calls...)
	}
	r.tallies = tallies(calls)
	return nil
}

// attack kills leaders and starts them again, with traffic before, between and
// after.
func (r *round) attack(ctx context.Context, suites []*suite) error {
	if err := traffic(ctx, suites); err != nil {
		return fmt.Errorf("before a leader was killed: %w", err)
	}
	for range r.kills {
		leader, term, err := r.cluster.awaitLeader(ctx, 0)
		if err != nil {
			return err
		}
		n := r.cluster.nodes[leader]
		killed := history.Now()
		if err := n.Kill(); err != nil {
			return err
		}
		var next int
		err = bounded(ctx, electTime, func(ctx context.Context) (err error) { next, _, err = r.cluster.awaitLeader(ctx, term); return err })
		if err != nil {
			return fmt.Errorf("no leader after %s was killed: %w", n.Name(), err)
		}
		elected := history.Now()
		r.outages = append(r.outages, outage{int64(killed), int64(elected), never})
		r.note("killed the leader %s; %s led after %.2f s", n.Name(), r.cluster.nodes[next].Name(), elected.Sub(killed).Seconds())
		if err := traffic(ctx, suites); err != nil {
			return fmt.Errorf("while %s was gone: %w", n.Name(), err)
		}
		started := history.Now()
		if err := n.Start(); err != nil {
			return err
		}
		err = bounded(ctx, startTime, func(ctx context.Context) error { _, err := n.AwaitReady(ctx); return err })
		if err != nil {
			return err
		}
		back := history.Now()
		r.outages[len(r.outages)-1].back = int64(back)
		r.note("started %s again; it served after %.2f s", n.Name(), back.Sub(started).Seconds())
		if err := traffic(ctx, suites); err != nil {
			return fmt.Errorf("after %s came back: %w", n.Name(), err)
		}
	}
	return r.covered(ctx, suites)
}

func (r *round) note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	fmt.Println(text)
	r.notes = append(r.notes, text)
}

// more is how many answers every client gets between two things that happen to the
// cluster.
const more = 40

// traffic returns when every suite has had more answers.
func traffic(ctx context.Context, suites []*suite) error {
	ctx, cancel := context.WithTimeout(ctx, trafficTime)
	defer cancel()
	for _, s := range suites {
		n, _ := s.answered()
		want := n + more
		if s.client.name == "grpcurl" {
			want = n + 4 // each call is a process
		}
		for n < want {
			var moved <-chan struct{}
			if n, moved = s.answered(); n >= want {
				break
			}
			select {
			case <-moved:
			case <-ctx.Done():
				return fmt.Errorf("%s had no answers: %w", s.client.title, context.Cause(ctx))
			}
		}
	}
	return nil
}

// covered returns when every suite has gone through all that it does since the first
// leader was killed, or when it is time; what is missing then is found by the verdict.
func (r *round) covered(ctx context.Context, suites []*suite) error {
	ctx, cancel := context.WithTimeout(ctx, coverTime)
	defer cancel()
	t := time.NewTicker(300 * time.Millisecond)
	defer t.Stop()
	for _, s := range suites {
		for !s.covered(r.outages) {
			select {
			case <-t.C:
			case <-ctx.Done():
				return nil
			}
		}
	}
	return nil
}
