package api

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/tkcoord/tkcoord/api/throttlekitv1"
	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"github.com/tkcoord/tkcoord/monitor"
	"github.com/tkcoord/tkcoord/transport"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"
)

// MaxMessage bounds a request. It is far more than fits into one log entry, so
// that a request with one field that is too long, a key of a MiB, say, is still
// read, and refused with the name of that field.
const MaxMessage = 2 << 20

// streamWorkers serve calls without starting a goroutine for each. Calls beyond
// them start one.
const streamWorkers = 128

// quickBackoff finds a node again soon after it restarted: until then nothing is
// forwarded to it, be it the leader.
var quickBackoff = backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 500 * time.Millisecond}

// Config is what a server needs beside its node.
type Config struct {
	Listener net.Listener
	// TLS secures the doors; every client must then show a certificate. nil is
	// plaintext.
	TLS *transport.TLS
	// Dial makes connections to other nodes; nil dials TCP.
	Dial func(ctx context.Context, hostport string) (net.Conn, error)
	// Observe is told about every call that ended, for metrics. May be nil.
	Observe func(method string, code codes.Code, took time.Duration)
	Log     *slog.Logger

	// Undecided is told how many keys the fail mode answered for. May be nil.
	Undecided func(keys int)
	// Fail says how checks are answered while nobody can decide; "" is FailClosed.
	Fail FailMode
	// FleetSecret and MonitorSecret are what callers of Fleet and Monitor must show.
	// Without one only callers on this machine are served.
	FleetSecret, MonitorSecret string
	// Monitor serves Monitor, which shows what the Hub collects.
	Monitor bool
	Hub     *monitor.Hub
	// Record is told of every decision. May be nil.
	Record *Recorder
	// Traces makes spans of calls and of commands; nil makes none. The node should be
	// Timed then.
	Traces trace.TracerProvider
}

// A Server is the gRPC listener of a node with all its doors.
type Server struct {
	cfg     Config
	grpc    *grpc.Server
	health  *health.Server
	forward *Forwarder
	relay   *relay
	catalog *catalog
	node    *transport.Node
	drain   chan struct{}
	traces  *tracing

	checks *RateLimiter
	edges  *Edge

	fleet, monitor secretGate
}

// NewServer returns a server that serves once Run is called.
func NewServer(cfg Config, node *transport.Node) *Server {
	creds := insecure.NewCredentials()
	if cfg.TLS != nil {
		creds = cfg.TLS.Credentials()
	}
	s := &Server{
		cfg: cfg, node: node, health: health.NewServer(), drain: make(chan struct{}),
		forward: NewForwarder(node, creds, cfg.Dial), catalog: newCatalog(node.Replica()),
		fleet:   secretGate{name: "fleet", header: fleetSecret, secret: cfg.FleetSecret},
		monitor: secretGate{name: "monitor", header: monitorSecret, secret: cfg.MonitorSecret},
	}
	s.traces = newTracing(cfg.Traces)
	s.forward.traces = s.traces
	s.relay = newRelay(s.forward, cfg.Log)
	s.grpc = grpc.NewServer(append(s.traces.server(),
		grpc.Creds(creds),
		grpc.MaxRecvMsgSize(MaxMessage),
		grpc.MaxConcurrentStreams(4096),
		grpc.NumStreamWorkers(streamWorkers), // their stacks have grown already
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 10 * time.Second, Timeout: 5 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 2 * time.Second, PermitWithoutStream: true}),
		grpc.ChainUnaryInterceptor(s.observe, s.guard),
		grpc.ChainStreamInterceptor(s.guardStream),
		grpc.WaitForHandlers(true),
	)...)
	s.registerPublic()
	s.edges = &Edge{node: node, forward: s.forward, traces: s.traces, log: cfg.Log, drain: s.drain}
	tkcoordv1.RegisterEdgeServer(s.grpc, s.edges)
	tkcoordv1.RegisterAdminServer(s.grpc, &Admin{node: node, forward: s.forward, log: cfg.Log})
	tkcoordv1.RegisterNodeServer(s.grpc, &Node{node: node})
	grpc_health_v1.RegisterHealthServer(s.grpc, &healthDoor{Server: s.health, drain: s.drain})
	reflection.Register(s.grpc)
	return s
}

// registerPublic registers the services of the public contract, and those that
// nodes need among themselves for it.
func (s *Server) registerPublic() {
	d := &door{node: s.node, relay: s.relay, catalog: s.catalog, traces: s.traces, log: s.cfg.Log}
	fail := s.cfg.Fail
	if fail == "" {
		fail = FailClosed
	}
	undecided := s.cfg.Undecided
	if undecided == nil {
		undecided = func(int) {}
	}
	s.checks = &RateLimiter{door: d, fail: fail, undecided: undecided, record: s.cfg.Record, log: s.cfg.Log}
	throttlekitv1.RegisterRateLimiterServer(s.grpc, s.checks)
	throttlekitv1.RegisterFleetServer(s.grpc, &Fleet{door: d, log: s.cfg.Log})
	tkcoordv1.RegisterRelayServer(s.grpc, &Relay{door: d, log: s.cfg.Log, drain: s.drain})
	// Without Monitor here, those of other nodes still want to know.
	tkcoordv1.RegisterObserveServer(s.grpc, &Observe{node: s.node.ID(), hub: s.cfg.Hub, permit: s.permitObserver, drain: s.drain})
	if !s.cfg.Monitor {
		return
	}
	throttlekitv1.RegisterMonitorServer(s.grpc, &Monitor{
		node: s.node, hub: s.cfg.Hub, fail: string(fail), log: s.cfg.Log, drain: s.drain,
		others: &siblings{node: s.node, forward: s.forward, secret: s.cfg.MonitorSecret, log: s.cfg.Log},
	})
}

// Configured reports whether a policy is in force, as far as this node knows.
func (s *Server) Configured(policy string) bool { return s.catalog.find(policy) != nil }

// Peers returns what the node asks its peers through.
func (s *Server) Peers() Peers { return Peers{s.forward} }

// Run serves until ctx ends, then lets calls under way finish, for at most
// grace, and returns after the last handler.
func (s *Server) Run(ctx context.Context, grace time.Duration) error {
	failed := make(chan error, 1)
	go func() { failed <- s.grpc.Serve(s.cfg.Listener) }()
	stop := context.AfterFunc(ctx, func() { s.stop(grace) })
	defer stop()
	reporting, done := context.WithCancel(ctx)
	var reports sync.WaitGroup
	reports.Go(func() { s.reportHealth(reporting) })
	reports.Go(func() { s.catalog.run(reporting) })
	err := <-failed
	done()
	reports.Wait()
	if ctx.Err() != nil {
		<-s.drain
		s.grpc.GracefulStop() // returns once stop is done
		err = nil
	}
	s.relay.close()
	if cerr := s.forward.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("serve gRPC on %s: %w", s.cfg.Listener.Addr(), err)
	}
	return nil
}

func (s *Server) stop(grace time.Duration) {
	s.health.Shutdown()
	close(s.drain) // ends the streams
	hard := time.AfterFunc(grace, s.grpc.Stop)
	defer hard.Stop()
	s.grpc.GracefulStop()
}

// reportHealth keeps the health service true: a node serves when it knows the
// leader and has caught up.
func (s *Server) reportHealth(ctx context.Context) {
	t := time.NewTicker(200 * time.Millisecond)
	defer t.Stop()
	for {
		st := grpc_health_v1.HealthCheckResponse_SERVING
		if s.node.Ready() != nil {
			st = grpc_health_v1.HealthCheckResponse_NOT_SERVING
		}
		for _, name := range s.served() {
			s.health.SetServingStatus(name, st)
		}
		if !s.catalog.now.Load().leases {
			s.health.SetServingStatus(throttlekitv1.Fleet_ServiceDesc.ServiceName, grpc_health_v1.HealthCheckResponse_SERVICE_UNKNOWN)
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// served names the services that the health service knows at present.
func (s *Server) served() []string {
	all := []string{
		"", tkcoordv1.Edge_ServiceDesc.ServiceName, tkcoordv1.Admin_ServiceDesc.ServiceName,
		throttlekitv1.RateLimiter_ServiceDesc.ServiceName,
	}
	if s.cfg.Monitor {
		all = append(all, throttlekitv1.Monitor_ServiceDesc.ServiceName)
	}
	if s.catalog.now.Load().leases {
		all = append(all, throttlekitv1.Fleet_ServiceDesc.ServiceName)
	}
	return all
}

// withoutFleet reports whether no policy is federated, so that Fleet is not served.
// That is said only by a node that is ready: before, its replica may not have heard
// of one, and the leader has the last word.
func (s *Server) withoutFleet() bool {
	if s.catalog.now.Load().leases || s.node.Ready() != nil {
		return false
	}
	s.catalog.refresh() // it may lag behind the replica
	return !s.catalog.now.Load().leases
}

func (s *Server) observe(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if s.cfg.Observe == nil {
		return next(ctx, req)
	}
	start := time.Now()
	res, err := next(ctx, req)
	s.cfg.Observe(info.FullMethod, status.Code(err), time.Since(start))
	return res, err
}

func (s *Server) guard(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if err := s.permit(ctx, info.FullMethod); err != nil {
		return nil, err
	}
	return next(ctx, req)
}

func (s *Server) guardStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	if err := s.permit(stream.Context(), info.FullMethod); err != nil {
		return err
	}
	return next(srv, stream)
}

// permit returns nil if a caller may use a method, else the status that says why
// not.
func (s *Server) permit(ctx context.Context, method string) error {
	service, _, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	switch service {
	case tkcoordv1.Node_ServiceDesc.ServiceName, tkcoordv1.Relay_ServiceDesc.ServiceName:
		if s.cfg.TLS != nil && !s.fromNode(ctx) {
			return status.Error(codes.PermissionDenied, "only nodes of this cluster may call this service")
		}
	case throttlekitv1.Fleet_ServiceDesc.ServiceName:
		if s.withoutFleet() {
			return errNoFleet
		}
		return s.fleet.permit(ctx)
	case throttlekitv1.Monitor_ServiceDesc.ServiceName:
		return s.monitor.permit(ctx)
	}
	return nil
}

// permitObserver lets nodes see what this one observed: known by their
// certificate or, without TLS, by what Monitor asks of its callers.
func (s *Server) permitObserver(ctx context.Context) error {
	if s.cfg.TLS == nil {
		return s.monitor.permit(ctx)
	}
	if !s.fromNode(ctx) {
		return status.Error(codes.PermissionDenied, "only nodes of this cluster may call this service")
	}
	return nil
}

// fromNode reports whether a call comes over TLS with the certificate of a node.
func (s *Server) fromNode(ctx context.Context) bool {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return false
	}
	t, ok := p.AuthInfo.(credentials.TLSInfo)
	return ok && len(t.State.PeerCertificates) > 0 && s.isNode(t.State.PeerCertificates[0])
}

// isNode reports whether a certificate is that of a node of this cluster.
func (s *Server) isNode(c *x509.Certificate) bool {
	for _, name := range c.DNSNames {
		node, rest, _ := strings.Cut(name, ".")
		if node != "" && node+"."+rest == transport.CertName(node, s.node.Cluster()) {
			return true
		}
	}
	return false
}
