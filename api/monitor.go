package api

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/tkcoord/tkcoord/api/throttlekitv1"
	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/monitor"
	"github.com/tkcoord/tkcoord/policy"
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
	v := monitor.View{
		At: int64(m.node.ClusterTime()), Node: m.node.ID(),
		Health: &monitor.Health{Backend: "raft", FailMode: m.fail, Reachable: &reachable},
	}
	v.Policies = configured(m.node.Replica())
	return v
}

// configured returns the policies that Monitor lists: meters it does not.
func configured(r *transport.Replica) (all []monitor.Configured) {
	var status []fsm.PolicyStatus
	r.Query(func(m *fsm.Machine) { _, status = m.Policies() })
	for _, p := range status {
		switch p.Kind {
		case policy.Plain, policy.TwoTier, policy.Federated:
			all = append(all, monitor.Configured{Name: p.Name, Strategy: string(p.Strategy), Kind: monitor.Limiter})
		case policy.Guarded:
			all = append(all, monitor.Configured{Name: p.Name, Strategy: string(p.Strategy), Kind: monitor.Admitter})
		}
	}
	return all
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
