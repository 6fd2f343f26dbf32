package main

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/tkcoord/tkcoord/transport"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// tlsFlags say where a client's certificates are. All empty is plaintext.
type tlsFlags struct {
	dir           string // stands for the files of their usual names in it
	ca, cert, key string // win over dir
}

// on reports whether TLS is used.
func (t tlsFlags) on() bool { return t != tlsFlags{} }

// validate reports what is missing. Nodes that use TLS want to see a
// certificate, so the three files are needed together.
func (t tlsFlags) validate() error {
	if !t.on() || t.dir != "" {
		return nil
	}
	var missing []string
	for _, f := range []struct{ path, flag string }{{t.ca, "--tls-ca"}, {t.cert, "--tls-cert"}, {t.key, "--tls-key"}} {
		if f.path == "" {
			missing = append(missing, f.flag)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("TLS needs --tls-ca, --tls-cert and --tls-key, or --tls-dir: %s missing", strings.Join(missing, " and "))
}

// files returns the files with those of the directory filled in.
func (t tlsFlags) files() (transport.TLSFiles, error) {
	f := transport.TLSFiles{CA: t.ca, Cert: t.cert, Key: t.key}
	if t.dir == "" {
		return f, nil
	}
	if f.CA == "" {
		f.CA = filepath.Join(t.dir, "ca.pem")
	}
	if f.Cert == "" {
		var err error
		if f.Cert, err = clientCert(t.dir); err != nil {
			return f, err
		}
	}
	if f.Key == "" {
		f.Key = strings.TrimSuffix(f.Cert, ".pem") + "-key.pem"
	}
	return f, nil
}

// clientCert finds the certificate of a client in a directory: client.pem, else
// the only client-NAME.pem, as cert client writes it.
func clientCert(dir string) (string, error) {
	usual := filepath.Join(dir, "client.pem")
	if _, err := os.Stat(usual); err == nil {
		return usual, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", fmt.Errorf("--tls-dir: %w", err)
	}
	var found []string
	for _, e := range entries {
		if n := e.Name(); strings.HasPrefix(n, "client-") && strings.HasSuffix(n, ".pem") && !strings.HasSuffix(n, "-key.pem") {
			found = append(found, n)
		}
	}
	switch len(found) {
	case 1:
		return filepath.Join(dir, found[0]), nil
	case 0:
		return "", fmt.Errorf("--tls-dir: %s has no client.pem", dir)
	default:
		return "", fmt.Errorf("--tls-dir: %s has several client certificates (%s): choose with --tls-cert", dir, strings.Join(found, ", "))
	}
}

// credentials reads the files.
func (t tlsFlags) credentials() (credentials.TransportCredentials, error) {
	if !t.on() {
		return insecure.NewCredentials(), nil
	}
	files, err := t.files()
	if err != nil {
		return nil, err
	}
	open, err := files.Open(slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	return open.Credentials(), nil
}
