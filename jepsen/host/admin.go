package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/keepalive"
)

// askTime bounds a question to one node: one that is paused does not answer.
const askTime = time.Second

// Conn returns the harness's connection to a node's public doors. It comes back
// by itself after the node was away.
func (n *Node) Conn() (*grpc.ClientConn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.conn != nil {
		return n.conn, nil
	}
	retry := backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 200 * time.Millisecond}
	conn, err := grpc.NewClient("passthrough:///"+n.Direct,
		grpc.WithTransportCredentials(n.cluster.Credentials()),
		grpc.WithContextDialer(n.cluster.Dial),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: retry, MinConnectTimeout: askTime}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 2 * time.Second}),
		grpc.WithDisableRetry(),
		grpc.WithDisableServiceConfig(),
	)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", n.Name(), err)
	}
	n.conn = conn
	return conn, nil
}

// Status asks a node how it sees itself and the cluster.
func (n *Node) Status(ctx context.Context) (*tkcoordv1.StatusResponse, error) {
	conn, err := n.Conn()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	return tkcoordv1.NewAdminClient(conn).Status(ctx, &tkcoordv1.StatusRequest{})
}

// Ready reports why a node should not be sent traffic now, nil if it should.
func (n *Node) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.HTTP+"/readyz", nil)
	if err != nil {
		return err
	}
	client := http.Client{Transport: &http.Transport{
		DialContext:       func(ctx context.Context, _, address string) (net.Conn, error) { return n.cluster.Dial(ctx, address) },
		DisableKeepAlives: true,
	}}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	why, err := io.ReadAll(io.LimitReader(res.Body, 1<<10))
	if err != nil || res.StatusCode == http.StatusOK {
		return err
	}
	return fmt.Errorf("%s: %s", n.Name(), strings.TrimSpace(string(why)))
}

// ErrNoLeader means that no node that answers leads.
var ErrNoLeader = errors.New("no node leads")

// Leader returns the node that leads in the newest term, or ErrNoLeader. Nodes
// that do not answer are passed over, so it may be out of date.
func (c *Cluster) Leader(ctx context.Context) (*Node, error) {
	answers := make([]*tkcoordv1.StatusResponse, len(c.nodes))
	done := make(chan struct{})
	for i, n := range c.nodes {
		go func() {
			answers[i], _ = n.Status(ctx) // no answer is nil
			done <- struct{}{}
		}()
	}
	for range c.nodes {
		<-done
	}
	var leader *Node
	var term uint64
	for i, a := range answers {
		if a != nil && a.RaftState == "Leader" && a.Term >= term {
			leader, term = c.nodes[i], a.Term
		}
	}
	if leader == nil {
		return nil, ErrNoLeader
	}
	return leader, nil
}

// TransferLeadership asks the leader to hand over to a node.
func (c *Cluster) TransferLeadership(ctx context.Context, to *Node) error {
	from, err := c.Leader(ctx)
	if err != nil {
		return err
	}
	conn, err := from.Conn()
	if err != nil {
		return err
	}
	_, err = tkcoordv1.NewAdminClient(conn).TransferLeadership(ctx, &tkcoordv1.TransferLeadershipRequest{NodeId: to.Name()})
	return err
}

func (n *Node) close() error {
	n.mu.Lock()
	conn := n.conn
	n.conn = nil
	n.mu.Unlock()
	var err error
	if conn != nil {
		err = conn.Close()
	}
	return errors.Join(err, n.Close())
}
