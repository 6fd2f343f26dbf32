package host

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"

	"github.com/tkcoord/tkcoord/jepsen/netfault"
	"github.com/tkcoord/tkcoord/transport"
	"golang.org/x/sync/errgroup"
)

// A Cluster is the nodes and edges of one run, and the network between them.
type Cluster struct {
	Net *netfault.Table // what happens between hosts, by their names

	cfg   Config
	net   network
	nodes []*Node
	edges []*Edge
	quota *Quota         // nil where there is none
	tls   *transport.TLS // the harness's own; nil without TLS

	mu      sync.Mutex         // guards the rest
	stop    context.CancelFunc // ends the network; nil before Start
	broken  error              // why the network ended by itself
	carried sync.WaitGroup
	died    []Exit
}

// Open makes hosts and network. It starts nothing. Close undoes it.
func Open(cfg Config) (_ *Cluster, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("cluster: %w", err)
	}
	if cfg.Dir, err = filepath.Abs(cfg.Dir); err != nil {
		return nil, err
	}
	c := &Cluster{Net: netfault.NewTable(), cfg: cfg}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	if q, err := OpenQuota(cfg.RunID); err == nil {
		c.quota = q
	} else {
		cfg.Log.Info("processors are taken away with signals instead of quotas", "reason", err)
	}
	if c.net, err = cfg.network(c.Net); err != nil {
		return c, err
	}
	if cfg.TLS {
		if err := c.openTLS(); err != nil {
			return c, err
		}
	}
	for i := range cfg.Nodes {
		n, err := c.openNode(i)
		if err != nil {
			return c, err
		}
		c.nodes = append(c.nodes, n)
	}
	for i := range cfg.Edges {
		e, err := c.openEdge(i)
		if err != nil {
			return c, err
		}
		c.edges = append(c.edges, e)
	}
	return c, nil
}

func (c *Cluster) hostDir(name string) (string, error) {
	dir := filepath.Join(c.cfg.Dir, name)
	return dir, os.MkdirAll(dir, 0o755)
}

// process makes the process of a host. Its output goes to output.log in the
// host's directory.
func (c *Cluster) process(name, dir string, p place, argv func(int) []string, env []string) (*Process, error) {
	return NewProcess(Spec{
		Name: name, Argv: argv, Env: env, Dir: dir, Log: filepath.Join(dir, "output.log"), Thread: p.thread,
		Started: func(pid int) {
			p.started(pid)
			if c.quota != nil {
				if err := c.quota.Add(name, pid); err != nil {
					c.cfg.Log.Warn("process outside its control group", "host", name, "err", err)
				}
			}
			c.cfg.Log.Debug("process started", "host", name, "pid", pid)
		},
		Ended: func(e Exit) {
			p.ended(e.PID)
			c.ended(e)
		},
	})
}

func (c *Cluster) ended(e Exit) {
	c.cfg.Log.Debug("process ended", "host", e.Name, "state", e.State, "told", e.Told)
	if !e.Told {
		c.mu.Lock()
		c.died = append(c.died, e)
		c.mu.Unlock()
	}
	if c.cfg.Ended != nil {
		c.cfg.Ended(e)
	}
}

// Died returns the processes that ended without having been told to, oldest
// first.
func (c *Cluster) Died() []Exit {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Exit(nil), c.died...)
}

// Config returns what the cluster was opened with.
func (c *Cluster) Config() Config { return c.cfg }

// Nodes returns all nodes, n1 first.
func (c *Cluster) Nodes() []*Node { return c.nodes }

// Edges returns all edges, e1 first.
func (c *Cluster) Edges() []*Edge { return c.edges }

// Quota returns the control groups of the run, nil if there are none.
func (c *Cluster) Quota() *Quota { return c.quota }

// Node returns the node of a name, nil if there is none.
func (c *Cluster) Node(name string) *Node {
	for _, n := range c.nodes {
		if n.Name() == name {
			return n
		}
	}
	return nil
}

// seeds are the gossip addresses that every node joins by.
func (c *Cluster) seeds() []string {
	var all []string
	for _, n := range c.nodes {
		all = append(all, n.gossip)
	}
	return all
}

// Start starts the network and all nodes, and returns when every node serves.
// The edges are left to the caller. ctx bounds the start only.
func (c *Cluster) Start(ctx context.Context) error {
	c.carry()
	for _, n := range c.nodes {
		if err := n.Start(); err != nil {
			return err
		}
	}
	return c.Serving(ctx)
}

// carry runs the network until Close.
func (c *Cluster) carry() {
	ctx, cancel := context.WithCancel(context.Background())
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stop = cancel
	c.carried.Go(func() {
		if err := c.net.run(ctx); err != nil {
			c.cfg.Log.Error("the network of the run broke", "err", err)
			c.mu.Lock()
			c.broken = err
			c.mu.Unlock()
		}
	})
}

// Serving returns when all nodes serve. It fails if one of them does not run.
func (c *Cluster) Serving(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, n := range c.nodes {
		g.Go(func() error { return n.Serving(ctx) })
	}
	return g.Wait()
}

// Ensure starts the nodes that do not run, and returns when all serve.
func (c *Cluster) Ensure(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, n := range c.nodes {
		g.Go(func() error { return n.Ensure(ctx) })
	}
	return g.Wait()
}

// Stop ends all processes in order: edges first, so that they give back what
// they hold, then the nodes one after the other.
func (c *Cluster) Stop(ctx context.Context) error {
	var edges errgroup.Group
	for _, e := range c.edges {
		edges.Go(func() error { return stopIfRunning(ctx, e.Process) })
	}
	errs := []error{edges.Wait()}
	for _, n := range c.nodes {
		errs = append(errs, stopIfRunning(ctx, n.Process))
	}
	return errors.Join(errs...)
}

func stopIfRunning(ctx context.Context, p *Process) error {
	if err := p.Stop(ctx); !errors.Is(err, ErrNotRunning) {
		return err
	}
	return nil
}

// Dial connects the harness to a host's address. No fault affects it.
func (c *Cluster) Dial(ctx context.Context, address string) (net.Conn, error) {
	return c.net.dial(ctx, address)
}

// Close kills what runs and frees everything but the run's directory. It may be
// called twice, and on a cluster that was never started. It reports a network
// that broke during the run, since its faults were then not what they should
// have been.
func (c *Cluster) Close() error {
	var errs []error
	for _, e := range c.edges {
		errs = append(errs, e.Close())
	}
	for _, n := range c.nodes {
		errs = append(errs, n.close())
	}
	c.mu.Lock()
	stop := c.stop
	c.mu.Unlock()
	if stop != nil {
		stop()
	}
	c.carried.Wait()
	if c.net != nil {
		errs = append(errs, c.net.close())
	}
	if c.quota != nil {
		errs = append(errs, c.quota.Close())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return errors.Join(append(errs, c.broken)...)
}
