package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/tkcoord/tkcoord/policy"
	"github.com/tkcoord/tkcoord/transport"
)

// A devCluster is a cluster whose nodes run in this process.
type devCluster struct {
	members []*devMember
	failed  chan error // the first node that ended by itself
	running sync.WaitGroup
}

// A devMember is one node of it, which can be killed and started again.
type devMember struct {
	id     string
	cfg    processConfig
	parent context.Context

	mu     sync.Mutex // guards the rest
	proc   *process
	cancel context.CancelFunc
	ended  chan struct{} // closed when proc's Run has returned
}

const (
	devClusterName  = "dev"
	devCertValidity = 365 * 24 * time.Hour
)

// openDevCluster starts all nodes. close stops them.
func openDevCluster(ctx context.Context, o *devOptions, dir string, policies []policy.Policy, log *slog.Logger) (*devCluster, error) {
	c := &devCluster{failed: make(chan error, 1)}
	tlsDir := filepath.Join(dir, "tls")
	if err := transport.WriteCA(tlsDir, devCertValidity); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("certificates: %w", err)
	}
	var join []string
	for i := range o.nodes {
		id := fmt.Sprintf("n%d", i+1)
		files, err := transport.IssueNode(transport.CertRequest{Dir: tlsDir, Cluster: devClusterName, Name: id, Validity: devCertValidity})
		if err != nil {
			return nil, errors.Join(fmt.Errorf("certificate of %s: %w", id, err), c.close())
		}
		m := &devMember{id: id, parent: ctx}
		m.cfg, err = devConfig(o, i, id, dir, files, log.With("node", id))
		if err != nil {
			return nil, errors.Join(err, c.close())
		}
		m.cfg.node.Policies = policies
		m.cfg.node.Gossip.Join = join
		m.cfg.node.Fatal = func(err error) { c.fail(fmt.Errorf("node %s: %w", id, err)) }
		if err := c.start(m); err != nil {
			return nil, errors.Join(err, c.close())
		}
		c.members = append(c.members, m)
		join = append(join, m.addresses().Gossip)
	}
	return c, nil
}

func devConfig(o *devOptions, i int, id, dir string, files transport.TLSFiles, log *slog.Logger) (processConfig, error) {
	s := defaultServeOptions()
	s.nodeID, s.cluster, s.region, s.data = id, devClusterName, "local", nodeDir(dir, id)
	s.grpc, s.raft, s.gossip, s.http = o.address(i, 0), o.address(i, 1), o.address(i, 2), o.address(i, 3)
	s.expect, s.doors = o.nodes, o.doors
	s.tuning.Gossip.Timing = loopbackTiming
	c, err := s.processConfig(log)
	if err != nil {
		return c, err
	}
	c.node.TLS, err = files.Open(log)
	return c, err
}

// loopbackTiming is quicker than that of a network. News are sent to more nodes
// than memberlist thinks enough on one machine: of five, one often missed that the
// others agree to form a cluster, until the exchange of all state 15 s later.
func loopbackTiming() *memberlist.Config {
	c := memberlist.DefaultLocalConfig()
	c.RetransmitMult = memberlist.DefaultLANConfig().RetransmitMult
	return c
}

// start opens a member and runs it. After the first start its ports stay.
func (c *devCluster) start(m *devMember) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	p, err := openProcess(m.cfg)
	if err != nil {
		return fmt.Errorf("node %s: %w", m.id, err)
	}
	a := p.node.Addresses()
	m.cfg.grpc, m.cfg.raft, m.cfg.http, m.cfg.node.Gossip.Bind = a.GRPC, a.Raft, a.HTTP, a.Gossip
	ctx, cancel := context.WithCancel(m.parent)
	m.proc, m.cancel, m.ended = p, cancel, make(chan struct{})
	ended := m.ended
	c.running.Go(func() {
		defer close(ended)
		if err := p.Run(ctx); err != nil {
			c.fail(fmt.Errorf("node %s: %w", m.id, err))
		}
	})
	return nil
}

func (c *devCluster) fail(err error) {
	select {
	case c.failed <- err:
	default: // the first reason is enough
	}
}

// kill ends a member at once, as a crash would: nothing is handed over.
func (c *devCluster) kill(m *devMember) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.proc.Kill()
	<-m.ended
	m.cancel()
	return m.proc.Close()
}

func (m *devMember) addresses() transport.Addresses {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.proc.node.Addresses()
}

// ready reports why the member does not serve, or nil.
func (m *devMember) ready() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.proc.node.Ready()
}

// leader returns the member that leads, or nil.
func (c *devCluster) leader() *devMember {
	for _, m := range c.members {
		m.mu.Lock()
		leads := m.proc.node.Status().Leading
		m.mu.Unlock()
		if leads {
			return m
		}
	}
	return nil
}

// waitReady returns once every node serves.
func (c *devCluster) waitReady(ctx context.Context, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	t := time.NewTicker(20 * time.Millisecond)
	defer t.Stop()
	for {
		var waiting error
		for _, m := range c.members {
			if err := m.ready(); err != nil {
				waiting = errors.Join(waiting, fmt.Errorf("node %s: %w", m.id, err))
			}
		}
		if waiting == nil {
			return nil
		}
		select {
		case err := <-c.failed:
			return err
		case <-ctx.Done():
			return fmt.Errorf("cluster not ready after %v: %w", patience, waiting)
		case <-t.C:
		}
	}
}

// close stops all members at once. Calls under way finish; there is nobody left
// to hand anything over to.
func (c *devCluster) close() error {
	var errs []error
	for _, m := range c.members {
		m.mu.Lock()
		m.proc.Kill()
		m.mu.Unlock()
	}
	c.running.Wait()
	for _, m := range c.members {
		m.cancel()
		errs = append(errs, m.proc.Close())
	}
	return errors.Join(errs...)
}
