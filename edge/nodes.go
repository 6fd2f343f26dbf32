package edge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tkcoord/tkcoord/api/throttlekitv1"
	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// leaderHeader is the response metadata that names the leader's address.
const leaderHeader = "tkcoord-leader"

const (
	maxConns = 16               // to configured addresses and to leaders heard of
	distrust = 10 * time.Second // for a leader that was named but did not answer
)

// nodes are the ways to the cluster: one connection per address, and which to
// use next. The leader is preferred once it is known, for it saves a hop; an
// address that failed makes room for the next one.
type nodes struct {
	options []grpc.DialOption
	log     *slog.Logger

	mu        sync.Mutex // guards what follows
	addresses []string   // as configured
	next      int        // of addresses
	leader    string     // "" while none is known, or none that answers
	shunned   string     // a leader that did not answer
	until     time.Time  // and for how long it is not followed
	conns     map[string]*grpc.ClientConn
	over      bool
}

func newNodes(cfg Config) *nodes {
	creds := insecure.NewCredentials()
	if cfg.TLS != nil {
		creds = credentials.NewTLS(cfg.TLS)
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(creds),
		// Without keepalive a connection into a silent partition lives for a
		// quarter of an hour. 10 s is the least that the library accepts.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 2 * time.Second, PermitWithoutStream: true}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
			MinConnectTimeout: time.Second,
		}),
		grpc.WithDisableRetry(), // the edge asks again itself, elsewhere
		grpc.WithIdleTimeout(0), // an edge that needs nothing still wants the next exchange to be quick
		grpc.WithDisableServiceConfig(),
	}
	return &nodes{
		options: append(options, cfg.DialOptions...), log: cfg.Logger,
		addresses: slices.Clone(cfg.Addresses), next: rand.N(len(cfg.Addresses)),
		conns: make(map[string]*grpc.ClientConn),
	}
}

// exchange asks one node. The next call asks another one if this one failed.
func (n *nodes) exchange(ctx context.Context, req *tkcoordv1.ExchangeRequest) (*tkcoordv1.ExchangeResponse, error) {
	address, conn, err := n.pick()
	if err != nil {
		return nil, err
	}
	var header metadata.MD
	res, err := tkcoordv1.NewEdgeClient(conn).Exchange(ctx, req, grpc.Header(&header))
	if err != nil {
		n.failed(address, err)
		return nil, fmt.Errorf("exchange with %s: %w", address, err)
	}
	if at := header.Get(leaderHeader); len(at) > 0 {
		n.hint(at[0])
	}
	return res, nil
}

// debit asks one node. The next call asks another one if this one failed to reach a
// leader.
func (n *nodes) debit(ctx context.Context, req *throttlekitv1.DebitRequest) (*throttlekitv1.DebitResponse, error) {
	address, conn, err := n.pick()
	if err != nil {
		return nil, err
	}
	res, err := throttlekitv1.NewRateLimiterClient(conn).Debit(ctx, req)
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded:
		n.failed(address, err)
	}
	return res, err
}

// pick returns the address to ask next, and a connection to it.
func (n *nodes) pick() (string, *grpc.ClientConn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.over {
		return "", nil, ErrClosed
	}
	address := n.leader
	if address == "" {
		address = n.addresses[n.next%len(n.addresses)]
	}
	conn, err := n.connect(address)
	return address, conn, err
}

// connect returns the connection to an address.
func (n *nodes) connect(address string) (*grpc.ClientConn, error) {
	if c, ok := n.conns[address]; ok {
		return c, nil
	}
	if len(n.conns) >= maxConns {
		n.forget()
	}
	target := address
	if !strings.Contains(address, "://") {
		target = "passthrough:///" + address
	}
	c, err := grpc.NewClient(target, n.options...)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", address, err)
	}
	n.conns[address] = c
	return c, nil
}

// forget closes the connections to leaders of the past. A watch on one of them is
// opened again elsewhere.
func (n *nodes) forget() {
	for a, c := range n.conns {
		if a != n.leader && !slices.Contains(n.addresses, a) {
			_ = c.Close() // fails only if it is closed already
			delete(n.conns, a)
		}
	}
}

// failed moves on to another node: the leader if the error names one, the next
// address otherwise.
func (n *nodes) failed(address string, err error) {
	_, leader := why(err)
	n.mu.Lock()
	if n.leader == address {
		n.leader, n.shunned, n.until = "", address, time.Now().Add(distrust)
	}
	if n.addresses[n.next%len(n.addresses)] == address {
		n.next++
	}
	n.mu.Unlock()
	if leader != "" && leader != address {
		n.hint(leader)
	}
}

// hint names the leader. One that did not answer a moment ago is not believed:
// its address may be one that only nodes can reach.
func (n *nodes) hint(leader string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if leader == n.leader || leader == n.shunned && time.Now().Before(n.until) {
		return
	}
	n.log.Debug("following the leader", "node", leader)
	n.leader = leader
}

func (n *nodes) close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.over = true
	var errs []error
	for a, c := range n.conns {
		errs = append(errs, c.Close())
		delete(n.conns, a)
	}
	return errors.Join(errs...)
}
