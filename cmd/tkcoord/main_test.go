package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tkcoord/tkcoord/transport"
	"golang.org/x/sys/unix"
)

// Variables of processes that tests start from their own binary.
const (
	asProgram = "TEST_AS_TKCOORD" // be the program instead of its tests
	fileSize  = "TEST_FILE_SIZE"  // bytes that a file may grow to, as if the disk were full
)

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) == "" {
		os.Exit(m.Run())
	}
	if size := os.Getenv(fileSize); size != "" {
		var l unix.Rlimit
		fmt.Sscan(size, &l.Cur)
		l.Max = l.Cur
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &l); err != nil {
			panic(err)
		}
		signal.Ignore(syscall.SIGXFSZ) // so that writes fail instead
	}
	main()
}

// within waits for something that happens in its own time. On a busy machine
// that can take long: the bound only ends a test that would not end.
func within(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

const patience = 30 * time.Second

// A child is a `tkcoord serve` in a process of its own.
type child struct {
	t    testing.TB
	name string
	args []string // beside the addresses
	env  []string
	at   map[string]string // address by door, once it has started

	cmd   *exec.Cmd
	out   *output // of this start, both streams
	ended chan struct{}
	state *os.ProcessState // once ended
}

// output collects what a process says.
type output struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

var listening = regexp.MustCompile(`(?m)^listening node=\S+ grpc=(\S+) raft=(\S+) gossip=(\S+) http=(\S+)$`)

// start runs the process and waits until it listens, at the addresses that it
// had before.
func (c *child) start() {
	c.t.Helper()
	for tries := 1; ; tries++ {
		c.run()
		within(c.t, "node "+c.name+" listens", func() bool { return c.gone() || listening.MatchString(c.out.String()) })
		if !c.gone() {
			break
		}
		// A connection of somebody else may have its port for a moment.
		if tries == 20 || !strings.Contains(c.out.String(), "address already in use") {
			c.t.Fatalf("node %s ended: %v:\n%s", c.name, c.state, c.out)
		}
		time.Sleep(100 * time.Millisecond)
	}
	m := listening.FindStringSubmatch(c.out.String())
	c.at = map[string]string{"grpc": m[1], "raft": m[2], "gossip": m[3], "http": m[4]}
}

func (c *child) gone() bool {
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}

func (c *child) run() {
	c.t.Helper()
	args := append([]string{"serve", "--node-id", c.name}, c.args...)
	for _, door := range []string{"grpc", "raft", "gossip", "http"} {
		at, ok := c.at[door]
		if !ok {
			at = "127.0.0.1:0"
		}
		args = append(args, "--"+door, at)
	}
	c.cmd, c.out, c.ended = exec.Command(os.Args[0], args...), &output{}, make(chan struct{})
	c.cmd.Env = append(append(os.Environ(), asProgram+"=1"), c.env...)
	c.cmd.Stdout, c.cmd.Stderr = c.out, c.out
	if err := c.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	go func() {
		_ = c.cmd.Wait() // the state tells
		c.state = c.cmd.ProcessState
		close(c.ended)
	}()
}

// signal sends a signal to the process.
func (c *child) signal(s syscall.Signal) {
	c.t.Helper()
	if err := c.cmd.Process.Signal(s); err != nil {
		c.t.Fatalf("%v to node %s: %v", s, c.name, err)
	}
}

// kill ends the process as a crash would.
func (c *child) kill() {
	_ = c.cmd.Process.Kill() // it may be gone already
	<-c.ended
}

// wait waits for the process to end and returns its exit code.
func (c *child) wait() int {
	c.t.Helper()
	select {
	case <-c.ended:
	case <-time.After(patience):
		c.t.Fatalf("node %s did not end within %v", c.name, patience)
	}
	return c.state.ExitCode()
}

// ready reports whether the node says that it should be sent traffic.
func (c *child) ready() bool {
	code, _ := httpGet(c.t, c.at["http"], "/readyz")
	return code == http.StatusOK
}

// httpGet returns code and body, 0 if nobody answers.
func httpGet(t testing.TB, address, path string) (int, string) {
	t.Helper()
	code, _, body := httpDo(t, http.MethodGet, address, path)
	return code, body
}

func httpDo(t testing.TB, method, address, path string) (int, http.Header, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+address+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	// Without connections that are kept, none is left at the end of a test.
	res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return 0, nil, err.Error()
	}
	defer res.Body.Close()
	var body bytes.Buffer
	_, _ = body.ReadFrom(res.Body)
	return res.StatusCode, res.Header, body.String()
}

// children are the nodes of one cluster, in processes of their own, with TLS.
type children struct {
	nodes []*child
	tls   transport.TLSFiles // of a client
}

// startChildren starts a cluster and waits until all its nodes are ready.
func startChildren(t testing.TB, names []string, policies string, args ...string) *children {
	t.Helper()
	dir := t.TempDir()
	if err := transport.WriteCA(dir, time.Hour); err != nil {
		t.Fatal(err)
	}
	c := &children{}
	var err error
	req := transport.CertRequest{Dir: dir, Cluster: "e2e", Name: "edge", Validity: time.Hour}
	if c.tls, err = transport.IssueClient(req); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, n := range c.nodes {
			n.kill()
			if t.Failed() {
				t.Logf("node %s said:\n%s", n.name, n.out)
			}
		}
	})
	file := fileOf(t, "policies.yaml", policies)
	var join []string
	for _, name := range names {
		req.Name = name
		tls, err := transport.IssueNode(req)
		if err != nil {
			t.Fatal(err)
		}
		n := &child{t: t, name: name, args: append([]string{
			"--cluster", "e2e", "--data", filepath.Join(dir, name), "--bootstrap-expect", fmt.Sprint(len(names)),
			"--tls-cert", tls.Cert, "--tls-key", tls.Key, "--tls-ca", tls.CA,
			"--join", strings.Join(join, ","), "--policies", file, "--digest-every", "0",
		}, args...)}
		n.start()
		c.nodes = append(c.nodes, n)
		join = append(join, n.at["gossip"])
	}
	for _, n := range c.nodes { // so that each finds the others after a restart
		n.args = append(n.args, "--join", strings.Join(join, ","))
	}
	c.waitReady(t)
	return c
}

func (c *children) waitReady(t testing.TB) {
	t.Helper()
	for _, n := range c.nodes {
		within(t, "node "+n.name+" is ready", n.ready)
	}
}

func (c *children) addresses() (all []string) {
	for _, n := range c.nodes {
		all = append(all, n.at["grpc"])
	}
	return all
}

// named returns the node of a name.
func (c *children) named(t testing.TB, name string) *child {
	t.Helper()
	for _, n := range c.nodes {
		if n.name == name {
			return n
		}
	}
	t.Fatalf("no node %q", name)
	return nil
}
