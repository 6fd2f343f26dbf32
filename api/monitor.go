package api

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"time"

	"github.com/tkcoord/tkcoord/api/throttlekitv1"
	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/monitor"
	"github.com/tkcoord/tkcoord/policy"
	"github.com/tkcoord/tkcoord/strategy"
	"github.com/tkcoord/tkcoord/transport"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// MissingHeader is the response metadata of GetSnapshot that names the nodes that
// were not heard, one value each.
const MissingHeader = "tkcoord-missing"

// Monitor serves throttlekit.v1.Monitor for all nodes of the cluster together. Who
// may call it is decided before: its answers hold keys.
type Monitor struct {
	throttlekitv1.UnimplementedMonitorServer
	node   *transport.Node
	hub    *monitor.Hub
	others *siblings
	fail   string // what the doors do when they cannot decide: open or closed
	log    *slog.Logger
	drain  <-chan struct{} // closed when the node begins to shut down
}

// GetSnapshot shows what all nodes decided in the present window. Nodes that do not
// answer within a second are named in raw_json and in the response metadata.
func (m *Monitor) GetSnapshot(ctx context.Context, _ *throttlekitv1.GetSnapshotRequest) (*throttlekitv1.GetSnapshotResponse, error) {
	reports, missing := m.others.collect(ctx)
	reports = append(reports, m.hub.Report(m.node.ID()))
	for _, x := range missing {
		_ = grpc.SetHeader(ctx, metadata.Pairs(MissingHeader, x.Node)) // raw_json says so too
	}
	v := m.view()
	v.Missing = missing
	s := monitor.NewSnapshot(v, reports)
	out, err := wireSnapshot(&s)
	if err != nil {
		return nil, toStatus(fmt.Errorf("snapshot: %w", err), "", m.log)
	}
	return &throttlekitv1.GetSnapshotResponse{Snapshot: out}, nil
}

// view is what the replica adds to the reports.
func (m *Monitor) view() monitor.View {
	reachable := m.node.Ready() == nil
	now := m.node.ClusterTime()
	c := configured(m.node.Replica())
	var slots int64
	for _, g := range c.guards {
		slots += g.Inflight
	}
	return monitor.View{
		At: int64(now), Node: m.node.ID(), Policies: c.policies, Guards: c.guards,
		Health:   &monitor.Health{Backend: "raft", FailMode: m.fail, Reachable: &reachable, LeaseTableSize: &slots},
		Forecast: func(policy, key string) (strategy.Forecast, bool) { return m.forecast(policy, key, now) },
	}
}

// forecast is that of this node's replica, which may lag behind the leader's.
func (m *Monitor) forecast(policy, key string, now clock.Millis) (f strategy.Forecast, ok bool) {
	m.node.Replica().Query(func(machine *fsm.Machine) {
		var err error
		f, err = machine.Forecast(policy, key, 1, now)
		ok = err == nil
	})
	return f, ok
}

// configuration is what Monitor shows of the policies that there are.
type configuration struct {
	policies []monitor.Configured // no meters: Monitor does not list them
	guards   []monitor.Guard
}

// configured reads what a replica has.
func configured(r *transport.Replica) (c configuration) {
	var all []fsm.PolicyStatus
	r.Query(func(m *fsm.Machine) { _, all = m.Policies() })
	for i := range all {
		p := &all[i]
		switch p.Kind {
		case policy.Plain, policy.TwoTier, policy.Federated:
			c.policies = append(c.policies, monitor.Configured{Name: p.Name, Strategy: string(p.Strategy), Kind: monitor.Limiter})
		case policy.Guarded:
			c.policies = append(c.policies, monitor.Configured{Name: p.Name, Strategy: string(p.Strategy), Kind: monitor.Admitter})
			g := monitor.Guard{
				Name: p.Name, Limit: monitor.Number(p.Guard.Limit), Inflight: p.Guard.InFlight,
				RTTNoload: monitor.Number(math.Inf(1)), LastRTT: monitor.Number(p.Guard.LastRTT),
			}
			if p.Guard.Sampled {
				g.RTTNoload = monitor.Number(p.Guard.LowestRTT)
			}
			c.guards = append(c.guards, g)
		}
	}
	return c
}

// Watch sends denials of all nodes from now on, see the service's definition. The
// header is sent once the nodes that can be reached are listening.
func (m *Monitor) Watch(req *throttlekitv1.WatchRequest, stream grpc.ServerStreamingServer[throttlekitv1.WatchResponse]) error {
	w, err := m.hub.Watch(req.Policy)
	if err != nil {
		return status.Error(codes.ResourceExhausted, err.Error())
	}
	defer w.Close()
	ctx, cancel := context.WithCancel(stream.Context())
	elsewhere, heard, ended := make(chan monitor.Denial, 64), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		m.others.watch(ctx, req.Policy, elsewhere, func() { close(heard) })
	}()
	defer func() { cancel(); <-ended }()
	return m.send(ctx, stream, w.C, elsewhere, heard)
}

// send sends what its channels bring until ctx ends or the node does.
func (m *Monitor) send(ctx context.Context, stream grpc.ServerStreamingServer[throttlekitv1.WatchResponse], here, elsewhere <-chan monitor.Denial, heard <-chan struct{}) error {
	start := time.Now()
	gate := monitor.NewGate(0)
	for {
		var d monitor.Denial
		select {
		case <-heard:
			heard = nil
			if err := stream.SendHeader(nil); err != nil {
				return err
			}
			continue
		case d = <-here:
		case d = <-elsewhere:
		case <-ctx.Done():
			return nil
		case <-m.drain:
			return status.Error(codes.Unavailable, errNotServing.Error())
		}
		if !gate.Pass(time.Since(start).Milliseconds()) {
			continue
		}
		if heard != nil { // a message sends the header, too
			<-heard
			heard = nil
		}
		if err := stream.Send(&throttlekitv1.WatchResponse{Denial: denialEvent(d)}); err != nil {
			return err
		}
	}
}

func denialEvent(d monitor.Denial) *throttlekitv1.DenialEvent {
	return &throttlekitv1.DenialEvent{
		At: d.At, Policy: d.Policy, Key: d.Key, Axis: d.Lane.String(),
		Limit: d.Decision.Limit, Remaining: d.Decision.Remaining, RetryAfterMs: d.Decision.RetryAfter,
	}
}

// PolicyNames returns the policies that Monitor lists.
func (s *Server) PolicyNames() (names []string) {
	for _, c := range configured(s.node.Replica()).policies {
		names = append(names, c.Name)
	}
	return names
}

// WriteMetrics writes the contract's series for Prometheus, without a key. Without a
// hub it writes nothing.
func (s *Server) WriteMetrics(w io.Writer) error {
	if s.cfg.Hub == nil {
		return nil
	}
	c := configured(s.node.Replica())
	return s.cfg.Hub.WriteProm(w, c.policies, c.guards)
}
