package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/pflag"
	"github.com/tkcoord/tkcoord/edge"
	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/policy"
)

// demoOptions describe the fleet of edges that a demo runs.
type demoOptions struct {
	on         bool
	edges      int
	keys       int
	skew       float64
	rate       int
	policy     string
	killLeader time.Duration
	duration   time.Duration
}

func defaultDemoOptions() demoOptions {
	return demoOptions{edges: 10, keys: 100, skew: 1.1, rate: 2000}
}

func (o *demoOptions) register(f *pflag.FlagSet) {
	f.BoolVar(&o.on, "demo", false, "send traffic from a fleet of edges and show what becomes of it")
	f.IntVar(&o.edges, "edges", o.edges, "with --demo: `number` of edges")
	f.IntVar(&o.keys, "keys", o.keys, "with --demo: `number` of keys")
	f.Float64Var(&o.skew, "skew", o.skew, "with --demo: Zipf exponent of the keys' popularity, above 1")
	f.IntVar(&o.rate, "rate", o.rate, "with --demo: requests per second of each edge")
	f.StringVar(&o.policy, "demo-policy", "", "with --demo: `name` of the policy; the default is firehose, or the first one that edges can lease")
	f.DurationVar(&o.killLeader, "kill-leader", 0, "with --demo: kill the leader each time so long has passed, and start it again")
	f.DurationVar(&o.duration, "for", 0, "with --demo: stop after so long; 0 runs until Ctrl-C")
}

func (o *demoOptions) validate(nodes int) error {
	var errs []error
	want := func(ok bool, flag string, value any, text string) {
		if !ok {
			errs = append(errs, fmt.Errorf("--%s: got %v, want %s", flag, value, text))
		}
	}
	want(o.edges >= 1 && o.edges <= 1000, "edges", o.edges, "1 to 1000")
	want(o.keys >= 1 && o.keys <= 50_000, "keys", o.keys, "1 to 50000")
	want(o.skew > 1 && o.skew <= 10, "skew", o.skew, "above 1, to 10")
	want(o.rate >= 1 && o.rate <= 1_000_000, "rate", o.rate, "1 to 1000000")
	want(o.killLeader == 0 || o.killLeader >= time.Second, "kill-leader", o.killLeader, "0 or at least 1s")
	want(o.killLeader == 0 || nodes > 1, "kill-leader", o.killLeader, "0 with a single node: there would be nobody left")
	want(o.duration >= 0, "for", o.duration, "0 or more")
	return errors.Join(errs...)
}

// A demo is a fleet of edges in this process, and what they did.
type demo struct {
	opts    *demoOptions
	cluster *devCluster
	policy  policy.Policy
	edges   []*edge.Edge
	tally   tally
	kills   atomic.Int64
}

// A tally counts every admission by window, independently of the edges' and the
// cluster's own counters: what the limit is checked against.
type tally struct {
	admitted, denied, lost atomic.Int64 // lost: denied for lack of a coordinator

	mu    sync.Mutex // guards the rest
	byKey map[tallied]int64
	worst int64 // largest admitted − limit
}

type tallied struct {
	key   string
	start escrow.Millis
}

// runDemo sends traffic until ctx ends, and shows it.
func runDemo(ctx context.Context, o *demoOptions, c *devCluster, policies []policy.Policy, out io.Writer) (err error) {
	if o.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.duration)
		defer cancel()
	}
	p, err := demoPolicy(o.policy, policies)
	if err != nil {
		return err
	}
	d := &demo{opts: o, cluster: c, policy: p}
	d.tally.byKey, d.tally.worst = make(map[tallied]int64), -int64(p.Limit)
	defer func() {
		for _, e := range d.edges {
			err = errors.Join(err, e.Close())
		}
	}()
	for i := range o.edges {
		e, err := d.open(ctx, i)
		if err != nil {
			return err
		}
		d.edges = append(d.edges, e)
	}
	work, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	for _, e := range d.edges {
		running.Go(func() { d.drive(work, e) })
	}
	if o.killLeader > 0 {
		running.Go(func() { d.killLeaders(work) })
	}
	d.show(ctx, out)
	stop()
	running.Wait()
	return nil
}

// demoPolicy chooses the policy of the traffic: the named one, else firehose of
// the samples, else the first that edges can have credits of.
func demoPolicy(name string, policies []policy.Policy) (policy.Policy, error) {
	if name == "" && slices.ContainsFunc(policies, func(p policy.Policy) bool { return p.Name == "firehose" && leasable(&p) }) {
		name = "firehose"
	}
	for _, p := range policies {
		switch {
		case p.Name == name && !leasable(&p):
			return policy.Policy{}, fmt.Errorf("--demo-policy: %q is %s, want a policy whose credits edges can lease: fixedWindow or quota", name, describePolicy(&p))
		case p.Name == name || name == "" && leasable(&p):
			return p, nil
		}
	}
	if name == "" {
		return policy.Policy{}, errors.New("--demo: there is no policy whose credits edges can lease: fixedWindow or quota")
	}
	return policy.Policy{}, fmt.Errorf("--demo-policy: no policy %q", name)
}

// demoPatience is how long a request without credits waits for a leader before
// the fail policy denies it: longer than an election on a busy machine.
const demoPatience = 10 * time.Second

func (d *demo) open(ctx context.Context, i int) (*edge.Edge, error) {
	cfg := edge.DefaultConfig()
	cfg.EdgeID = fmt.Sprintf("demo-%03d-%d", i, os.Getpid())
	for _, m := range d.cluster.members {
		cfg.Addresses = append(cfg.Addresses, m.addresses().GRPC)
	}
	cfg.Patience = demoPatience
	cfg.Logger = slog.New(slog.DiscardHandler) // the view says it all
	cfg.OnAdmit = func(_, key string, n int64, w escrow.Window, _ clock.Nanos) {
		d.tally.admit(key, n, w, int64(d.policy.Limit))
	}
	return edge.Open(ctx, cfg)
}

func (t *tally) admit(key string, n int64, w escrow.Window, limit int64) {
	t.admitted.Add(n)
	t.mu.Lock()
	defer t.mu.Unlock()
	at := tallied{key, w.Start}
	t.byKey[at] += n
	t.worst = max(t.worst, t.byKey[at]-limit)
	if len(t.byKey) > 1_000_000 { // windows long over
		clear(t.byKey)
	}
}

// drive sends one edge's requests at the configured rate. A request that finds
// no credits waits for one exchange.
func (d *demo) drive(ctx context.Context, e *edge.Edge) {
	l := e.Limiter(d.policy.Name)
	rng := rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	zipf := rand.NewZipf(rng, d.opts.skew, 1, uint64(d.opts.keys-1))
	const slice = 5 * time.Millisecond
	t := time.NewTicker(slice)
	defer t.Stop()
	owed := 0.0
	for last := time.Now(); ; {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			owed = min(owed+now.Sub(last).Seconds()*float64(d.opts.rate), float64(d.opts.rate))
			last = now
		}
		for ; owed >= 1; owed-- {
			key := fmt.Sprintf("tenant-%d", zipf.Uint64())
			ok := l.Allow(key, 1)
			if !ok { // no credits at hand: wait for an answer, as a server would
				dec, err := l.Check(ctx, key, 1)
				if ctx.Err() != nil {
					return
				}
				ok = err == nil && dec.Allowed
				if !ok && dec.Source == edge.FromFail {
					d.tally.lost.Add(1)
				}
			}
			if !ok {
				d.tally.denied.Add(1)
			}
		}
	}
}

// killLeaders kills the leader each time the interval has passed, and starts it
// again.
func (d *demo) killLeaders(ctx context.Context) {
	t := time.NewTicker(d.opts.killLeader)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		m := d.cluster.leader()
		if m == nil {
			continue
		}
		d.kills.Add(1)
		if err := errors.Join(d.cluster.kill(m), d.cluster.start(m)); err != nil {
			d.cluster.fail(err)
			return
		}
	}
}
