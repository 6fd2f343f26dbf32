package transport

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	"golang.org/x/time/rate"
)

// A StreamLayer is the raft.StreamLayer of a node: connections to and from peers
// that have shown who they are.
//
// A stream exists only between the two servers that were meant, of the same
// cluster: the dialler names whom it wants, both say who they are, and with TLS
// each certificate must carry CertName for the name its owner claims. Raft
// itself asks for none of this.
//
// Addresses for Dial have the form id@host:port; RaftTransport makes them.
type StreamLayer struct {
	cfg   StreamConfig
	addr  net.Addr
	slots chan struct{} // one token per handshake under way

	ready  chan net.Conn // to Accept
	failed chan error    // likewise, from the listener
	done   chan struct{} // closed by Close
	work   sync.WaitGroup
	noise  rate.Sometimes // refusals in the log

	mu        sync.Mutex // guards the rest
	accepting bool
	closed    bool
	clusterID string
	streams   map[*stream]struct{}
}

// NewStreamLayer returns a stream layer. It accepts nothing before Accept is
// called. Close closes the listener, also if an error is returned here.
func NewStreamLayer(c StreamConfig) (*StreamLayer, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("raft streams: %w", err)
	}
	s := &StreamLayer{
		cfg:       c,
		addr:      c.Listener.Addr(),
		slots:     make(chan struct{}, c.MaxHandshakes),
		ready:     make(chan net.Conn),
		failed:    make(chan error),
		done:      make(chan struct{}),
		noise:     rate.Sometimes{First: 10, Interval: time.Second},
		clusterID: c.ClusterID,
		streams:   make(map[*stream]struct{}),
	}
	if c.Advertise != "" {
		s.addr = advertised(c.Advertise)
	}
	host, _, err := net.SplitHostPort(s.addr.String())
	if ip := net.ParseIP(host); err != nil || host == "" || ip != nil && ip.IsUnspecified() {
		return nil, fmt.Errorf("raft streams: peers cannot dial %q: advertise another address", s.addr)
	}
	return s, nil
}

// advertised is an address as peers know it, which need not resolve here.
type advertised string

func (a advertised) Network() string { return "tcp" }
func (a advertised) String() string  { return string(a) }

// target is the address that Dial takes.
func target(id raft.ServerID, address raft.ServerAddress) raft.ServerAddress {
	return raft.ServerAddress(id) + "@" + address
}

// A stream is one connection, open or in its handshake.
type stream struct {
	net.Conn          // what raft uses: TLS, or raw
	raw      net.Conn // closing this one never waits for the peer
	layer    *StreamLayer
	peer     *hello // nil until the handshake is over
}

// Close implements net.Conn.
func (c *stream) Close() error {
	c.layer.mu.Lock()
	delete(c.layer.streams, c)
	c.layer.mu.Unlock()
	return c.Conn.Close()
}

// Addr implements net.Listener: the address that peers dial.
func (s *StreamLayer) Addr() net.Addr { return s.addr }

// dialTimeout bounds the wait for a TCP connection. It is short so that after a
// partition a fresh attempt is made soon: the kernel repeats its own ever more
// rarely.
const dialTimeout = 2 * time.Second

// keepAlive finds a peer that is gone within about 10 s.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 2 * time.Second, Count: 3}

// DialTCP dials for a StreamLayer.
func DialTCP(hostport string, timeout time.Duration) (net.Conn, error) {
	d := net.Dialer{Timeout: timeout, KeepAliveConfig: keepAlive}
	return d.Dial("tcp", hostport)
}

// Dial implements raft.StreamLayer.
func (s *StreamLayer) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	at := strings.LastIndexByte(string(address), '@')
	if at < 1 {
		return nil, fmt.Errorf("dial %s: it does not say whom", address)
	}
	id, hostport := raft.ServerID(address[:at]), string(address[at+1:])
	if timeout <= 0 || timeout > dialTimeout {
		timeout = dialTimeout
	}
	raw, err := s.cfg.Dial(hostport, timeout)
	if err != nil {
		return nil, err
	}
	c, _, err := s.shake(raw, id)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", address, err)
	}
	return c, nil
}

// Accept implements net.Listener. Handshakes go on beside it; it returns the
// connections for which they are over.
func (s *StreamLayer) Accept() (net.Conn, error) {
	s.mu.Lock()
	if !s.accepting && !s.closed {
		s.accepting = true
		s.work.Go(s.acceptLoop)
	}
	s.mu.Unlock()
	select {
	case c := <-s.ready:
		return c, nil
	case err := <-s.failed:
		return nil, err
	case <-s.done:
		return nil, net.ErrClosed
	}
}

func (s *StreamLayer) acceptLoop() {
	for {
		raw, err := s.cfg.Listener.Accept()
		switch {
		case err != nil: // out of files, say: raft logs it and slows down
			select {
			case s.failed <- err:
			case <-s.done:
				return
			}
		case !s.room():
			s.refused(raw, hello{}, errors.New("too many connections"))
			raw.Close()
		default:
			s.work.Go(func() { s.receive(raw) })
		}
	}
}

// room takes a slot for a handshake, if there is one and a stream may be added.
func (s *StreamLayer) room() bool {
	s.mu.Lock()
	full := len(s.streams) >= s.cfg.MaxStreams
	s.mu.Unlock()
	if full {
		return false
	}
	select {
	case s.slots <- struct{}{}:
		return true
	default:
		return false
	}
}

// receive shakes hands with a peer that dialled, and gives up its slot.
func (s *StreamLayer) receive(raw net.Conn) {
	if tcp, ok := raw.(*net.TCPConn); ok {
		tcp.SetKeepAliveConfig(keepAlive)
	}
	c, theirs, err := s.shake(raw, "")
	<-s.slots
	if err != nil {
		s.refused(raw, theirs, err)
		return
	}
	select {
	case s.ready <- c:
	case <-s.done:
		c.Close()
	}
}

// refused logs a connection that came to nothing. The other end has the reason
// from its Dial. A peer that leaves without a word is a probe.
func (s *StreamLayer) refused(raw net.Conn, theirs hello, err error) {
	if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
		s.cfg.Log.Debug("raft connection without a handshake", "remote", raw.RemoteAddr().String())
		return
	}
	s.noise.Do(func() {
		s.cfg.Log.Warn("raft connection refused", "remote", raw.RemoteAddr().String(), "peer", string(theirs.from), "err", err)
	})
}

// add makes a connection known to CloseStreams and Close, and returns the
// cluster id to introduce ourselves with.
func (s *StreamLayer) add(c *stream) (clusterID string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return "", net.ErrClosed
	}
	s.streams[c] = struct{}{}
	return s.clusterID, nil
}

// establish ends a handshake, unless we learnt our cluster id during it.
func (s *StreamLayer) establish(c *stream, mine, theirs hello) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.clusterID != mine.clusterID {
		return fmt.Errorf("%w: the cluster id became known, dial again", ErrRefused)
	}
	c.peer = &theirs
	return nil
}

// SetClusterID sets the id of the cluster that this node belongs to, once its
// log tells. Streams to peers that said anything else are closed, also to those
// that did not know: they are asked again when they dial again, or are dialled.
// So no two nodes of different clusters stay connected, whichever learns its id
// first. It does not block.
func (s *StreamLayer) SetClusterID(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id == s.clusterID {
		return
	}
	s.clusterID = id
	for c := range s.streams {
		if c.peer != nil && c.peer.clusterID != id {
			c.raw.Close()
		}
	}
}

// CloseStreams closes all streams, and raft opens those that it needs again.
// After a change of certificates this makes the old ones count no longer.
func (s *StreamLayer) CloseStreams() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.streams {
		c.raw.Close()
	}
}

// Close implements net.Listener. It closes all streams and returns when nothing
// of the layer runs any more. It may be called twice.
func (s *StreamLayer) Close() error {
	s.mu.Lock()
	first := !s.closed
	s.closed = true
	s.mu.Unlock()
	var err error
	if first {
		close(s.done)
		err = s.cfg.Listener.Close()
		s.CloseStreams()
	}
	s.work.Wait()
	return err
}
