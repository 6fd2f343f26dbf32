package host

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/tkcoord/tkcoord/jepsen/netfault"
)

// netns connects hosts that are network namespaces. Every run uses the same
// addresses: nobody else can see them.
type netns struct {
	lan     *netfault.Switch
	spaces  []*netfault.Namespace
	control *netfault.Namespace // the harness's own foot in the network
}

// controlName is the host that the harness itself is. Faults leave it alone.
const controlName = "harness"

func lanAddr(last int) netip.Addr { return netip.AddrFrom4([4]byte{10, 77, 0, byte(last)}) }

func openNetns(table *netfault.Table, seed uint64) (*netns, error) {
	n := &netns{lan: netfault.NewSwitch(table, classes(), seed)}
	if _, err := n.add(controlName, lanAddr(1)); err != nil {
		return nil, errors.Join(err, n.close())
	}
	n.control = n.spaces[0]
	return n, nil
}

func (n *netns) add(name string, a netip.Addr) (place, error) {
	s, err := netfault.OpenNamespace(netip.PrefixFrom(a, 24))
	if err != nil {
		return place{}, fmt.Errorf("host %s: %w", name, err)
	}
	n.spaces = append(n.spaces, s)
	n.lan.Attach(name, a, s.Device)
	return place{thread: s.Thread, listen: a, public: a, started: func(int) {}, ended: func(int) {}}, nil
}

func (n *netns) node(i int, name string) (place, error) { return n.add(name, lanAddr(11+i)) }

func (n *netns) edge(i int, name string) (place, error) { return n.add(name, lanAddr(101+i)) }

func (n *netns) run(ctx context.Context) error { return n.lan.Run(ctx) }

func (n *netns) dial(ctx context.Context, address string) (net.Conn, error) {
	return n.control.Dial(ctx, "tcp", address)
}

func (n *netns) close() error {
	var errs []error
	for _, s := range n.spaces {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

// probeNetns reports whether this machine lets the harness make namespaces with
// a device to a switch, by making one.
func probeNetns() error {
	s, err := netfault.OpenNamespace(netip.PrefixFrom(lanAddr(1), 24))
	if errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("needs root: %w", err)
	}
	if err != nil {
		return err
	}
	return s.Close()
}
