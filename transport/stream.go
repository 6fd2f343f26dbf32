package transport

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	"golang.org/x/time/rate"
)

// StreamConfig describes this end of all raft streams.
type StreamConfig struct {
	// Listener accepts the connections of peers. The stream layer owns it.
	Listener net.Listener
	// Advertise is the host:port that peers dial; empty means the listener's.
	Advertise string

	ID      raft.ServerID // of this node: its name, or name/incarnation
	Cluster string        // nodes of a cluster of another name are refused
	// ClusterID tells clusters of the same name apart, as after a node lost its
	// disk and founded a second one. Empty means not known yet.
	ClusterID string

	// ServerTLS and ClientTLS secure the streams; both nil mean plain TCP, where
	// anyone who can reach the port can pose as a node. ServerTLS must demand a
	// certificate. ClientTLS is used with ServerName set.
	ServerTLS, ClientTLS *tls.Config

	// HandshakeTimeout is how long TLS and the preface may take together.
	HandshakeTimeout time.Duration
	// MaxHandshakes and MaxStreams bound the accepted connections that are being
	// shaken hands with, and all that are open. Beyond them new ones are closed
	// at once; peers dial again. A peer has about six open.
	MaxHandshakes, MaxStreams int

	Log *slog.Logger
}

// DefaultStreamConfig returns a configuration without listener and identity.
func DefaultStreamConfig() StreamConfig {
	return StreamConfig{HandshakeTimeout: 5 * time.Second, MaxHandshakes: 64, MaxStreams: 1024, Log: slog.New(slog.DiscardHandler)}
}

// Validate reports all problems at once.
func (c StreamConfig) Validate() error {
	var errs []error
	for _, p := range []struct {
		wrong bool
		text  string
	}{
		{c.Listener == nil, "no listener"},
		{len(c.ID) > maxPrefaceText || strings.Contains(string(c.ID), "@"), "a server id must not contain @, nor be longer than 255 bytes"},
		{len(c.ClusterID) > maxPrefaceText, "the cluster id is longer than 255 bytes"},
		{(c.ServerTLS == nil) != (c.ClientTLS == nil), "TLS for one end only"},
		{c.HandshakeTimeout <= 0 || c.MaxHandshakes < 1 || c.MaxStreams < 1, "the bounds of handshakes and streams must be positive"},
		{c.Log == nil, "no logger"},
	} {
		if p.wrong {
			errs = append(errs, errors.New(p.text))
		}
	}
	return errors.Join(append(errs, checkLabel("node", nodeName(c.ID)), checkLabel("cluster", c.Cluster))...)
}

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

// Dial implements raft.StreamLayer.
func (s *StreamLayer) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	at := strings.LastIndexByte(string(address), '@')
	if at < 1 {
		return nil, fmt.Errorf("dial %s: it does not say whom", address)
	}
	id, hostport := raft.ServerID(address[:at]), string(address[at+1:])
	d := net.Dialer{Timeout: dialTimeout, KeepAliveConfig: keepAlive}
	if timeout > 0 {
		d.Timeout = min(timeout, dialTimeout)
	}
	raw, err := d.Dial("tcp", hostport)
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

// shake secures a new connection and establishes who is at its ends. want is
// empty at the accepting end. The connection is closed if that fails.
func (s *StreamLayer) shake(raw net.Conn, want raft.ServerID) (_ net.Conn, theirs hello, err error) {
	c := &stream{Conn: raw, raw: raw, layer: s}
	mine := hello{cluster: s.cfg.Cluster, from: s.cfg.ID, to: want}
	if mine.clusterID, err = s.add(c); err != nil {
		return nil, theirs, errors.Join(err, raw.Close())
	}
	defer func() {
		if err != nil {
			c.Close()
		}
	}()
	raw.SetDeadline(time.Now().Add(s.cfg.HandshakeTimeout))
	cert, err := s.secure(c, want)
	if err != nil {
		return nil, theirs, err
	}
	theirs, err = introduce(c.Conn, mine, func(theirs hello) string { return judge(mine, theirs, cert) })
	if err != nil {
		return nil, theirs, err
	}
	raw.SetDeadline(time.Time{})
	return c, theirs, s.establish(c, mine, theirs)
}

// secure puts TLS around a connection, if it is on, and returns the peer's
// certificate.
func (s *StreamLayer) secure(c *stream, want raft.ServerID) (*x509.Certificate, error) {
	if s.cfg.ServerTLS == nil {
		return nil, nil
	}
	var conn *tls.Conn
	if want == "" {
		conn = tls.Server(c.raw, s.cfg.ServerTLS)
	} else {
		conf := s.cfg.ClientTLS.Clone()
		conf.ServerName = CertName(nodeName(want), s.cfg.Cluster)
		conn = tls.Client(c.raw, conf)
	}
	if err := conn.Handshake(); err != nil {
		return nil, err
	}
	peer := conn.ConnectionState().PeerCertificates
	if len(peer) == 0 {
		return nil, errors.New("no certificate")
	}
	c.Conn = conn
	return peer[0], nil
}

// judge returns why this node will not talk to a peer, or "". cert is nil
// without TLS.
func judge(mine, theirs hello, cert *x509.Certificate) string {
	name := CertName(nodeName(theirs.from), theirs.cluster)
	if err := checkLabel("node", nodeName(theirs.from)); err != nil {
		return err.Error()
	}
	switch {
	case theirs.cluster != mine.cluster:
		return fmt.Sprintf("%s is of cluster %q, %s of %q", theirs.from, theirs.cluster, mine.from, mine.cluster)
	case theirs.clusterID != "" && mine.clusterID != "" && theirs.clusterID != mine.clusterID:
		return fmt.Sprintf("%s is of cluster %s with id %s, %s of that with id %s", theirs.from, theirs.cluster, theirs.clusterID, mine.from, mine.clusterID)
	case theirs.from == mine.from:
		return fmt.Sprintf("both ends are %s", mine.from)
	case mine.to != "" && theirs.from != mine.to:
		return fmt.Sprintf("this is %s, not %s", theirs.from, mine.to)
	case mine.to == "" && theirs.to != mine.from:
		return fmt.Sprintf("this is %s, not %s", mine.from, theirs.to)
	case cert != nil && !slices.Contains(cert.DNSNames, name):
		return fmt.Sprintf("the certificate of %s is for %s, not for %s", theirs.from, strings.Join(cert.DNSNames, ", "), name)
	}
	return ""
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
