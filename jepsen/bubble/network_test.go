package bubble

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/memberlist"
)

// A network connects hosts. A host is a process, not a machine: it is named by
// its address, and a process that starts again makes a new one of the same name.
type network struct {
	mu     sync.Mutex // guards the rest; not held while a pipe's is taken
	rnd    *rand.Rand
	hosts  map[string]*host
	cut    map[link]bool // from, to
	conns  map[*conn]struct{}
	base   time.Duration // of a message, at least
	jitter time.Duration // exponential, on top
	slow   time.Duration // more of it, as a fault
	loss   float64       // of packets; on connections it is a delay
	storm  float64       // more of it, as a fault
}

type link struct{ from, to string }

// retransmit is what a lost segment of a connection costs.
const retransmit = 200 * time.Millisecond

func newNetwork(rnd *rand.Rand, base, jitter time.Duration, loss float64) *network {
	return &network{
		rnd: rnd, hosts: make(map[string]*host), cut: make(map[link]bool), conns: make(map[*conn]struct{}),
		base: base, jitter: jitter, loss: loss,
	}
}

// A host has listeners and gossip's packets.
type host struct {
	net *network
	ip  string

	mu        sync.Mutex // guards the rest
	dead      bool
	listeners map[string]*listener // by port
	gossip    *gossiping
}

// host makes the process at an address, in the place of an earlier one.
func (n *network) host(ip string) *host {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := &host{net: n, ip: ip, listeners: make(map[string]*listener)}
	n.hosts[ip] = h
	return h
}

func (n *network) at(ip string) *host {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.hosts[ip]
}

func (n *network) isCut(from, to string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cut[link{from, to}]
}

// setCut cuts or mends one direction. What waited arrives then.
func (n *network) setCut(from, to string, cut bool) {
	n.mu.Lock()
	if cut {
		n.cut[link{from, to}] = true
	} else {
		delete(n.cut, link{from, to})
	}
	n.mu.Unlock()
	n.wakeAll()
}

// heal mends everything.
func (n *network) heal() {
	n.mu.Lock()
	clear(n.cut)
	n.slow, n.storm = 0, 0
	n.mu.Unlock()
	n.wakeAll()
}

func (n *network) wakeAll() {
	for _, c := range n.all() {
		c.in.wake()
	}
}

func (n *network) all() []*conn {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := make([]*conn, 0, len(n.conns))
	for c := range n.conns {
		all = append(all, c)
	}
	return all
}

// trouble makes the whole network slow and lossy, until heal.
func (n *network) trouble(slow time.Duration, loss float64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.slow, n.storm = slow, loss
}

// delay draws how long a segment travels.
func (n *network) delay(from, to string) time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	d := n.base + time.Duration(n.rnd.ExpFloat64()*float64(n.jitter+n.slow))
	for range 5 {
		if n.rnd.Float64() >= n.loss+n.storm {
			break
		}
		d += retransmit
	}
	return min(d, 3*time.Second)
}

// lost draws whether a packet is.
func (n *network) lost(from, to string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cut[link{from, to}] || n.rnd.Float64() < n.loss+n.storm
}

func (n *network) remember(c *conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.conns[c] = struct{}{}
}

func (n *network) forget(c *conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.conns, c)
}

// kill takes a host off the network. What it sent and did not arrive is lost,
// and those connected to it find out now.
func (h *host) kill() {
	h.mu.Lock()
	h.dead = true
	h.mu.Unlock()
	for _, c := range h.net.all() {
		if c.in.from == h.ip || c.in.to == h.ip {
			c.reset()
		}
	}
}

func (h *host) isDead() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.dead
}

// dial connects to a listener. It takes a round trip, and into a cut, or to a
// host that is not there, as long as the caller waits.
func (h *host) dial(ctx context.Context, to string) (net.Conn, error) {
	ip, port, err := net.SplitHostPort(to)
	if err != nil {
		return nil, err
	}
	fail := func(err error) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: address(to), Err: err}
	}
	if h.isDead() {
		return fail(syscall.ENETDOWN)
	}
	if sleep(ctx, h.net.delay(h.ip, ip)+h.net.delay(ip, h.ip)) != nil {
		return fail(os.ErrDeadlineExceeded)
	}
	if h.isDead() {
		return fail(syscall.ENETDOWN)
	}
	other := h.net.at(ip)
	if other == nil || h.net.isCut(h.ip, ip) || h.net.isCut(ip, h.ip) {
		<-ctx.Done()
		return fail(os.ErrDeadlineExceeded)
	}
	l := other.listener(port)
	if l == nil {
		return fail(syscall.ECONNREFUSED)
	}
	there, back := newPipes(h.net, h.ip, ip)
	mine := &conn{in: back, out: there, local: address(net.JoinHostPort(h.ip, "0")), remote: address(to)}
	theirs := &conn{in: there, out: back, local: mine.remote, remote: mine.local}
	h.net.remember(mine)
	h.net.remember(theirs)
	select {
	case l.backlog <- theirs:
		return mine, nil
	case <-l.done:
	default: // backlog is full
	}
	mine.reset()
	theirs.reset()
	return fail(syscall.ECONNREFUSED)
}

// dialFor is dial with a timeout.
func (h *host) dialFor(to string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return h.dial(ctx, to)
}

// dialPatiently is dial as the operating system does without a deadline.
func (h *host) dialPatiently(ctx context.Context, to string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return h.dial(ctx, to)
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// A listener implements net.Listener.
type listener struct {
	host    *host
	port    string
	backlog chan net.Conn
	done    chan struct{}
	once    sync.Once
}

func (h *host) listen(port string) *listener {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := &listener{host: h, port: port, backlog: make(chan net.Conn, 128), done: make(chan struct{})}
	h.listeners[port] = l
	return l
}

func (h *host) listener(port string) *listener {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.dead {
		return nil
	}
	return h.listeners[port]
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.backlog:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() {
		close(l.done)
		l.host.mu.Lock()
		defer l.host.mu.Unlock()
		delete(l.host.listeners, l.port)
	})
	return nil
}

func (l *listener) Addr() net.Addr { return address(net.JoinHostPort(l.host.ip, l.port)) }

// A gossiping is memberlist's network: packets, and connections.
type gossiping struct {
	host    *host
	port    string
	packets chan *memberlist.Packet
	streams chan net.Conn
	listen  *listener
}

// openGossip opens the host's port for gossip.
func (h *host) openGossip(port string) *gossiping {
	g := &gossiping{
		host: h, port: port, listen: h.listen(port),
		packets: make(chan *memberlist.Packet, 256), streams: make(chan net.Conn),
	}
	h.mu.Lock()
	h.gossip = g
	h.mu.Unlock()
	go func() {
		for {
			c, err := g.listen.Accept()
			if err != nil {
				return
			}
			select {
			case g.streams <- c:
			case <-g.listen.done:
				c.Close()
				return
			}
		}
	}()
	return g
}

// FinalAdvertiseAddr implements memberlist.Transport, as do the methods below.
func (g *gossiping) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	p, err := strconv.Atoi(g.port)
	return net.ParseIP(g.host.ip).To4(), p, err
}

func (g *gossiping) WriteTo(b []byte, to string) (time.Time, error) {
	ip, _, err := net.SplitHostPort(to)
	if err != nil {
		return time.Time{}, err
	}
	now, n := time.Now(), g.host.net
	if g.host.isDead() {
		return time.Time{}, fmt.Errorf("send to %s: %w", to, syscall.ENETDOWN)
	}
	if n.lost(g.host.ip, ip) {
		return now, nil
	}
	p := &memberlist.Packet{Buf: append([]byte(nil), b...), From: g.listen.Addr()}
	other := n.at(ip)
	time.AfterFunc(n.delay(g.host.ip, ip), func() {
		if other != nil && !g.host.isDead() {
			other.receive(p)
		}
	})
	return now, nil
}

// receive drops what finds no room, as UDP does.
func (h *host) receive(p *memberlist.Packet) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.dead || h.gossip == nil {
		return
	}
	p.Timestamp = time.Now()
	select {
	case h.gossip.packets <- p:
	default:
	}
}

func (g *gossiping) PacketCh() <-chan *memberlist.Packet { return g.packets }
func (g *gossiping) StreamCh() <-chan net.Conn           { return g.streams }

func (g *gossiping) DialTimeout(to string, timeout time.Duration) (net.Conn, error) {
	return g.host.dialFor(to, timeout)
}

// WriteToAddress implements memberlist.NodeAwareTransport.
func (g *gossiping) WriteToAddress(b []byte, to memberlist.Address) (time.Time, error) {
	return g.WriteTo(b, to.Addr)
}

// DialAddressTimeout implements memberlist.NodeAwareTransport.
func (g *gossiping) DialAddressTimeout(to memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return g.DialTimeout(to.Addr, timeout)
}

func (g *gossiping) Shutdown() error {
	g.host.mu.Lock()
	g.host.gossip = nil
	g.host.mu.Unlock()
	return g.listen.Close()
}
