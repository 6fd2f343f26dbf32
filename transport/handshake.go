package transport

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/raft"
)

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
