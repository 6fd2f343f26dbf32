package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/tkcoord/tkcoord/api"
	"github.com/tkcoord/tkcoord/edge/tier"
	"github.com/tkcoord/tkcoord/monitor"
	"github.com/tkcoord/tkcoord/transport"
	"golang.org/x/sync/errgroup"
)

// A process is one node with its doors: what `tkcoord serve` runs, and `tkcoord
// dev` runs several of.
type process struct {
	log      *slog.Logger
	node     *transport.Node
	server   *api.Server
	tier     *tier.Tier
	metrics  *metrics
	otlp     *telemetry
	grpc     net.Listener
	http     net.Listener
	kill     chan struct{}
	profiles bool
	killed   sync.Once
}

// processConfig is what the listeners and doors need beside the node's own
// configuration.
type processConfig struct {
	node transport.NodeConfig
	// Addresses to listen on. Port 0 picks a free one; the addresses that
	// others are told are then made from it and the advertised host.
	grpc, raft, http string
	advertise        string         // host that others reach this node at; "" is the listener's
	doorTLS          *transport.TLS // secures gRPC; nil is plaintext
	profiles         bool           // serve /debug/pprof/ over HTTP
	otlp             otlpConfig
	doors            doorOptions
	log              *slog.Logger
}

// openProcess opens listeners and the node. Close undoes it.
func openProcess(c processConfig) (_ *process, err error) {
	p := &process{log: c.log, profiles: c.profiles, kill: make(chan struct{})}
	var opened []net.Listener
	defer func() {
		if err != nil {
			for _, l := range opened {
				err = errors.Join(err, ignoreClosed(l.Close()))
			}
			if p.otlp != nil {
				_ = p.otlp.Close() // nothing has been measured
			}
		}
	}()
	listen := func(door, address string) net.Listener {
		if err != nil {
			return nil
		}
		var l net.Listener
		if l, err = net.Listen("tcp", address); err != nil {
			err = fmt.Errorf("listen for %s: %w", door, err)
			return nil
		}
		opened = append(opened, l)
		return l
	}
	p.grpc, p.http = listen("gRPC", c.grpc), listen("HTTP", c.http)
	c.node.RaftListener = listen("raft", c.raft)
	if err != nil {
		return nil, err
	}
	c.node.GRPCAddress = advertised(p.grpc, c.advertise)
	c.node.HTTPAddress = advertised(p.http, c.advertise)
	c.node.RaftAddress = advertised(c.node.RaftListener, c.advertise)
	if err := p.openMetrics(c); err != nil {
		return nil, err
	}
	c.node.Observe, c.node.Timed, c.node.Log = p.metrics.observeStore, p.otlp.tracer() != nil, c.log
	if p.node, err = transport.OpenNode(c.node); err != nil {
		return nil, err
	}
	hub := monitor.New(monitor.Config{
		Now:        func() int64 { return int64(p.node.ClusterTime()) },
		Configured: func() []string { return p.server.PolicyNames() },
	})
	record, err := api.NewRecorder(hub, p.metrics.contractMeter())
	if err != nil {
		return nil, errors.Join(err, p.node.Close())
	}
	p.server = api.NewServer(api.Config{
		Listener: p.grpc, TLS: c.doorTLS, Observe: p.metrics.observeCall, Undecided: p.metrics.observeUndecided, Log: c.log,
		Fail: api.FailMode(c.doors.fail), FleetSecret: c.doors.fleetSecret, MonitorSecret: c.doors.monitorSecret,
		Monitor: c.doors.monitor != off, Hub: hub, Record: record, Traces: p.otlp.tracer(),
	}, p.node)
	if p.tier, err = openTier(p.node, p.server, c.node.Clocks, c.log); err != nil {
		return nil, errors.Join(err, p.node.Close())
	}
	if err := errors.Join(watchNode(p.metrics.meter(), p.node), watchGuards(p.metrics.contractMeter(), p.node), watchHub(p.metrics.meter(), hub)); err != nil {
		return nil, errors.Join(err, p.node.Close())
	}
	return p, nil
}

// local reports whether only processes of this machine reach the gRPC listener.
func (p *process) local() bool { return p.grpc.Addr().(*net.TCPAddr).IP.IsLoopback() }

// openMetrics makes the instruments, and what sends them and spans by OTLP.
func (p *process) openMetrics(c processConfig) (err error) {
	n := c.node
	if p.otlp, err = openTelemetry(context.Background(), c.otlp, n.ID, n.Cluster, n.Region, n.Version); err != nil {
		return err
	}
	p.metrics, err = newMetrics(p.otlp)
	return err
}

// closeMetrics sends what is left, as far as somebody takes it.
func (p *process) closeMetrics() {
	if err := errors.Join(p.metrics.Close(), p.otlp.Close()); err != nil {
		p.log.Warn("telemetry not sent", "err", err)
	}
}

// advertised returns the address of a listener under the host that others use.
func advertised(l net.Listener, host string) string {
	at := l.Addr().(*net.TCPAddr)
	if host == "" {
		host = at.IP.String()
	}
	return net.JoinHostPort(host, fmt.Sprint(at.Port))
}

// Bounds of a graceful shutdown.
const (
	handOverTime = 3 * time.Second
	drainTime    = 5 * time.Second
)

// Run serves until ctx ends. Then it hands leadership over, lets calls under way
// finish, and stops.
func (p *process) Run(ctx context.Context) error {
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	g, gctx := errgroup.WithContext(work)
	g.Go(func() error { return p.node.Run(gctx, p.server.Peers()) })
	g.Go(func() error { return p.server.Run(gctx, drainTime) })
	g.Go(func() error {
		return serveHTTP(gctx, p.http, httpHandler(p.node, &scrape{contract: p.server.WriteMetrics, rest: p.metrics.registry, log: p.log}, p.profiles))
	})
	g.Go(func() error {
		select {
		case <-gctx.Done():
		case <-p.kill:
			stop()
		case <-ctx.Done():
			p.handOver(work)
			p.closeTier()
			stop()
		}
		return nil
	})
	return g.Wait()
}

// handOver prepares for the end, unless it comes at once.
func (p *process) handOver(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, handOverTime)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- p.node.HandOver(ctx) }()
	select {
	case err := <-done:
		if err != nil {
			p.log.Warn("leadership not handed over", "err", err)
		}
	case <-p.kill:
		cancel()
		<-done
	}
}

// waitReady returns nil once the node is ready, or ctx's error.
func (p *process) waitReady(ctx context.Context) error {
	t := time.NewTicker(10 * time.Millisecond)
	defer t.Stop()
	for p.node.Ready() != nil {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
	}
	return nil
}

// Kill makes Run return at once, without handing anything over.
func (p *process) Kill() { p.killed.Do(func() { close(p.kill) }) }

// Close frees what openProcess took. Run must have returned.
func (p *process) Close() error {
	p.tier.Abandon()
	p.closeMetrics() // before the node: it reads it a last time
	return errors.Join(p.node.Close(), ignoreClosed(p.grpc.Close()), ignoreClosed(p.http.Close()))
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
