package transport

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/raft"
)

// CertName is the DNS name that the certificate of a node must carry. It is
// what a peer's identity is checked against, so it does not depend on where the
// node can be reached.
func CertName(node, cluster string) string { return node + "." + cluster + ".tkcoord" }

// nodeName returns the node that a server is, or was: a node that lost its disk
// joins as a new server under the same name and certificate, and its id then
// has an incarnation after a slash.
func nodeName(id raft.ServerID) string {
	name, _, _ := strings.Cut(string(id), "/")
	return name
}

// A CertRequest says what to certify.
type CertRequest struct {
	Dir     string // of the authority's files; the new ones go there too
	Cluster string
	Name    string // of the node or the client
	// Hosts are further DNS names and IP addresses that a node is reached at,
	// besides localhost. Clients that dial an address which is not listed will
	// refuse the node. Unused for clients.
	Hosts []string
	// Validity counts from a day ago, for machines whose clocks are late.
	Validity time.Duration
}

// The authority's files in its directory.
const (
	caCertFile = "ca.pem"
	caKeyFile  = "ca-key.pem"
)

// backdate is how long before its issue a certificate becomes valid.
const backdate = 24 * time.Hour

// WriteCA makes a certificate authority: ca.pem, which every node and client
// needs, and ca-key.pem, which none needs and which must stay secret. An
// authority that is there already is left alone and reported as os.ErrExist.
func WriteCA(dir string, validity time.Duration) error {
	if _, err := os.Stat(filepath.Join(dir, caKeyFile)); err == nil {
		return fmt.Errorf("certificate authority in %s: %w", dir, os.ErrExist)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	t := template("tkcoord authority", validity)
	t.IsCA, t.BasicConstraintsValid, t.MaxPathLenZero = true, true, true
	t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	return writePair(dir, "ca", t, t, key, key)
}

// IssueNode certifies a node, for both ends of its connections, and returns the
// files: node-NAME.pem and node-NAME-key.pem. It replaces those that are there;
// running nodes pick the new ones up.
func IssueNode(r CertRequest) (TLSFiles, error) {
	t := template(r.Name, r.Validity)
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	t.DNSNames = []string{CertName(r.Name, r.Cluster), "localhost"}
	t.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	for _, h := range r.Hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	return issue(r, "node-"+r.Name, t)
}

// IssueClient certifies a client: client-NAME.pem and client-NAME-key.pem. It
// carries the name as its subject only, never as a DNS name, which would make it
// a node.
func IssueClient(r CertRequest) (TLSFiles, error) {
	t := template(r.Name, r.Validity)
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	return issue(r, "client-"+r.Name, t)
}

func issue(r CertRequest, file string, t *x509.Certificate) (TLSFiles, error) {
	if err := errors.Join(checkLabel("name", r.Name), checkLabel("cluster", r.Cluster)); err != nil {
		return TLSFiles{}, err
	}
	f := TLSFiles{
		Cert: filepath.Join(r.Dir, file+".pem"),
		Key:  filepath.Join(r.Dir, file+"-key.pem"),
		CA:   filepath.Join(r.Dir, caCertFile),
	}
	ca, err := tls.LoadX509KeyPair(f.CA, filepath.Join(r.Dir, caKeyFile))
	if err != nil {
		return TLSFiles{}, fmt.Errorf("read the certificate authority: %w", err)
	}
	if t.NotAfter.After(ca.Leaf.NotAfter) {
		t.NotAfter = ca.Leaf.NotAfter
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return TLSFiles{}, err
	}
	return f, writePair(r.Dir, file, t, ca.Leaf, key, ca.PrivateKey)
}

// checkLabel reports whether a name can be one label of a DNS name: lower-case
// letters, digits and inner hyphens, at most 63. With a dot in it, a node could
// take the name of another cluster's.
func checkLabel(what, s string) error {
	ok := len(s) > 0 && len(s) <= 63 && s[0] != '-' && s[len(s)-1] != '-'
	for _, c := range s {
		ok = ok && (c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-')
	}
	if !ok {
		return fmt.Errorf("%s %q: use lower-case letters, digits and inner hyphens, at most 63", what, s)
	}
	return nil
}

func template(name string, validity time.Duration) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(serial()),
		Subject:      pkix.Name{CommonName: name, Organization: []string{"tkcoord"}},
		NotBefore:    now.Add(-backdate),
		NotAfter:     now.Add(validity),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
}

func serial() []byte {
	b := make([]byte, 16)
	rand.Read(b)
	b[0] &= 0x7f // positive
	return b
}

// writePair signs a certificate and writes it and its key, the key first: who
// watches the certificate finds the key that belongs to it.
func writePair(dir, name string, t, parent *x509.Certificate, key *ecdsa.PrivateKey, signer crypto.PrivateKey) error {
	der, err := x509.CreateCertificate(rand.Reader, t, parent, &key.PublicKey, signer)
	if err != nil {
		return fmt.Errorf("sign the certificate of %s: %w", name, err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := writePEM(filepath.Join(dir, name+"-key.pem"), "PRIVATE KEY", secret, 0o600); err != nil {
		return err
	}
	return writePEM(filepath.Join(dir, name+".pem"), "CERTIFICATE", der, 0o644)
}

// writePEM replaces a file in one step, so that nobody reads half of it.
func writePEM(path, kind string, der []byte, mode os.FileMode) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	err = errors.Join(pem.Encode(f, &pem.Block{Type: kind, Bytes: der}), f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
