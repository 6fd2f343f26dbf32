package host

import (
	"context"
	"net"
	"net/netip"
	"strconv"

	"github.com/tkcoord/tkcoord/jepsen/netfault"
)

// The ports of every node, see `tkcoord serve --help`.
const (
	portCalls  = 7700
	portRaft   = 7701
	portGossip = 7702
	portHTTP   = 7703
)

// classes tells what a flow is about. HTTP is the harness's own business and is
// never mistreated.
func classes() netfault.Ports {
	return netfault.Ports{portCalls: netfault.Calls, portRaft: netfault.Raft, portGossip: netfault.Gossip}
}

// A place is where one host's process runs.
type place struct {
	thread *netfault.Thread
	listen netip.Addr // what the process listens on, and the harness connects to
	public netip.Addr // what the other hosts connect to
	// started and ended are told of the host's processes.
	started, ended func(pid int)
}

// A network connects the hosts of a run. There are two kinds, see Mode.
type network interface {
	// node and edge make a host; i counts each kind from 0.
	node(i int, name string) (place, error)
	edge(i int, name string) (place, error)
	// run carries traffic until ctx ends. All hosts have been made.
	run(ctx context.Context) error
	// dial connects the harness to a host; no fault affects it.
	dial(ctx context.Context, address string) (net.Conn, error)
	// close frees everything; run must have returned or never been called.
	close() error
}

// A Mode is how the hosts of a run are connected.
type Mode string

const (
	// Loopback hosts are processes on 127.0.0.0/8 behind relays. No root is
	// needed. Connections can be cut one way, delayed and slowed; only gossip's
	// datagrams can be lost, doubled or reordered.
	Loopback Mode = "loopback"
	// Netns hosts are network namespaces around a switch in the harness, which
	// needs root. Every packet can be mistreated.
	Netns Mode = "netns"
)

func at(a netip.Addr, port int) string { return net.JoinHostPort(a.String(), strconv.Itoa(port)) }
