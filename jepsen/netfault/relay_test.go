package netfault

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"
)

// patience bounds every wait for something that must happen.
const patience = 10 * time.Second

// eventually returns once cond holds.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	limit := time.After(patience)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-limit:
			t.Fatalf("not within %v: %s", patience, what)
		case <-tick.C:
		}
	}
}

// background runs f until the test ends.
func background(t testing.TB, f func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(patience):
			t.Error("Run did not return")
		}
	})
}

// A relayed host b with a client on host a.
type relayed struct {
	table        *Table
	there, back  *Link
	server       net.Listener
	client, peer *net.TCPConn // client's connection, and the server's end of it
	addr         string
}

func startRelay(t *testing.T) *relayed {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	r := &relayed{table: NewTable(), server: l}
	r.there, r.back = r.table.Link(Flow{"a", "b", Calls}), r.table.Link(Flow{"b", "a", Calls})
	relay, err := ListenRelay(RelayConfig{
		Table: r.table, To: "b", Class: Calls, Listen: "127.0.0.1:0", Target: l.Addr().String(),
		Who: func(net.Conn) string { return "a" },
	})
	if err != nil {
		t.Fatal(err)
	}
	background(t, relay.Run)
	r.addr = relay.Addr().String()
	return r
}

func (r *relayed) dial(t *testing.T) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return withDeadline(c)
}

func (r *relayed) accept(t *testing.T) *net.TCPConn {
	t.Helper()
	c, err := r.server.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return withDeadline(c)
}

func withDeadline(c net.Conn) *net.TCPConn {
	_ = c.SetDeadline(time.Now().Add(patience))
	return c.(*net.TCPConn)
}

func (r *relayed) connect(t *testing.T) {
	t.Helper()
	r.client, r.peer = r.dial(t), r.accept(t)
}

func send(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

func receive(t *testing.T, c net.Conn, want string) {
	t.Helper()
	buf := make([]byte, len(want))
	if _, err := io.ReadFull(c, buf); err != nil || string(buf) != want {
		t.Fatalf("received %q, %v, want %q", buf, err, want)
	}
}

// silent reports whether nothing has arrived on a connection by now.
func silent(t *testing.T, c net.Conn) bool {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	defer withDeadline(c)
	n, err := c.Read(make([]byte, 1))
	return n == 0 && errors.Is(err, os.ErrDeadlineExceeded)
}

func TestRelayCutsOneWay(t *testing.T) {
	r := startRelay(t)
	r.connect(t)
	send(t, r.client, "before")
	receive(t, r.peer, "before")
	uncut := r.table.Add(func(f Flow) Effect { return Effect{Cut: f.From == "a"} })
	send(t, r.client, "held")
	eventually(t, "the relay holds it", func() bool { return r.there.Counts().Delayed > 0 })
	if !silent(t, r.peer) {
		t.Error("a cut flow arrived")
	}
	send(t, r.peer, "the other way")
	receive(t, r.client, "the other way")
	uncut()
	receive(t, r.peer, "held")
}

func TestRelayHoldsNewConnections(t *testing.T) {
	for _, cut := range []string{"a", "b"} { // a handshake needs both directions
		r := startRelay(t)
		uncut := r.table.Add(func(f Flow) Effect { return Effect{Cut: f.From == cut} })
		r.client = r.dial(t)
		send(t, r.client, "early")
		_ = r.server.(*net.TCPListener).SetDeadline(time.Now().Add(20 * time.Millisecond))
		if c, err := r.server.Accept(); err == nil {
			c.Close()
			t.Errorf("connected while the flow from %s was cut", cut)
		}
		_ = r.server.(*net.TCPListener).SetDeadline(time.Now().Add(patience))
		uncut()
		r.peer = r.accept(t)
		receive(t, r.peer, "early")
	}
}

func TestRelayDelays(t *testing.T) {
	r := startRelay(t)
	r.connect(t)
	const delay = 60 * time.Millisecond
	r.table.Add(func(f Flow) Effect { return Effect{Delay: delay} })
	began := time.Now()
	for range 3 { // pieces that follow each other are delayed, not queued behind each other's delay
		send(t, r.client, "ping")
	}
	receive(t, r.peer, "pingpingping")
	send(t, r.peer, "pong")
	receive(t, r.client, "pong")
	if took := time.Since(began); took < 2*delay || took > 2*delay+time.Second {
		t.Errorf("there and back took %v, want %v", took, 2*delay)
	}
}

func TestRelayKeepsOrderUnderJitter(t *testing.T) {
	r := startRelay(t)
	r.connect(t)
	r.table.Add(onAll(Effect{Jitter: 5 * time.Millisecond}))
	var want bytes.Buffer
	for i := range 500 {
		want.WriteByte(byte(i))
		send(t, r.client, string([]byte{byte(i)}))
	}
	receive(t, r.peer, want.String())
}

func TestRelayCapacity(t *testing.T) {
	r := startRelay(t)
	r.connect(t)
	r.table.Add(onAll(Effect{BytesPerSecond: 1 << 20}))
	data := bytes.Repeat([]byte{7}, 128<<10)
	began := time.Now()
	go r.client.Write(data)
	if _, err := io.ReadFull(r.peer, make([]byte, len(data))); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 100*time.Millisecond || took > 2*time.Second {
		t.Errorf("128 KiB at 1 MiB/s took %v, want 125ms", took)
	}
}

func TestRelayPassesTheEnd(t *testing.T) {
	t.Run("in order", func(t *testing.T) {
		r := startRelay(t)
		r.connect(t)
		send(t, r.client, "last words")
		r.client.CloseWrite()
		if got, err := io.ReadAll(r.peer); string(got) != "last words" || err != nil {
			t.Errorf("received %q, %v", got, err)
		}
		send(t, r.peer, "answer to half a connection")
		r.peer.Close()
		if got, err := io.ReadAll(r.client); string(got) != "answer to half a connection" || err != nil {
			t.Errorf("received %q, %v", got, err)
		}
	})
	t.Run("by failure", func(t *testing.T) {
		r := startRelay(t)
		r.connect(t)
		reset(r.peer)
		if _, err := r.client.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("after a reset: %v, want a reset", err)
		}
	})
	t.Run("not through a cut", func(t *testing.T) {
		r := startRelay(t)
		r.connect(t)
		uncut := r.table.Add(func(f Flow) Effect { return Effect{Cut: f.From == "b"} })
		reset(r.peer)
		eventually(t, "the relay holds it", func() bool { return r.back.Counts().Delayed > 0 })
		if !silent(t, r.client) {
			t.Error("the end of a connection came through a cut")
		}
		uncut()
		if _, err := r.client.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("after the cut: %v, want a reset", err)
		}
	})
	t.Run("nobody listens", func(t *testing.T) {
		r := startRelay(t)
		r.server.Close()
		c, err := net.Dial("tcp", r.addr)
		if err == nil {
			defer c.Close()
			_, err = withDeadline(c).Read(make([]byte, 1))
		}
		if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("connecting to a relay whose host is down: %v, want a reset", err)
		}
	})
}

func TestDatagramRelay(t *testing.T) {
	host, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	table := NewTable()
	relay, err := ListenDatagrams(DatagramRelayConfig{
		Table: table, To: "b", Class: Gossip, Listen: "127.0.0.1:0", Target: host.LocalAddr().(*net.UDPAddr).AddrPort(),
		Who: func(netip.AddrPort) string { return "a" },
	})
	if err != nil {
		t.Fatal(err)
	}
	background(t, relay.Run)
	client, err := net.Dial("udp", relay.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()

	uncut := table.Add(onAll(Effect{Cut: true}))
	send(t, client, "lost")
	link := table.Link(Flow{"a", "b", Gossip})
	eventually(t, "the relay drops it", func() bool { return link.Counts().Dropped == 1 })
	uncut()
	table.Add(onAll(Effect{Duplicate: 1}))
	send(t, client, "twice")
	_ = host.SetReadDeadline(time.Now().Add(patience))
	for range 2 {
		buf := make([]byte, 100)
		n, err := host.Read(buf)
		if err != nil || string(buf[:n]) != "twice" {
			t.Fatalf("received %q, %v", buf[:n], err)
		}
	}
}

func TestOwners(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	peer, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	o := NewOwners()
	if got := o.Who(peer); got != "" {
		t.Errorf("an unknown process is host %q", got)
	}
	o.Add(1, "init") // holds no socket of ours, or may not be looked at
	o.Add(os.Getpid(), "self")
	if got := o.Who(peer); got != "self" {
		t.Errorf("the connection is from host %q, want self", got)
	}
	o.Remove(os.Getpid())
	if got := o.Who(peer); got != "" {
		t.Errorf("a process that was removed is host %q", got)
	}
}
