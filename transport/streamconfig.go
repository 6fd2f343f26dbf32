package transport

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/hashicorp/raft"
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

	// Dial makes a connection to a host:port, DialTCP unless a test has a network
	// of its own.
	Dial func(hostport string, timeout time.Duration) (net.Conn, error)

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
	return StreamConfig{Dial: DialTCP, HandshakeTimeout: 5 * time.Second, MaxHandshakes: 64, MaxStreams: 1024, Log: slog.New(slog.DiscardHandler)}
}

// Validate reports all problems at once.
func (c StreamConfig) Validate() error {
	var errs []error
	for _, p := range []struct {
		wrong bool
		text  string
	}{
		{c.Listener == nil, "no listener"},
		{c.Dial == nil, "no way to dial"},
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
