package transport

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/credentials"
)

func openTLS(t testing.TB, f TLSFiles) *TLS {
	t.Helper()
	id, err := f.Open(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// handshake connects two ends and returns the errors of the client and the
// server, and what the server saw of the client and the client of the server.
func handshake(client, server func(net.Conn) (tls.ConnectionState, error)) (seen [2]tls.ConnectionState, errs [2]error) {
	a, b := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		seen[1], errs[1] = server(b)
		b.Close()
	}()
	seen[0], errs[0] = client(a)
	if errs[0] == nil {
		a.Read(make([]byte, 1)) // with TLS 1.3 a client learns of its refusal here
	}
	a.Close()
	<-done
	return seen, errs
}

func asClient(c *tls.Config, name string) func(net.Conn) (tls.ConnectionState, error) {
	c = c.Clone()
	c.ServerName = name
	return func(raw net.Conn) (tls.ConnectionState, error) {
		conn := tls.Client(raw, c)
		err := conn.Handshake()
		return conn.ConnectionState(), err
	}
}

func asServer(c *tls.Config) func(net.Conn) (tls.ConnectionState, error) {
	return func(raw net.Conn) (tls.ConnectionState, error) {
		conn := tls.Server(raw, c)
		err := conn.Handshake()
		return conn.ConnectionState(), err
	}
}

func TestTLSBothEndsVerify(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	n1, n2 := openTLS(t, issueNode(t, dir, "n1")), openTLS(t, issueNode(t, dir, "n2"))
	stranger := openTLS(t, issueNode(t, other, "n1"))
	client := openTLS(t, issueClient(t, dir, "c"))
	for _, tt := range []struct {
		name     string
		from, to *TLS
		as       string
		ok       bool
	}{
		{"node to node", n1, n2, "n2.test.tkcoord", true},
		{"client to node", client, n2, "n2.test.tkcoord", true},
		{"another node than meant", n1, n2, "n3.test.tkcoord", false},
		{"server of another authority", n1, stranger, "n1.test.tkcoord", false},
		{"client of another authority", stranger, n1, "n1.test.tkcoord", false},
		{"client posing as a server", n1, client, "c.test.tkcoord", false},
		{"by address", n1, n2, "127.0.0.1", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, errs := handshake(asClient(tt.from.ClientConfig(), tt.as), asServer(tt.to.ServerConfig()))
			if ok := errs == [2]error{}; ok != tt.ok {
				t.Errorf("client: %v, server: %v; want ok %v", errs[0], errs[1], tt.ok)
			}
		})
	}
	t.Run("no certificate", func(t *testing.T) {
		c := n1.ClientConfig()
		c.GetClientCertificate = nil
		if _, errs := handshake(asClient(c, "n2.test.tkcoord"), asServer(n2.ServerConfig())); errs[1] == nil {
			t.Error("the server did not ask for a certificate")
		}
	})
}

func TestTLSCredentials(t *testing.T) {
	dir := t.TempDir()
	node, client := openTLS(t, issueNode(t, dir, "n1", "10.0.0.7")), openTLS(t, issueClient(t, dir, "c"))
	server := node.Credentials().Clone()
	for authority, ok := range map[string]bool{
		"10.0.0.7:7700": true, "localhost:7700": true, "n1.test.tkcoord": true, "10.0.0.8:7700": false, "example:7700": false,
	} {
		_, errs := handshake(func(raw net.Conn) (s tls.ConnectionState, err error) {
			_, info, err := client.Credentials().Clone().ClientHandshake(t.Context(), authority, raw)
			if err == nil {
				s = info.(credentials.TLSInfo).State
			}
			return s, err
		}, func(raw net.Conn) (s tls.ConnectionState, err error) {
			_, _, err = server.ServerHandshake(raw)
			return s, err
		})
		if (errs[0] == nil) != ok {
			t.Errorf("dial %s = %v, want ok %v", authority, errs[0], ok)
		}
	}
}

// New certificates and new authorities take effect within a second or so, on
// both ends, without a restart.
func TestTLSFollowsFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		files := issueNode(t, dir, "n1")
		n1, n2 := openTLS(t, files), openTLS(t, issueNode(t, dir, "n2"))
		server, client := n1.ServerConfig(), n1.ClientConfig()
		serials := func() (asServer_, asClient_ string) {
			seen, errs := handshake(asClient(n2.ClientConfig(), "n1.test.tkcoord"), asServer(server))
			back, errs2 := handshake(asClient(client, "n2.test.tkcoord"), asServer(n2.ServerConfig()))
			if err := errors.Join(errs[0], errs[1], errs2[0], errs2[1]); err != nil {
				t.Fatal(err)
			}
			return seen[0].PeerCertificates[0].SerialNumber.String(), back[1].PeerCertificates[0].SerialNumber.String()
		}
		first, _ := serials()
		issueNode(t, dir, "n1")
		if s, c := serials(); s != first || c != first {
			t.Errorf("within a second: new certificates already")
		}
		time.Sleep(recheck)
		if s, c := serials(); s == first || s != c {
			t.Errorf("after a second: certificates %s and %s, want the same new one", s, c)
		}

		// The authority is replaced, and nobody is certified by the new one.
		fresh := t.TempDir()
		issueNode(t, fresh, "x")
		text, err := os.ReadFile(fresh + "/ca.pem")
		if err := errors.Join(err, os.WriteFile(files.CA, text, 0o600)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(recheck)
		_, errs := handshake(asClient(client, "n2.test.tkcoord"), asServer(n2.ServerConfig()))
		if errs[0] == nil {
			t.Error("the client believes the old authority")
		}
		believing := n2.ClientConfig() // leave the check to the server
		believing.VerifyConnection = nil
		if _, errs := handshake(asClient(believing, "n1.test.tkcoord"), asServer(server)); errs[1] == nil {
			t.Error("the server believes the old authority")
		}
	})
}

// Files that do not fit together, as while they are being replaced, change
// nothing, and are looked at again although they do not change any more.
func TestTLSHalfReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		files := issueNode(t, dir, "n1")
		id := openTLS(t, files)
		before := id.identity().cert.Leaf.SerialNumber.String()
		oldKey, err := os.ReadFile(files.Key)
		if err != nil {
			t.Fatal(err)
		}
		issueNode(t, dir, "n1")
		newKey, err := os.ReadFile(files.Key)
		if err := errors.Join(err, os.WriteFile(files.Key, oldKey, 0o600)); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			time.Sleep(recheck)
			if got := id.identity().cert.Leaf.SerialNumber.String(); got != before {
				t.Fatalf("certificate %s with the key of another, want %s still", got, before)
			}
			if changed, err := id.Reload(); changed || err == nil {
				t.Errorf("Reload = %v, %v, want an error", changed, err)
			}
		}
		if err := os.WriteFile(files.Key, newKey, 0o600); err != nil {
			t.Fatal(err)
		}
		if changed, err := id.Reload(); !changed || err != nil {
			t.Errorf("Reload = %v, %v, want the new ones", changed, err)
		}
		if changed, err := id.Reload(); changed || err != nil {
			t.Errorf("Reload = %v, %v, want nothing new", changed, err)
		}
		if err := os.Remove(files.Cert); err != nil {
			t.Fatal(err)
		}
		time.Sleep(recheck)
		if id.identity() == nil {
			t.Error("no identity once the file is gone")
		}
	})
}

func TestTLSFilesValidate(t *testing.T) {
	good := issueNode(t, t.TempDir(), "n1")
	if err := good.Validate(); err != nil {
		t.Errorf("Validate = %v", err)
	}
	for _, tt := range []struct {
		name  string
		files TLSFiles
		want  []string
	}{
		{"nothing", TLSFiles{}, []string{"TLS needs a certificate and its key", `authority ""`}},
		{"key of another", TLSFiles{good.Cert, issueNode(t, t.TempDir(), "n2").Key, good.CA}, []string{"does not match"}},
		{"no authority in its file", TLSFiles{good.Cert, good.Key, good.Key}, []string{"no certificate in it"}},
		{"missing", TLSFiles{"none", "none", "none"}, []string{"certificate none", `authority "none"`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.files.Validate()
			for _, w := range tt.want {
				if err == nil || !strings.Contains(err.Error(), w) {
					t.Errorf("Validate = %v, want it to say %q", err, w)
				}
			}
		})
	}
}
