package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"time"

	"github.com/tkcoord/tkcoord/jepsen/host"
	"github.com/tkcoord/tkcoord/jepsen/netfault"
)

// secret is that of Monitor at all nodes, which show it to each other, and of Fleet at
// the guarded node, the last one. At the others Fleet serves who is on the same
// machine.
const secret = "open sesame"

// A cluster is three nodes on this machine.
type cluster struct {
	binary string
	thread *netfault.Thread // which the nodes die with
	nodes  []*node
}

type node struct {
	*host.Process
	calls, raft, gossip, http string
}

const nodes = 3

// openCluster makes the nodes on free ports. It starts none; close undoes it.
func openCluster(binary, dir string) (_ *cluster, err error) {
	c := &cluster{binary: binary, thread: netfault.NewThread()}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.close())
		}
	}()
	ports, err := freePorts(4 * nodes)
	if err != nil {
		return c, err
	}
	for i := range nodes {
		n := &node{calls: ports[4*i], raft: ports[4*i+1], gossip: ports[4*i+2], http: ports[4*i+3]}
		c.nodes = append(c.nodes, n)
	}
	for i, n := range c.nodes {
		name := fmt.Sprintf("n%d", i+1)
		argv := c.argv(i, filepath.Join(dir, name))
		n.Process, err = host.NewProcess(host.Spec{
			Name: name, Argv: func(int) []string { return argv }, Env: c.env(n),
			Dir: dir, Log: filepath.Join(dir, name+".log"), Thread: c.thread,
		})
		if err != nil {
			return c, err
		}
	}
	return c, nil
}

func (c *cluster) argv(i int, data string) []string {
	n := c.nodes[i]
	var join []string
	for _, o := range c.nodes {
		join = append(join, o.gossip)
	}
	argv := []string{
		c.binary, "serve", fmt.Sprintf("--node-id=n%d", i+1), "--cluster=interop", "--data=" + data,
		"--grpc=" + n.calls, "--raft=" + n.raft, "--gossip=" + n.gossip, "--http=" + n.http,
		fmt.Sprintf("--bootstrap-expect=%d", nodes), "--join=" + strings.Join(join, ","),
	}
	return argv
}

// env sets what must not be on command lines.
func (c *cluster) env(n *node) []string {
	fleet := ""
	if n == c.guarded() {
		fleet = secret
	}
	return []string{"TKCOORD_MONITOR_SECRET=" + secret, "TKCOORD_FLEET_SECRET=" + fleet, "THROTTLEKIT_MONITOR_SECRET=", "THROTTLEKIT_FLEET_SECRET="}
}

// guarded returns the node that wants secrets.
func (c *cluster) guarded() *node { return c.nodes[len(c.nodes)-1] }

// freePorts returns addresses on loopback that were free a moment ago.
func freePorts(n int) (all []string, err error) {
	for range n {
		l, lerr := net.Listen("tcp", "127.0.0.1:0")
		if lerr != nil {
			return nil, lerr
		}
		defer l.Close() // NB: all of them are open until the last is found, so they differ
		all = append(all, l.Addr().String())
	}
	return all, nil
}

// start starts all nodes, waits until they serve, and gives them the policies.
func (c *cluster) start(ctx context.Context, policies string) error {
	for _, n := range c.nodes {
		if err := n.Start(); err != nil {
			return err
		}
	}
	for _, n := range c.nodes {
		if _, err := n.AwaitReady(ctx); err != nil {
			return err
		}
	}
	_, err := c.tkcoord(ctx, "policy", "apply", "-f", policies, "--yes")
	return err
}

// tkcoord runs a command of an operator.
func (c *cluster) tkcoord(ctx context.Context, args ...string) ([]byte, error) {
	args = append(args, "--addr="+strings.Join(c.addresses(0), ","))
	return output(command(ctx, "", c.binary, args...))
}

// addresses returns those of all nodes, in their order from some node on.
func (c *cluster) addresses(from int) (all []string) {
	for i := range c.nodes {
		all = append(all, c.nodes[(from+i)%len(c.nodes)].calls)
	}
	return all
}

// errNoLeader: no node says that it leads.
var errNoLeader = errors.New("no node leads")

// leader returns the index of the node that leads, and its term.
func (c *cluster) leader(ctx context.Context) (int, uint64, error) {
	out, err := c.tkcoord(ctx, "status", "-o", "json", "--timeout=1s")
	var s struct {
		Leader *struct {
			NodeID string `json:"node_id"`
			Term   uint64 `json:"term"`
		} `json:"leader"`
		Members []struct {
			NodeID string `json:"node_id"`
			Node   *struct {
				State string `json:"raft_state"`
			} `json:"node"`
		} `json:"members"`
	}
	if jerr := json.Unmarshal(out, &s); jerr != nil { // the exit code only says that something is wrong
		return 0, 0, errors.Join(err, jerr)
	}
	if s.Leader == nil {
		return 0, 0, errNoLeader
	}
	for _, m := range s.Members {
		if m.NodeID == s.Leader.NodeID && m.Node == nil {
			return 0, 0, errNoLeader // it is gone, and the others do not know yet
		}
	}
	for i, n := range c.nodes {
		if n.Name() == s.Leader.NodeID {
			return i, s.Leader.Term, nil
		}
	}
	return 0, 0, fmt.Errorf("the leader is %q, of another cluster", s.Leader.NodeID)
}

// awaitLeader returns the first leader of a term after some term.
func (c *cluster) awaitLeader(ctx context.Context, after uint64) (int, uint64, error) {
	t := time.NewTicker(20 * time.Millisecond)
	defer t.Stop()
	for {
		i, term, err := c.leader(ctx)
		if err == nil && term > after {
			return i, term, nil
		}
		select {
		case <-ctx.Done():
			return 0, 0, errors.Join(ctx.Err(), err)
		case <-t.C:
		}
	}
}

// stop stops the nodes in order, as an operator would.
func (c *cluster) stop(ctx context.Context) (err error) {
	for _, n := range c.nodes {
		err = errors.Join(err, n.Stop(ctx))
	}
	return err
}

// close kills what runs. It may be called twice.
func (c *cluster) close() (err error) {
	for _, n := range c.nodes {
		if n.Process != nil {
			err = errors.Join(err, n.Close())
		}
	}
	return errors.Join(err, c.thread.Close())
}

// trouble returns lines of the nodes' logs that nothing excuses, and nodes that
// ended by themselves.
func (c *cluster) trouble() (all []string) {
	for _, n := range c.nodes {
		for _, t := range n.Trouble() {
			all = append(all, n.Name()+": "+t)
		}
		for _, e := range n.Exits() {
			if !e.Told {
				all = append(all, fmt.Sprintf("%s ended by itself: %s", n.Name(), e.State))
			}
		}
	}
	return all
}
