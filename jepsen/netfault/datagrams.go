package netfault

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// DatagramRelayConfig says which door of which host a relay of datagrams stands
// in front of.
type DatagramRelayConfig struct {
	Table  *Table
	To     string // host behind the relay
	Class  Class
	Listen string // host:port that others are told
	Target netip.AddrPort
	// Who names the host that sends from an address, "" if it is none of the
	// cluster.
	Who  func(netip.AddrPort) string
	Seed uint64
}

// A DatagramRelay passes the datagrams to one UDP door of a host through the
// table. The host sees the relay as their source, so it is for protocols that
// carry the address to answer to, as memberlist's does.
type DatagramRelay struct {
	cfg  DatagramRelayConfig
	conn *net.UDPConn
}

// ListenDatagrams opens the socket. Run serves it.
func ListenDatagrams(c DatagramRelayConfig) (*DatagramRelay, error) {
	at, err := net.ResolveUDPAddr("udp", c.Listen)
	if err != nil {
		return nil, err
	}
	conn, err := net.ListenUDP("udp", at)
	if err != nil {
		return nil, fmt.Errorf("datagram relay to %s, %v: %w", c.To, c.Class, err)
	}
	return &DatagramRelay{cfg: c, conn: conn}, nil
}

// Addr is what others are told.
func (r *DatagramRelay) Addr() netip.AddrPort {
	return r.conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

// Run relays until ctx ends, and then closes the socket.
func (r *DatagramRelay) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = r.conn.Close() })
	defer stop()
	lines := make(map[string]*line) // by sender
	defer func() {
		for _, l := range lines {
			l.close()
		}
	}()
	buf := make([]byte, maxPacket)
	for {
		n, from, err := r.conn.ReadFromUDPAddrPort(buf)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("datagram relay to %s: %w", r.cfg.To, err)
		}
		who := r.cfg.Who(from)
		l := lines[who]
		if l == nil {
			link := r.cfg.Table.Link(Flow{who, r.cfg.To, r.cfg.Class})
			l = newLine(link, linkRand(r.cfg.Seed, link.Flow()), func(p []byte) {
				_, _ = r.conn.WriteToUDPAddrPort(p, r.cfg.Target) // a host that is down loses datagrams
			})
			lines[who] = l
		}
		l.send(buf[:n])
	}
}

// Close closes a relay whose Run was not called.
func (r *DatagramRelay) Close() error {
	if err := r.conn.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}
