package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"github.com/tkcoord/tkcoord/monitor"
	"github.com/tkcoord/tkcoord/transport"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// monitorSecret is the request metadata that shows the secret of Monitor.
const monitorSecret = "x-monitor-secret"

// Observe serves tkcoord.v1.Observe, for the other nodes' Monitor.
type Observe struct {
	tkcoordv1.UnimplementedObserveServer
	node   string
	hub    *monitor.Hub
	permit func(context.Context) error // whether a caller may see keys
	drain  <-chan struct{}             // closed when the node begins to shut down
}

// Report returns what this node has observed.
func (o *Observe) Report(ctx context.Context, _ *tkcoordv1.ReportRequest) (*tkcoordv1.ReportResponse, error) {
	if err := o.permit(ctx); err != nil {
		return nil, err
	}
	r := o.hub.Report(o.node)
	return wireReport(&r), nil
}

// Denials streams what this node denies from now on. The header is sent once it
// is listening.
func (o *Observe) Denials(req *tkcoordv1.DenialsRequest, stream grpc.ServerStreamingServer[tkcoordv1.DenialsResponse]) error {
	ctx := stream.Context()
	if err := o.permit(ctx); err != nil {
		return err
	}
	w, err := o.hub.Watch(req.Policy)
	if err != nil {
		return status.Error(codes.ResourceExhausted, err.Error())
	}
	defer w.Close()
	if err := stream.SendHeader(nil); err != nil {
		return err
	}
	start := time.Now()
	gate := monitor.NewGate(0)
	for {
		select {
		case d := <-w.C:
			if !gate.Pass(time.Since(start).Milliseconds()) {
				continue
			}
			if err := stream.Send(&tkcoordv1.DenialsResponse{Denial: wireDenial(d)}); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		case <-o.drain:
			return status.Error(codes.Unavailable, errNotServing.Error())
		}
	}
}

// reportTime is how long the others have for their reports.
const reportTime = time.Second

// maxReport bounds a report of 501 policies with the longest keys.
const maxReport = 16 << 20

// watchAgain is how long a node whose stream ended is left alone.
const watchAgain = 500 * time.Millisecond

// A sibling is another node of the cluster.
type sibling struct{ name, address string } // address "" is not known

// siblings asks the other nodes of the cluster what they observe.
type siblings struct {
	node    *transport.Node
	list    func() []sibling // nil: those that the node knows
	forward *Forwarder
	secret  string // of Monitor, "" if there is none
	log     *slog.Logger

	mu      sync.Mutex // guards missing
	missing string     // that were logged last
}

// all returns those that raft knows beside this node, once for each name.
func (s *siblings) all() []sibling {
	if s.list != nil {
		return s.list()
	}
	var all []sibling
	for _, m := range s.node.Members() {
		i := slices.IndexFunc(all, func(x sibling) bool { return x.name == m.ID })
		switch {
		case m.ID == s.node.ID():
		case i < 0:
			all = append(all, sibling{m.ID, m.GRPCAddress})
		case all[i].address == "": // a node that lost its disk is there twice
			all[i].address = m.GRPCAddress
		}
	}
	return all
}

var errNoAddress = errors.New("its address is not known")

func (s *siblings) client(ctx context.Context, to sibling) (context.Context, tkcoordv1.ObserveClient, error) {
	if to.address == "" {
		return nil, nil, errNoAddress
	}
	conn, err := s.forward.To(to.address)
	if err != nil {
		return nil, nil, err
	}
	if s.secret != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, monitorSecret, s.secret)
	}
	return ctx, tkcoordv1.NewObserveClient(conn), nil
}

// collect returns the reports of those that answer in time, and the others with
// their reason.
func (s *siblings) collect(ctx context.Context) (reports []monitor.Report, missing []monitor.Missing) {
	limit := reportTime
	if d, ok := ctx.Deadline(); ok { // the asker wants to hear who is missing
		limit = min(limit, time.Until(d)*3/4)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	all := s.all()
	got, errs := make([]monitor.Report, len(all)), make([]error, len(all))
	var asking sync.WaitGroup
	for i, to := range all {
		asking.Go(func() { got[i], errs[i] = s.ask(ctx, to) })
	}
	asking.Wait()
	for i, to := range all {
		if errs[i] != nil {
			missing = append(missing, monitor.Missing{Node: to.name, Error: errs[i].Error()})
			continue
		}
		reports = append(reports, got[i])
	}
	s.warn(missing)
	return reports, missing
}

func (s *siblings) ask(ctx context.Context, to sibling) (monitor.Report, error) {
	ctx, c, err := s.client(ctx, to)
	if err != nil {
		return monitor.Report{}, err
	}
	res, err := c.Report(ctx, &tkcoordv1.ReportRequest{}, grpc.MaxCallRecvMsgSize(maxReport))
	if err != nil {
		return monitor.Report{}, errors.New(status.Convert(err).Message())
	}
	if res.NodeId != to.name {
		return monitor.Report{}, fmt.Errorf("node %q answers at its address %s", res.NodeId, to.address)
	}
	return report(to.name, res), nil
}

// warn logs who is missing when that changes.
func (s *siblings) warn(missing []monitor.Missing) {
	var names []string
	for _, m := range missing {
		names = append(names, m.Node)
	}
	now := strings.Join(names, " ")
	s.mu.Lock()
	changed := now != s.missing
	s.missing = now
	s.mu.Unlock()
	if !changed {
		return
	}
	if now == "" {
		s.log.Info("monitor hears all nodes again")
		return
	}
	for _, m := range missing {
		s.log.Warn("monitor misses a node", "peer", m.Node, "err", m.Error)
	}
}

// watch passes on what the others deny until ctx ends, as far as out takes it. It
// follows nodes that come and go. heard is called once, when each node that is
// there has begun or has failed, but at most reportTime after the start.
func (s *siblings) watch(ctx context.Context, policy string, out chan<- monitor.Denial, heard func()) {
	following := make(map[sibling]context.CancelFunc)
	var running, begun sync.WaitGroup
	defer running.Wait()
	again := time.NewTicker(time.Second)
	defer again.Stop()
	for first := true; ; first = false {
		all := s.all()
		for to, stop := range following {
			if !slices.Contains(all, to) {
				stop()
				delete(following, to)
			}
		}
		for _, to := range all {
			if following[to] != nil {
				continue
			}
			fctx, stop := context.WithCancel(ctx)
			following[to] = stop
			var ready func()
			if first {
				begun.Add(1)
				ready = sync.OnceFunc(begun.Done)
			}
			running.Go(func() { s.follow(fctx, to, policy, out, ready) })
		}
		if first {
			s.await(ctx, &begun)
			heard()
		}
		select {
		case <-ctx.Done():
			for _, stop := range following {
				stop()
			}
			return
		case <-again.C:
		}
	}
}

// await waits until all have begun, at most reportTime.
func (s *siblings) await(ctx context.Context, begun *sync.WaitGroup) {
	done := make(chan struct{})
	go func() {
		begun.Wait() // ends: each of them calls Done when it begins, fails, or is told to stop
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	case <-time.After(reportTime):
	}
}

// follow passes on what one node denies, over as many streams as it takes.
func (s *siblings) follow(ctx context.Context, to sibling, policy string, out chan<- monitor.Denial, ready func()) {
	if ready == nil {
		ready = func() {}
	}
	lost := false
	for {
		err := s.stream(ctx, to, policy, out, func() { lost = false; ready() })
		ready()
		if ctx.Err() != nil {
			return
		}
		if !lost {
			lost = true
			s.log.Warn("monitor misses the denials of a node", "peer", to.name, "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(watchAgain):
		}
	}
}

func (s *siblings) stream(ctx context.Context, to sibling, policy string, out chan<- monitor.Denial, begun func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ctx, c, err := s.client(ctx, to)
	if err != nil {
		return err
	}
	stream, err := c.Denials(ctx, &tkcoordv1.DenialsRequest{Policy: policy})
	if err != nil {
		return err
	}
	if header, err := stream.Header(); err != nil {
		return err
	} else if header != nil { // else it was refused, and Recv says why
		begun()
	}
	for {
		res, err := stream.Recv()
		if err != nil {
			return err
		}
		select {
		case out <- denial(to.name, res.GetDenial()):
		default: // the asker does not keep up
		}
	}
}
