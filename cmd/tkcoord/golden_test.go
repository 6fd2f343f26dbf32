package main

import (
	"bytes"
	stdflag "flag"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var update = stdflag.Bool("update", false, "rewrite the golden files")

// A result is what one command line did.
type result struct {
	code           int
	stdout, stderr string
}

// tkcoord runs a command line.
func tkcoord(t testing.TB, args ...string) result {
	t.Helper()
	return tkcoordStdin(t, strings.NewReader(""), args...)
}

func tkcoordStdin(t testing.TB, stdin io.Reader, args ...string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), args, stdin, &stdout, &stderr)
	return result{code, stdout.String(), stderr.String()}
}

// on runs a command line against all nodes of a cluster.
func (c *testCluster) on(args ...string) result {
	c.t.Helper()
	return tkcoord(c.t, append(args, "--addr", strings.Join(c.addrs(), ","))...)
}

// wants checks exit code and stderr, the latter a regular expression that all of
// it must match.
func (r result) wants(t testing.TB, code int, stderr string) {
	t.Helper()
	if r.code != code {
		t.Errorf("exit code %d, want %d", r.code, code)
	}
	if !regexp.MustCompile(`^(?:` + stderr + `)$`).MatchString(r.stderr) {
		t.Errorf("stderr:\n%swant a match of:\n%s", r.stderr, stderr)
	}
	if t.Failed() {
		t.Logf("stdout:\n%s", r.stdout)
	}
}

var throwawayID = regexp.MustCompile(`[0-9a-f]{16}`)

// golden compares stdout with testdata/NAME.golden. Ports and random ids are
// replaced by others of the same length, so that columns stay aligned.
func (c *testCluster) golden(r result, name string) {
	c.t.Helper()
	got := r.stdout
	for i, n := range c.nodes {
		got = strings.ReplaceAll(got, n.addr, "127.0.0.1:1770"+string(rune('1'+i)))
	}
	got = throwawayID.ReplaceAllString(got, "0123456789abcdef")
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			c.t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		c.t.Fatal(err)
	}
	if got != string(want) {
		c.t.Errorf("%s: got\n%swant\n%s(-update rewrites it)", path, got, want)
	}
}

// fileOf writes a file for one test and returns its path.
func fileOf(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// refusing returns an address at which nothing listens.
func refusing(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// silent returns an address that accepts connections and says nothing, as a
// stopped process does.
func silent(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}
