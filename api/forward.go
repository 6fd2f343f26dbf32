package api

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"github.com/tkcoord/tkcoord/transport"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// errNoLeader: there is nobody to pass the call on to.
var errNoLeader = errors.New("no leader to forward to")

// forwardedBy is the request metadata of a call that another node passed on. It
// is not passed on again: leadership moves while calls travel, and two nodes
// must not send a call back and forth.
const forwardedBy = "tkcoord-forwarded-by"

// A Forwarder passes calls on to the leader over connections that it keeps, one
// per node. Safe for concurrent use.
type Forwarder struct {
	node  *transport.Node
	creds credentials.TransportCredentials
	dial  func(ctx context.Context, hostport string) (net.Conn, error) // nil: TCP

	traces *tracing // nil: none; set before the first call

	mu     sync.Mutex // guards the rest
	conns  map[string]*grpc.ClientConn
	closed bool
}

// NewForwarder returns a forwarder without connections. dial may be nil.
func NewForwarder(node *transport.Node, creds credentials.TransportCredentials, dial func(ctx context.Context, hostport string) (net.Conn, error)) *Forwarder {
	return &Forwarder{node: node, creds: creds, dial: dial, conns: make(map[string]*grpc.ClientConn)}
}

// Leader returns a connection to the leader and a context for a call over it.
// It fails with errNoLeader if none is known, if it is this node, or if the call
// was forwarded already.
func (f *Forwarder) Leader(ctx context.Context) (context.Context, *grpc.ClientConn, error) {
	if len(metadata.ValueFromIncomingContext(ctx, forwardedBy)) > 0 {
		return nil, nil, fmt.Errorf("%w: the call was forwarded already", errNoLeader)
	}
	l, ok := f.node.Leader()
	if !ok || l.Address == "" || l.ID == f.node.ID() {
		return nil, nil, errNoLeader
	}
	conn, err := f.To(l.Address)
	if err != nil {
		return nil, nil, err
	}
	return metadata.AppendToOutgoingContext(ctx, forwardedBy, f.node.ID()), conn, nil
}

// To returns the connection to a node.
func (f *Forwarder) To(address string) (*grpc.ClientConn, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, fmt.Errorf("%w: this node is shutting down", errNoLeader)
	}
	if c, ok := f.conns[address]; ok {
		return c, nil
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(f.creds),
		// Without keepalive a connection into a silent partition lives for a
		// quarter of an hour.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 5 * time.Second, Timeout: 2 * time.Second, PermitWithoutStream: true}),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: quickBackoff, MinConnectTimeout: 2 * time.Second}),
		grpc.WithDisableRetry(), // the client decides whether to ask again
	}
	if f.dial != nil {
		options = append(options, grpc.WithContextDialer(f.dial))
	}
	options = append(options, f.traces.client()...)
	c, err := grpc.NewClient("passthrough:///"+address, options...)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", address, err)
	}
	f.conns[address] = c
	return c, nil
}

// Exchange passes an exchange on.
func (f *Forwarder) Exchange(ctx context.Context, req *tkcoordv1.ExchangeRequest) (*tkcoordv1.ExchangeResponse, error) {
	ctx, conn, err := f.Leader(ctx)
	if err != nil {
		return nil, err
	}
	res, err := tkcoordv1.NewEdgeClient(conn).Exchange(ctx, req)
	return res, passedOn(err)
}

// passedOn translates the error of a forwarded call. A status that the leader
// made, it explains itself. A broken connection does not say whether the leader
// took the call.
func passedOn(err error) error {
	if status.Code(err) != codes.Unavailable {
		return err
	}
	if reason, _ := Reason(err); reason != "" {
		return err
	}
	return fmt.Errorf("%w: connection to the leader: %w", transport.ErrOutcomeUnknown, errors.New(status.Convert(err).Message()))
}

// Close closes all connections.
func (f *Forwarder) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	var errs []error
	for a, c := range f.conns {
		errs = append(errs, c.Close())
		delete(f.conns, a)
	}
	return errors.Join(errs...)
}
