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

	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"github.com/tkcoord/tkcoord/transport"
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
}

// A Server is the gRPC listener of a node with all its doors.
type Server struct {
	cfg     Config
	grpc    *grpc.Server
	health  *health.Server
	forward *Forwarder
	node    *transport.Node
	drain   chan struct{}
}

// NewServer returns a server that serves once Run is called.
func NewServer(cfg Config, node *transport.Node) *Server {
	creds := insecure.NewCredentials()
	if cfg.TLS != nil {
		creds = cfg.TLS.Credentials()
	}
	s := &Server{
		cfg: cfg, node: node, health: health.NewServer(), drain: make(chan struct{}),
		forward: NewForwarder(node, creds, cfg.Dial),
	}
	s.grpc = grpc.NewServer(
		grpc.Creds(creds),
		grpc.MaxRecvMsgSize(MaxMessage),
		grpc.MaxConcurrentStreams(4096),
		grpc.NumStreamWorkers(streamWorkers), // their stacks have grown already
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 10 * time.Second, Timeout: 5 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 2 * time.Second, PermitWithoutStream: true}),
		grpc.ChainUnaryInterceptor(s.observe, s.guardNode),
		grpc.WaitForHandlers(true),
	)
	tkcoordv1.RegisterEdgeServer(s.grpc, &Edge{node: node, forward: s.forward, log: cfg.Log, drain: s.drain})
	tkcoordv1.RegisterAdminServer(s.grpc, &Admin{node: node, forward: s.forward, log: cfg.Log})
	tkcoordv1.RegisterNodeServer(s.grpc, &Node{node: node})
	grpc_health_v1.RegisterHealthServer(s.grpc, s.health)
	reflection.Register(s.grpc)
	return s
}

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
	err := <-failed
	done()
	reports.Wait()
	if ctx.Err() != nil {
		<-s.drain
		s.grpc.GracefulStop() // returns once stop is done
		err = nil
	}
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
		for _, name := range []string{"", tkcoordv1.Edge_ServiceDesc.ServiceName, tkcoordv1.Admin_ServiceDesc.ServiceName} {
			s.health.SetServingStatus(name, st)
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
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

// guardNode lets only nodes of this cluster use the Node service: with TLS, the
// certificate must be that of a node.
func (s *Server) guardNode(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if !strings.HasPrefix(info.FullMethod, "/"+tkcoordv1.Node_ServiceDesc.ServiceName+"/") || s.cfg.TLS == nil {
		return next(ctx, req)
	}
	if p, ok := peer.FromContext(ctx); ok {
		if t, ok := p.AuthInfo.(credentials.TLSInfo); ok && len(t.State.PeerCertificates) > 0 && s.isNode(t.State.PeerCertificates[0]) {
			return next(ctx, req)
		}
	}
	return nil, status.Error(codes.PermissionDenied, "only nodes of this cluster may call this service")
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
