package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc/credentials"
)

// TLSFiles are the PEM files of one process: its certificate (with any
// intermediate ones after it), the key of that, and the authorities it believes.
type TLSFiles struct{ Cert, Key, CA string }

// Validate reports all problems at once. It reads the files.
func (f TLSFiles) Validate() error {
	_, err := f.read()
	return err
}

// Open reads the files. Whatever the result makes follows them from then on.
func (f TLSFiles) Open(log *slog.Logger) (*TLS, error) {
	t := &TLS{files: f, log: log}
	if _, err := t.Reload(); err != nil {
		return nil, err
	}
	return t, nil
}

// identity is what the files held.
type identity struct {
	cert tls.Certificate
	ca   *x509.CertPool
}

func (f TLSFiles) read() (*identity, error) {
	var id identity
	var errs [2]error
	if f.Cert == "" || f.Key == "" {
		errs[0] = errors.New("TLS needs a certificate and its key")
	} else if id.cert, errs[0] = tls.LoadX509KeyPair(f.Cert, f.Key); errs[0] != nil {
		errs[0] = fmt.Errorf("certificate %s: %w", f.Cert, errs[0])
	}
	if id.ca, errs[1] = readPool(f.CA); errs[1] != nil {
		errs[1] = fmt.Errorf("authority %q: %w", f.CA, errs[1])
	}
	return &id, errors.Join(errs[:]...)
}

func readPool(path string) (*x509.CertPool, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, errors.New("no certificate in it")
	}
	return pool, nil
}

// stamps tell whether the files changed since they were read.
type stamps [3]os.FileInfo

func (f TLSFiles) stat() (s stamps, err error) {
	for i, path := range []string{f.Cert, f.Key, f.CA} {
		var e error
		s[i], e = os.Stat(path)
		err = errors.Join(err, e)
	}
	return s, err
}

// same compares more than the time: files may be replaced by ones of the same
// age, and twice within the resolution of the clock.
func (s stamps) same(o stamps) bool {
	for i := range s {
		if o[i] == nil || !os.SameFile(s[i], o[i]) || !s[i].ModTime().Equal(o[i].ModTime()) || s[i].Size() != o[i].Size() {
			return false
		}
	}
	return true
}

// A TLS is one process's identity on the network. It looks for changed files
// when there is a handshake, at most once a second. Files that are half
// replaced, or gone, leave it as it was until they are whole; the log tells.
//
// A changed file affects new connections. Those of raft, which last, are closed
// by the node and opened again.
type TLS struct {
	files TLSFiles
	log   *slog.Logger

	mu      sync.Mutex // guards the rest
	now     *identity
	reads   uint64 // how often the files were read with success
	seen    stamps
	checked time.Time
}

// recheck is how often handshakes may look at the files.
const recheck = time.Second

// Reload looks at the files now, and reports whether there was something new.
func (t *TLS) Reload() (changed bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.checked = time.Now()
	seen, err := t.files.stat()
	if err == nil && seen.same(t.seen) {
		return false, nil
	}
	id, err := t.files.read()
	if err != nil {
		return false, fmt.Errorf("read TLS files: %w", err) // seen is not kept: try again next time
	}
	t.now, t.seen = id, seen
	t.reads++
	return true, nil
}

// refresh looks at the files if they are due, and returns how often there was
// something new so far.
func (t *TLS) refresh() uint64 {
	t.identity()
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.reads
}

// follow calls changed after each change of the files, until ctx ends.
func (t *TLS) follow(ctx context.Context, changed func()) error {
	tick := time.NewTicker(recheck)
	defer tick.Stop()
	for before := t.refresh(); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if now := t.refresh(); now != before {
			before = now
			changed()
		}
	}
}

func (t *TLS) identity() *identity {
	t.mu.Lock()
	due := time.Since(t.checked) >= recheck
	t.mu.Unlock()
	if due {
		switch changed, err := t.Reload(); {
		case err != nil:
			t.log.Warn("keeping the TLS certificates in use", "err", err)
		case changed:
			t.log.Info("TLS certificates read again", "cert", t.files.Cert)
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.now
}

// ServerConfig returns a configuration for a listener. It asks for a client
// certificate from one of the authorities. Sessions are not resumed: each
// handshake checks against the authorities of its moment.
func (t *TLS) ServerConfig() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			id := t.identity()
			return &tls.Config{
				MinVersion:             tls.VersionTLS13,
				Certificates:           []tls.Certificate{id.cert},
				ClientAuth:             tls.RequireAndVerifyClientCert,
				ClientCAs:              id.ca,
				SessionTicketsDisabled: true,
			}, nil
		},
	}
}

// ClientConfig returns a configuration for dialling by DNS name: ServerName must
// be one, as with an IP address crypto/tls does not tell VerifyConnection what
// was dialled, and nothing is believed. gRPC clients, which are given addresses,
// use Credentials.
func (t *TLS) ClientConfig() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &t.identity().cert, nil
		},
		// NB: the library's check is off because it knows only the authorities of
		// when the configuration was made. verifyServer makes the same one.
		InsecureSkipVerify: true,
		VerifyConnection:   t.verifyServer,
	}
}

func (t *TLS) verifyServer(c tls.ConnectionState) error {
	if c.ServerName == "" {
		return errors.New("no DNS name to verify the server by")
	}
	opts := x509.VerifyOptions{Roots: t.identity().ca, DNSName: c.ServerName, Intermediates: x509.NewCertPool()}
	for _, cert := range c.PeerCertificates[1:] {
		opts.Intermediates.AddCert(cert)
	}
	_, err := c.PeerCertificates[0].Verify(opts)
	return err
}

// Credentials returns the same for gRPC, both ends.
func (t *TLS) Credentials() credentials.TransportCredentials {
	return &grpcCredentials{credentials.NewTLS(t.ServerConfig()), t}
}

// grpcCredentials make each client handshake with the files' present content,
// with all the checks that credentials.NewTLS has.
type grpcCredentials struct {
	credentials.TransportCredentials // for servers
	tls                              *TLS
}

// ClientHandshake implements credentials.TransportCredentials.
func (c *grpcCredentials) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	id := c.tls.identity()
	return credentials.NewTLS(&tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{id.cert},
		RootCAs:      id.ca,
	}).ClientHandshake(ctx, authority, conn)
}

// Clone implements credentials.TransportCredentials.
func (c *grpcCredentials) Clone() credentials.TransportCredentials { return c.tls.Credentials() }
