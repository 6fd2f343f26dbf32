package transport

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"go.uber.org/goleak"
)

// A lockedText collects a log.
type lockedText struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lockedText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lockedText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// A testStream is a stream layer with its log and what it accepted.
type testStream struct {
	*StreamLayer
	log      *lockedText
	accepted chan net.Conn
}

// testStreamConfig is that of a node of cluster "test" on a free local port.
func testStreamConfig(t testing.TB, id raft.ServerID, files TLSFiles, log io.Writer) StreamConfig {
	t.Helper()
	c := DefaultStreamConfig()
	var err error
	if c.Listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	c.ID, c.Cluster, c.Log = id, "test", slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if files != (TLSFiles{}) {
		id := openTLS(t, files)
		c.ServerTLS, c.ClientTLS = id.ServerConfig(), id.ClientConfig()
	}
	return c
}

func newTestStream(t testing.TB, id raft.ServerID, files TLSFiles, setup func(*StreamConfig)) *testStream {
	t.Helper()
	ts := &testStream{log: &lockedText{}, accepted: make(chan net.Conn, 100)}
	c := testStreamConfig(t, id, files, ts.log)
	if setup != nil {
		setup(&c)
	}
	var err error
	if ts.StreamLayer, err = NewStreamLayer(c); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := ts.Accept()
			if err != nil {
				return
			}
			ts.accepted <- conn
		}
	}()
	t.Cleanup(func() {
		if err := ts.Close(); err != nil {
			t.Error(err)
		}
		<-done
	})
	return ts
}

func (s *testStream) dial(to *testStream, as raft.ServerID) (net.Conn, error) {
	return s.Dial(target(as, raft.ServerAddress(to.Addr().String())), time.Second)
}

// echo checks that two ends are connected.
func echo(t *testing.T, a, b net.Conn) {
	t.Helper()
	if _, err := a.Write([]byte("raft")); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 4)
	if _, err := io.ReadFull(b, got); err != nil || string(got) != "raft" {
		t.Fatalf("read %q, %v", got, err)
	}
}

func TestStreamHandshake(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	n1, n2, n3 := issueNode(t, dir, "n1"), issueNode(t, dir, "n2"), issueNode(t, dir, "n3")
	client, stranger := issueClient(t, dir, "n1"), issueNode(t, other, "n1")
	cluster := func(name, id string) func(*StreamConfig) {
		return func(c *StreamConfig) { c.Cluster, c.ClusterID = name, id }
	}
	type end struct {
		id    raft.ServerID
		files TLSFiles
		setup func(*StreamConfig)
	}
	for _, tt := range []struct {
		name     string
		from, to end
		as       raft.ServerID // whom the dialler wants
		dialler  string        // what its error says; empty if all is well
		acceptor string        // what the other's log says
	}{
		{"plain", end{id: "n1"}, end{id: "n2"}, "n2", "", ""},
		{"tls", end{"n1", n1, nil}, end{"n2", n2, nil}, "n2", "", ""},
		{"a new incarnation, same certificate", end{"n1/4", n1, nil}, end{"n2/9", n2, nil}, "n2/9", "", ""},
		{"same cluster id", end{"n1", n1, cluster("test", "7f")}, end{"n2", n2, cluster("test", "7f")}, "n2", "", ""},
		{"one does not know its cluster id", end{"n1", n1, nil}, end{"n2", n2, cluster("test", "7f")}, "n2", "", ""},

		{"another cluster", end{"n1", TLSFiles{}, cluster("prod", "")}, end{id: "n2"}, "n2",
			`n2 is of cluster "test", n1 of "prod"`, `n1 is of cluster \"prod\", n2 of \"test\"`},
		{"another cluster of that name", end{"n1", n1, cluster("test", "7f")}, end{"n2", n2, cluster("test", "80")}, "n2",
			"n2 is of cluster test with id 80", "n1 is of cluster test with id 7f"},
		{"another node at this address", end{id: "n1"}, end{id: "n2"}, "n3", "this is n2, not n3", "this is n2, not n3"},
		{"the incarnation before", end{id: "n1"}, end{id: "n2/9"}, "n2/8", "this is n2/9, not n2/8", "this is n2/9, not n2/8"},
		{"itself", end{id: "n1"}, end{id: "n1"}, "n1", "both ends are n1", "both ends are n1"},
		{"no name", end{id: "n1", setup: func(c *StreamConfig) { c.ID = "n1" }}, end{id: "n2"}, "", "does not say whom", ""},

		{"certificate of another node at the dialler", end{"n1", n3, nil}, end{"n2", n2, nil}, "n2",
			"the certificate of n1 is for n3.test.tkcoord", "the certificate of n1 is for n3.test.tkcoord"},
		{"certificate of another node at the acceptor", end{"n1", n1, nil}, end{"n2", n3, nil}, "n2", "n3.test.tkcoord", "bad certificate"},
		{"certificate of a client", end{"n1", client, nil}, end{"n2", n2, nil}, "n2", "the certificate of n1 is for ", "the certificate of n1 is for "},
		{"another authority", end{"n1", stranger, nil}, end{"n2", n2, nil}, "n2", "unknown authority", "bad certificate"},
		{"no TLS at the dialler", end{id: "n1"}, end{"n2", n2, nil}, "n2", "", "first record does not look like a TLS handshake"},
		{"no TLS at the acceptor", end{"n1", n1, nil}, end{id: "n2"}, "n2", "does not look like a TLS handshake", "not a tkcoord node"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			from, to := newTestStream(t, tt.from.id, tt.from.files, tt.from.setup), newTestStream(t, tt.to.id, tt.to.files, tt.to.setup)
			conn, err := from.dial(to, tt.as)
			if tt.dialler == "" && tt.acceptor == "" {
				if err != nil {
					t.Fatal(err)
				}
				echo(t, conn, <-to.accepted)
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.dialler) {
				t.Errorf("Dial = %v, want %q", err, tt.dialler)
			}
			pollUntil(t, "the acceptor logs the reason", func() bool { return strings.Contains(to.log.String(), tt.acceptor) })
			if len(to.accepted) > 0 {
				t.Error("the connection was accepted")
			}
		})
	}
}

// Each end judges for itself, and relies on nothing that the other one found.
func TestStreamJudge(t *testing.T) {
	n1 := hello{cluster: "test", from: "n1"}
	with := func(change func(*hello)) hello {
		h := hello{cluster: "test", from: "n2", to: "n1"}
		change(&h)
		return h
	}
	for _, tt := range []struct {
		name   string
		mine   hello
		theirs hello
		want   string
	}{
		{"acceptor, all well", n1, with(func(h *hello) {}), ""},
		{"acceptor, another was meant", n1, with(func(h *hello) { h.to = "n3" }), "this is n1, not n3"},
		{"acceptor, nobody was meant", n1, with(func(h *hello) { h.to = "" }), "this is n1, not "},
		{"dialler, all well", hello{cluster: "test", from: "n1", to: "n2"}, with(func(h *hello) { h.to = "" }), ""},
		{"dialler, another answers", hello{cluster: "test", from: "n1", to: "n3"}, with(func(h *hello) { h.to = "" }), "this is n2, not n3"},
		{"no name", n1, with(func(h *hello) { h.from = "" }), `node "": use`},
		{"no proper name", n1, with(func(h *hello) { h.from = "n2.prod" }), `node "n2.prod": use`},
	} {
		if got := judge(tt.mine, tt.theirs, nil); !strings.HasPrefix(got, tt.want) || tt.want == "" && got != "" {
			t.Errorf("%s: judge = %q, want %q", tt.name, got, tt.want)
		}
	}
}

// Refusals that both sides explain are ErrRefused, so that a node can tell them
// from a network that is down.
func TestStreamRefusedError(t *testing.T) {
	from, to := newTestStream(t, "n1", TLSFiles{}, nil), newTestStream(t, "n2", TLSFiles{}, nil)
	if _, err := from.dial(to, "n3"); !errors.Is(err, ErrRefused) {
		t.Errorf("Dial = %v, want ErrRefused", err)
	}
	to.Close()
	if _, err := from.dial(to, "n2"); err == nil || errors.Is(err, ErrRefused) {
		t.Errorf("Dial of nobody = %v, want another error than ErrRefused", err)
	}
}

// Who connects and says nothing holds up nobody else, and not for long.
func TestStreamSilentPeers(t *testing.T) {
	n1 := newTestStream(t, "n1", TLSFiles{}, nil)
	n2 := newTestStream(t, "n2", TLSFiles{}, func(c *StreamConfig) { c.MaxHandshakes, c.HandshakeTimeout = 3, 300*time.Millisecond })
	silent := func() net.Conn {
		c, err := net.Dial("tcp", n2.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	held := []net.Conn{silent(), silent()}
	conn, err := n1.dial(n2, "n2")
	if err != nil {
		t.Fatalf("dial beside two silent peers: %v", err)
	}
	echo(t, conn, <-n2.accepted)

	held = append(held, silent())
	pollUntil(t, "all slots are taken", func() bool { return len(n2.slots) == 3 })
	if _, err := n1.dial(n2, "n2"); err == nil {
		t.Error("a fourth handshake was begun, want at most 3")
	}
	for _, c := range held {
		if n, err := c.Read(make([]byte, 1)); err == nil && n == 0 {
			t.Error("a silent connection is still open")
		} else if err == nil { // our hello, which the layer writes first
			io.Copy(io.Discard, c)
		}
	}
	pollUntil(t, "a slot is free again", func() bool {
		c, err := n1.dial(n2, "n2")
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

func TestStreamLimit(t *testing.T) {
	n1 := newTestStream(t, "n1", TLSFiles{}, nil)
	n2 := newTestStream(t, "n2", TLSFiles{}, func(c *StreamConfig) { c.MaxStreams = 2 })
	for range 2 {
		if _, err := n1.dial(n2, "n2"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := n1.dial(n2, "n2"); err == nil {
		t.Error("a third stream was accepted, want at most 2")
	}
	(<-n2.accepted).Close()
	pollUntil(t, "room for another", func() bool { _, err := n1.dial(n2, "n2"); return err == nil })
}

// closedBy reports whether the other end of a connection closed it.
func closedBy(t *testing.T, c net.Conn, within time.Duration) bool {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(within))
	_, err := c.Read(make([]byte, 1))
	var timeout net.Error
	return err != nil && !(errors.As(err, &timeout) && timeout.Timeout())
}

// Whichever of two nodes learns first that it is of another cluster than the
// other, the streams between them end, and stay away.
func TestStreamClusterID(t *testing.T) {
	n1, n2, n3 := newTestStream(t, "n1", TLSFiles{}, nil), newTestStream(t, "n2", TLSFiles{}, nil), newTestStream(t, "n3", TLSFiles{}, nil)
	n3.SetClusterID("7f")
	toN2, err := n1.dial(n2, "n2")
	if err != nil {
		t.Fatal(err)
	}
	n1.SetClusterID("7f") // n2 does not know yet: ask it again
	if !closedBy(t, <-n2.accepted, 5*time.Second) {
		t.Error("a stream to a node that did not know its cluster is kept")
	}
	toN2.Close()
	toN2, err = n1.dial(n2, "n2")
	if err != nil {
		t.Fatalf("dial a node that does not know its cluster: %v", err)
	}
	toN3, err := n1.dial(n3, "n3")
	if err != nil {
		t.Fatal(err)
	}
	n2.SetClusterID("80")
	if !closedBy(t, toN2, 5*time.Second) {
		t.Error("a stream from another cluster is kept")
	}
	if _, err := n1.dial(n2, "n2"); !errors.Is(err, ErrRefused) {
		t.Errorf("dial another cluster = %v, want ErrRefused", err)
	}
	n1.SetClusterID("7f")
	if closedBy(t, toN3, 50*time.Millisecond) {
		t.Error("a stream within the cluster was closed")
	}
}

// A cluster id that becomes known in the middle of a handshake undoes it.
func TestStreamClusterIDDuringHandshake(t *testing.T) {
	n1 := newTestStream(t, "n1", TLSFiles{}, nil)
	c := &stream{layer: n1.StreamLayer}
	id, err := n1.add(c)
	if err != nil {
		t.Fatal(err)
	}
	n1.SetClusterID("7f")
	if err := n1.establish(c, hello{clusterID: id}, hello{}); !errors.Is(err, ErrRefused) {
		t.Errorf("establish = %v, want ErrRefused", err)
	}
	n1.mu.Lock()
	delete(n1.streams, c)
	n1.mu.Unlock()
}

func TestStreamClose(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	t.Run("", func(t *testing.T) {
		n1, n2 := newTestStream(t, "n1", TLSFiles{}, nil), newTestStream(t, "n2", TLSFiles{}, nil)
		first, err := n1.dial(n2, "n2")
		if err != nil {
			t.Fatal(err)
		}
		n2.CloseStreams()
		if !closedBy(t, first, 5*time.Second) {
			t.Error("CloseStreams left a stream open")
		}
		second, err := n1.dial(n2, "n2")
		if err != nil {
			t.Fatalf("dial after CloseStreams: %v", err)
		}
		silent, err := net.Dial("tcp", n2.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer silent.Close()
		pollUntil(t, "a handshake is under way", func() bool { return len(n2.slots) > 0 })
		n2.Close() // and again at the end of the test
		if !closedBy(t, second, 5*time.Second) {
			t.Error("Close left a stream open")
		}
		if _, err := n2.Dial("n1@127.0.0.1:1", time.Second); err == nil {
			t.Error("Dial after Close = nil")
		}
	})
}

func TestStreamConfigValidate(t *testing.T) {
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "0.0.0.0:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return l
	}
	for _, tt := range []struct {
		name  string
		setup func(*StreamConfig)
		want  string
	}{
		{"peers cannot dial 0.0.0.0", func(c *StreamConfig) { c.Advertise = "" }, "advertise another address"},
		{"nothing", func(c *StreamConfig) { *c = StreamConfig{} }, "no listener"},
		{"bad id", func(c *StreamConfig) { c.ID = "n1@x" }, "must not contain @"},
		{"bad cluster", func(c *StreamConfig) { c.Cluster = "a.b" }, `cluster "a.b"`},
		{"half TLS", func(c *StreamConfig) { c.ServerTLS = openTLS(t, issueNode(t, t.TempDir(), "n1")).ServerConfig() }, "TLS for one end"},
		{"fine", func(c *StreamConfig) {}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := DefaultStreamConfig()
			c.Listener, c.ID, c.Cluster, c.Advertise = listen(), "n1", "test", "db.example:7701"
			tt.setup(&c)
			s, err := NewStreamLayer(c)
			if tt.want == "" {
				if err != nil || s.Addr().String() != "db.example:7701" || s.Addr().Network() != "tcp" {
					t.Errorf("NewStreamLayer = %v, %v", s.Addr(), err)
				}
			} else if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("NewStreamLayer = %v, want %q", err, tt.want)
			}
		})
	}
}
