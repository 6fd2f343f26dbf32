package host

import (
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/tkcoord/tkcoord/transport"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// openTLS makes the authority of the run and the harness's own certificate.
func (c *Cluster) openTLS() error {
	dir := c.tlsDir()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := transport.WriteCA(dir, certValidity); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	files, err := c.ClientTLS(controlName)
	if err != nil {
		return err
	}
	c.tls, err = files.Open(c.cfg.Log)
	return err
}

const certValidity = 7 * 24 * time.Hour

func (c *Cluster) tlsDir() string { return filepath.Join(c.cfg.Dir, "tls") }

// ClientTLS certifies a client of the cluster, which must have been opened with
// TLS.
func (c *Cluster) ClientTLS(name string) (transport.TLSFiles, error) {
	return transport.IssueClient(transport.CertRequest{Dir: c.tlsDir(), Cluster: clusterName, Name: name, Validity: certValidity})
}

// certify makes a node's certificate and returns the flags for it.
func (c *Cluster) certify(name string, p place) ([]string, error) {
	f, err := transport.IssueNode(transport.CertRequest{
		Dir: c.tlsDir(), Cluster: clusterName, Name: name, Validity: certValidity,
		Hosts: []string{p.listen.String(), p.public.String()},
	})
	if err != nil {
		return nil, err
	}
	return []string{"--tls-cert=" + f.Cert, "--tls-key=" + f.Key, "--tls-ca=" + f.CA}, nil
}

// Credentials are those of the harness towards nodes.
func (c *Cluster) Credentials() credentials.TransportCredentials {
	if c.tls == nil {
		return insecure.NewCredentials()
	}
	return c.tls.Credentials()
}
