package transport

import (
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// issueNode makes a certificate for a node of cluster "test" by the authority in
// dir, which it makes if need be.
func issueNode(t testing.TB, dir, name string, hosts ...string) TLSFiles {
	t.Helper()
	if err := WriteCA(dir, time.Hour); err != nil && !errors.Is(err, os.ErrExist) {
		t.Fatal(err)
	}
	f, err := IssueNode(CertRequest{Dir: dir, Cluster: "test", Name: name, Hosts: hosts, Validity: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func issueClient(t testing.TB, dir, name string) TLSFiles {
	t.Helper()
	f, err := IssueClient(CertRequest{Dir: dir, Cluster: "test", Name: name, Validity: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func leaf(t testing.TB, f TLSFiles) (*x509.Certificate, *x509.CertPool) {
	t.Helper()
	id, err := f.read()
	if err != nil {
		t.Fatal(err)
	}
	return id.cert.Leaf, id.ca
}

func TestIssueNode(t *testing.T) {
	dir := t.TempDir()
	cert, ca := leaf(t, issueNode(t, dir, "n1", "10.0.0.7", "db.example"))
	for name, ok := range map[string]bool{
		"n1.test.tkcoord": true, "localhost": true, "127.0.0.1": true, "::1": true, "10.0.0.7": true, "db.example": true,
		"n2.test.tkcoord": false, "n1.prod.tkcoord": false, "10.0.0.8": false,
	} {
		for _, use := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
			_, err := cert.Verify(x509.VerifyOptions{Roots: ca, DNSName: name, KeyUsages: []x509.ExtKeyUsage{use}})
			if (err == nil) != ok {
				t.Errorf("verify n1's certificate as %s for use %v = %v, want ok %v", name, use, err, ok)
			}
		}
	}
}

func TestIssueClient(t *testing.T) {
	dir := t.TempDir()
	issueNode(t, dir, "n1")
	cert, ca := leaf(t, issueClient(t, dir, "n1"))
	if cert.Subject.CommonName != "n1" || len(cert.DNSNames) > 0 || len(cert.IPAddresses) > 0 {
		t.Errorf("client certificate for %q, DNS %v, IP %v; want a subject and nothing else", cert.Subject.CommonName, cert.DNSNames, cert.IPAddresses)
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: ca}); err == nil {
		t.Error("a client certificate is good for a server")
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: ca, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Errorf("verify for a client: %v", err)
	}
}

func TestCertFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "certs")
	issueNode(t, dir, "n1")
	issueClient(t, dir, "ca") // must not replace the authority
	issueNode(t, dir, "ca")
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		if secret := strings.HasSuffix(e.Name(), "-key.pem"); secret && info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, want 0600", e.Name(), info.Mode())
		}
	}
	want := []string{"ca-key.pem", "ca.pem", "client-ca-key.pem", "client-ca.pem", "node-ca-key.pem", "node-ca.pem", "node-n1-key.pem", "node-n1.pem"}
	if !slices.Equal(names, want) {
		t.Errorf("files %v, want %v", names, want)
	}
	before, _ := os.ReadFile(filepath.Join(dir, caCertFile))
	if err := WriteCA(dir, time.Hour); !errors.Is(err, os.ErrExist) {
		t.Errorf("a second WriteCA = %v, want os.ErrExist", err)
	}
	if after, _ := os.ReadFile(filepath.Join(dir, caCertFile)); !slices.Equal(before, after) {
		t.Error("the authority was replaced")
	}
}

// A name with a dot could be read as another node of another cluster.
func TestCertNames(t *testing.T) {
	dir := t.TempDir()
	issueNode(t, dir, "n1")
	for _, name := range []string{"", "n1.prod", "N1", "-n", "n-", "n_1", "n/1", "../n", strings.Repeat("n", 64), "ñ"} {
		for _, r := range []CertRequest{{Name: name, Cluster: "test"}, {Name: "n1", Cluster: name}} {
			r.Dir, r.Validity = dir, time.Hour
			_, err1 := IssueNode(r)
			_, err2 := IssueClient(r)
			if err1 == nil || err2 == nil {
				t.Errorf("certified %q of cluster %q: %v, %v", r.Name, r.Cluster, err1, err2)
			}
		}
	}
	if _, err := IssueNode(CertRequest{Dir: t.TempDir(), Cluster: "test", Name: "n1"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("IssueNode without an authority = %v, want os.ErrNotExist", err)
	}
}

// A certificate does not outlive its authority.
func TestCertValidity(t *testing.T) {
	dir := t.TempDir()
	issueNode(t, dir, "n1")
	f, err := IssueNode(CertRequest{Dir: dir, Cluster: "test", Name: "n2", Validity: 48 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	cert, _ := leaf(t, f)
	if left := time.Until(cert.NotAfter); left > time.Hour {
		t.Errorf("valid for %v, want the authority's hour", left)
	}
}
