package host

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"

	"github.com/tkcoord/tkcoord/jepsen/seam"
	"google.golang.org/grpc"
)

// clusterName is that of every cluster of the suite. Runs cannot meet: they have
// addresses of their own.
const clusterName = "tkjepsen"

// A Node is a host that runs tkcoord.
type Node struct {
	*Process
	Seam *seam.File // its clocks and its log store

	// Calls is the gRPC address that edges and other nodes use, through whatever
	// faults there are.
	Calls string
	// Data is the directory of its log and snapshots.
	Data string
	// Direct and HTTP are the addresses that the harness uses, see Cluster.Dial.
	Direct, HTTP string

	cluster *Cluster
	place   place
	gossip  string // address that others are told
	tls     []string

	mu    sync.Mutex // guards the rest
	extra []string   // flags for lives to come
	conn  *grpc.ClientConn
}

// openNode makes the i-th node. Close undoes it.
func (c *Cluster) openNode(i int) (*Node, error) {
	name := fmt.Sprintf("n%d", i+1)
	p, err := c.net.node(i, name)
	if err != nil {
		return nil, err
	}
	dir, err := c.hostDir(name)
	if err != nil {
		return nil, err
	}
	n := &Node{
		Seam:    seam.NewFile(filepath.Join(dir, "faults.json")),
		Calls:   at(p.public, portCalls),
		Data:    filepath.Join(dir, "data"),
		Direct:  at(p.listen, portCalls),
		HTTP:    at(p.listen, portHTTP),
		cluster: c, place: p, gossip: at(p.public, portGossip),
	}
	if c.cfg.TLS {
		if n.tls, err = c.certify(name, p); err != nil {
			return nil, err
		}
	}
	n.Process, err = c.process(name, dir, p, n.argv, c.cfg.Env)
	return n, err
}

// SetFlags replaces the flags that later lives get beside those of the
// configuration. The present life goes on as it is.
func (n *Node) SetFlags(flags ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.extra = flags
}

// argv is the command line of a node.
func (n *Node) argv(int) []string {
	c := &n.cluster.cfg
	argv := []string{
		c.Binary, "serve",
		"--node-id=" + n.Name(),
		"--cluster=" + clusterName,
		"--data=" + n.Data,
		"--fault-file=" + n.Seam.Path(),
		"--grpc=" + at(n.place.listen, portCalls),
		"--raft=" + at(n.place.listen, portRaft),
		"--gossip=" + at(n.place.listen, portGossip),
		"--http=" + at(n.place.listen, portHTTP),
		"--advertise=" + n.place.public.String(),
		"--join=" + strings.Join(n.cluster.seeds(), ","),
		fmt.Sprintf("--bootstrap-expect=%d", c.Nodes),
		"--heartbeat=" + c.Heartbeat.String(),
		"--tick=" + c.Tick.String(),
		"--max-lease-ttl=" + c.MaxLease.String(),
		"--session-idle=" + c.SessionIdle.String(),
		fmt.Sprintf("--clock-drift-ppm=%d", c.DriftPPM),
	}
	if c.Policies != "" {
		argv = append(argv, "--policies="+c.Policies)
	}
	if c.TLS {
		argv = append(argv, n.tls...)
	} else {
		argv = append(argv, "--insecure")
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return append(append(argv, c.Flags...), n.extra...)
}

// Serving returns when the node of the present life serves. It fails if the node
// ends before, or tells others an address at which no fault would reach it.
func (n *Node) Serving(ctx context.Context) error {
	line, err := n.AwaitListening(ctx)
	if err != nil {
		return err
	}
	for _, part := range []string{"grpc=" + n.Calls, "raft=" + at(n.place.public, portRaft), "gossip=" + n.gossip} {
		if !strings.Contains(line+" ", " "+part+" ") {
			return fmt.Errorf("%s tells others %q, want %s in it: faults would pass it by", n.Name(), line, part)
		}
	}
	_, err = n.AwaitReady(ctx)
	return err
}

// Ensure starts the node if it does not run, and returns when it serves.
func (n *Node) Ensure(ctx context.Context) error {
	if err := n.Start(); err != nil && !errors.Is(err, ErrRunning) {
		return err
	}
	return n.Serving(ctx)
}
