package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// A cluster is three node processes on loopback.
type cluster struct {
	nodes []*child
	grpc  []string // addresses by node
	ids   []string
	conns map[string]*grpc.ClientConn
}

const bootPatience = 30 * time.Second

// startCluster starts the nodes and waits until all of them serve.
func startCluster(ctx context.Context, c *Config, name string) (_ *cluster, err error) {
	dir := filepath.Join(c.Dir, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	policies := filepath.Join(dir, "policies.yaml")
	text := fmt.Sprintf("version: 1\nlimiters:\n  %s: { strategy: fixedWindow, limit: 9007199254740991, period: %d }\n%s", benchPolicy, measuredWindow.Milliseconds(), checkPolicies)
	if err := os.WriteFile(policies, []byte(text), 0o600); err != nil {
		return nil, err
	}
	cl := &cluster{conns: map[string]*grpc.ClientConn{}}
	ports, err := freePorts(4 * c.Nodes)
	if err != nil {
		return nil, err
	}
	at := func(i, door int) string { return fmt.Sprintf("127.0.0.1:%d", ports[4*i+door]) }
	var seeds []string
	for i := range c.Nodes {
		seeds = append(seeds, at(i, 2))
	}
	for i := range c.Nodes {
		id := fmt.Sprintf("n%d", i+1)
		n := &child{name: id, log: filepath.Join(dir, id+".log"), args: []string{
			c.Binary, "serve", "--node-id", id, "--cluster", name, "--data", filepath.Join(dir, id),
			"--grpc", at(i, 0), "--raft", at(i, 1), "--gossip", at(i, 2), "--http", at(i, 3),
			"--bootstrap-expect", fmt.Sprint(c.Nodes), "--join", strings.Join(seeds, ","),
			"--policies", policies, "--log-level", "warn",
		}}
		if _, err := n.start(ctx, bootPatience); err != nil {
			cl.stop()
			return nil, err
		}
		cl.nodes, cl.grpc, cl.ids = append(cl.nodes, n), append(cl.grpc, at(i, 0)), append(cl.ids, id)
	}
	if err := cl.waitReady(ctx, bootPatience); err != nil {
		cl.stop()
		return nil, err
	}
	return cl, nil
}

// freePorts returns ports that were free a moment ago.
func freePorts(n int) ([]int, error) {
	var ports []int
	var held []net.Listener
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		held = append(held, l)
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	var errs []error
	for _, l := range held {
		errs = append(errs, l.Close())
	}
	return ports, errors.Join(errs...)
}

// dial returns the connection to an address.
func (cl *cluster) dial(address string) (*grpc.ClientConn, error) {
	if c, ok := cl.conns[address]; ok {
		return c, nil
	}
	c, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err == nil {
		cl.conns[address] = c
	}
	return c, err
}

// waitReady returns once every node serves.
func (cl *cluster) waitReady(ctx context.Context, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		waiting := ""
		for i := range cl.nodes {
			s, err := cl.status(ctx, i)
			switch {
			case err != nil:
				waiting = err.Error()
			case !s.Serving:
				waiting = cl.ids[i] + ": " + s.NotServingReason
			}
		}
		if waiting == "" {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("cluster not ready: %s", waiting)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (cl *cluster) status(ctx context.Context, i int) (*tkcoordv1.StatusResponse, error) {
	conn, err := cl.dial(cl.grpc[i])
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return tkcoordv1.NewAdminClient(conn).Status(ctx, &tkcoordv1.StatusRequest{})
}

// leader returns the index of the node that leads.
func (cl *cluster) leader(ctx context.Context) (int, error) {
	for {
		for i := range cl.nodes {
			if s, err := cl.status(ctx, i); err == nil && s.Leader.GetNodeId() == cl.ids[i] {
				return i, nil
			}
		}
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("no leader: %w", ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// cpu returns the time that all nodes have computed for.
func (cl *cluster) cpu() (sum time.Duration) {
	for _, n := range cl.nodes {
		sum += n.cpu()
	}
	return sum
}

// stop ends all nodes.
func (cl *cluster) stop() {
	for _, c := range cl.conns {
		_ = c.Close() // nothing is under way
	}
	for _, n := range cl.nodes {
		n.kill()
	}
}
