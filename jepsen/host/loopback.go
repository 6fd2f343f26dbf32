package host

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"syscall"

	"github.com/tkcoord/tkcoord/jepsen/netfault"
	"golang.org/x/sync/errgroup"
)

// loopback connects hosts on addresses of 127.0.0.0/8. Node i listens on
// 127.A.B.(101+i) and tells others 127.A.B.(1+i), where relays take its
// connections. A and B are of the run, so that runs do not meet.
type loopback struct {
	table  *netfault.Table
	owners *netfault.Owners
	seed   uint64
	net    [2]byte // A and B
	thread *netfault.Thread
	nodes  map[netip.Addr]string // by the address they send datagrams from
	relays []*netfault.Relay
	grams  []*netfault.DatagramRelay
}

func openLoopback(table *netfault.Table, seed uint64) *loopback {
	return &loopback{
		table: table, owners: netfault.NewOwners(), seed: seed,
		net:    [2]byte{byte(64 + rand.N(128)), byte(rand.N(256))},
		thread: netfault.NewThread(),
		nodes:  make(map[netip.Addr]string),
	}
}

// triesPerNet is how many networks are tried if an address is taken.
const triesPerNet = 10

func (l *loopback) node(i int, name string) (place, error) {
	for try := 0; ; try++ {
		p := place{
			thread: l.thread,
			public: netip.AddrFrom4([4]byte{127, l.net[0], l.net[1], byte(1 + i)}),
			listen: netip.AddrFrom4([4]byte{127, l.net[0], l.net[1], byte(101 + i)}),
		}
		err := l.relay(name, p)
		switch {
		case err == nil:
			l.nodes[p.listen] = name
			return l.owned(p, name), nil
		case i == 0 && try < triesPerNet && errors.Is(err, syscall.EADDRINUSE):
			err = l.closeRelays()
			l.net[1]++
			if err == nil {
				continue
			}
		}
		return place{}, fmt.Errorf("host %s: %w", name, err)
	}
}

// relay opens the doors that others find a node behind.
func (l *loopback) relay(name string, p place) error {
	for _, d := range []struct {
		port  int
		class netfault.Class
	}{{portCalls, netfault.Calls}, {portRaft, netfault.Raft}, {portGossip, netfault.Gossip}} {
		r, err := netfault.ListenRelay(netfault.RelayConfig{
			Table: l.table, To: name, Class: d.class, Listen: at(p.public, d.port), Target: at(p.listen, d.port),
			Who: l.owners.Who, Seed: l.seed,
		})
		if err != nil {
			return err
		}
		l.relays = append(l.relays, r)
	}
	g, err := netfault.ListenDatagrams(netfault.DatagramRelayConfig{
		Table: l.table, To: name, Class: netfault.Gossip, Listen: at(p.public, portGossip),
		Target: netip.AddrPortFrom(p.listen, portGossip),
		Who:    func(from netip.AddrPort) string { return l.nodes[from.Addr().Unmap()] },
		Seed:   l.seed,
	})
	if err != nil {
		return err
	}
	l.grams = append(l.grams, g)
	return nil
}

func (l *loopback) edge(_ int, name string) (place, error) {
	return l.owned(place{thread: l.thread}, name), nil
}

// owned makes the relays know the host by its processes.
func (l *loopback) owned(p place, name string) place {
	p.started = func(pid int) { l.owners.Add(pid, name) }
	p.ended = l.owners.Remove
	return p
}

func (l *loopback) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, r := range l.relays {
		g.Go(func() error { return r.Run(ctx) })
	}
	for _, r := range l.grams {
		g.Go(func() error { return r.Run(ctx) })
	}
	return g.Wait()
}

func (l *loopback) dial(ctx context.Context, address string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", address)
}

func (l *loopback) close() error {
	return errors.Join(l.closeRelays(), l.thread.Close())
}

func (l *loopback) closeRelays() error {
	var errs []error
	for _, r := range l.relays {
		errs = append(errs, r.Close())
	}
	for _, r := range l.grams {
		errs = append(errs, r.Close())
	}
	l.relays, l.grams = nil, nil
	return errors.Join(errs...)
}

// probeLoopback reports whether this machine can hold loopback hosts, by making
// one and asking whose connection reaches it.
func probeLoopback() error {
	table := netfault.NewTable()
	l := openLoopback(table, 0)
	p, err := l.node(0, "probe")
	if err != nil {
		return errors.Join(err, l.close())
	}
	defer l.close()
	back, err := net.Listen("tcp", at(p.listen, portCalls))
	if err != nil {
		return err
	}
	defer back.Close()
	c, err := net.Dial("tcp", back.Addr().String())
	if err != nil {
		return err
	}
	defer c.Close()
	peer, err := back.Accept()
	if err != nil {
		return err
	}
	defer peer.Close()
	l.owners.Add(os.Getpid(), "self")
	if l.owners.Who(peer) != "self" {
		return errors.New("the process that made a connection cannot be told, so its host cannot be either")
	}
	return nil
}
