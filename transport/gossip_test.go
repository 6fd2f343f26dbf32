package transport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/memberlist"
)

// quickTiming finds a dead node within about a second.
func quickTiming() *memberlist.Config {
	c := memberlist.DefaultLocalConfig()
	c.ProbeInterval, c.ProbeTimeout = 100*time.Millisecond, 50*time.Millisecond
	c.SuspicionMult, c.SuspicionMaxTimeoutMult = 2, 2
	c.GossipInterval = 10 * time.Millisecond
	c.PushPullInterval = time.Second
	c.GossipToTheDeadTime = 5 * time.Second
	c.TCPTimeout = 500 * time.Millisecond
	return c
}

func testGossipConfig(id string, join ...string) GossipConfig {
	c := DefaultGossipConfig()
	c.NodeID, c.Cluster, c.Region = id, "test", "here"
	c.Bind, c.Join = "127.0.0.1:0", join
	c.RaftAddress, c.GRPCAddress, c.HTTPAddress = "raft-"+id, "grpc-"+id, "http-"+id
	c.Version, c.LogVersion = "v1", 7
	c.JoinRetry = 20 * time.Millisecond
	c.Timing = quickTiming
	return c
}

// A lines collects log lines.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// count returns how many lines hold all the parts.
func (l *lines) count(parts ...string) int {
	n := 0
	for line := range strings.Lines(l.String()) {
		if !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(line, p) }) {
			n++
		}
	}
	return n
}

func (l *lines) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// A testGossip runs until the test ends or stop is called.
type testGossip struct {
	*Gossip
	lines *lines
	stop  func()
}

func startGossip(t testing.TB, cfg GossipConfig) testGossip {
	t.Helper()
	out := &lines{}
	g, err := OpenGossip(cfg, out.logger())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		g.Run(ctx)
	}()
	stop := func() {
		cancel()
		<-done
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(func() {
		stop()
		if t.Failed() {
			t.Logf("log of %s:\n%s", cfg.NodeID, out)
		}
	})
	return testGossip{g, out, stop}
}

// sees reports whether a node knows exactly these others and itself, as id or
// id:state where the state is not alive.
func (g testGossip) sees(want ...string) bool {
	var got []string
	for _, p := range g.Members() {
		s := p.ID
		if !p.Present() {
			s += ":" + p.State.String()
		}
		got = append(got, s)
	}
	return slices.Equal(got, want)
}

func TestGossipFindsOthers(t *testing.T) {
	t.Parallel() // it mostly waits
	a := startGossip(t, testGossipConfig("a"))
	b := startGossip(t, testGossipConfig("b", a.Address(), "127.0.0.1:1"))
	c := startGossip(t, testGossipConfig("c", b.Address()))
	for _, g := range []testGossip{a, b, c} {
		pollUntil(t, "all see all", func() bool { return g.sees("a", "b", "c") })
	}
	p, ok := c.Peer("a")
	want := NodeInfo{Cluster: "test", Region: "here", RaftAddress: "raft-a", GRPCAddress: "grpc-a", HTTPAddress: "http-a", Version: "v1", LogVersion: 7}
	if !ok || p.NodeInfo != want || p.Address != a.Address() {
		t.Errorf("c knows of a: %+v", p)
	}
	if addr, err := c.ServerAddr("a"); addr != "raft-a" || err != nil {
		t.Errorf("ServerAddr(a) = %q, %v", addr, err)
	}
	if addr, err := c.ServerAddr("x"); err == nil {
		t.Errorf("ServerAddr(x) = %q, want an error", addr)
	}
	a.SetRaftState(true, true)
	a.SetFounding(42)
	if err := a.SetClusterID("id-1"); err != nil {
		t.Fatal(err)
	}
	want.HasState, want.Removed, want.Founding, want.ClusterID = true, true, 42, "id-1"
	pollUntil(t, "c hears what changed at a", func() bool {
		changed := c.Changed()
		if p, _ := c.Peer("a"); p.NodeInfo == want {
			return true
		}
		<-changed // a change must come, or the test hangs
		return false
	})
}

func TestGossipDeadAndLeft(t *testing.T) {
	t.Parallel() // it mostly waits
	a := startGossip(t, testGossipConfig("a"))
	b := startGossip(t, testGossipConfig("b", a.Address()))
	c := startGossip(t, testGossipConfig("c", a.Address()))
	for _, g := range []testGossip{a, b, c} {
		pollUntil(t, "all see all", func() bool { return g.sees("a", "b", "c") })
	}
	if err := b.Leave(6 * time.Second); err != nil {
		t.Log(err) // the machine is busy
	}
	if !b.sees("a", "b:left", "c") {
		t.Errorf("b sees %+v after leaving", b.Members())
	}
	b.SetFounding(1) // must not hang or come back
	b.stop()
	pollUntil(t, "b left", func() bool { return a.sees("a", "b:left", "c") && c.sees("a", "b:left", "c") })
	c.stop()
	pollUntil(t, "c dead", func() bool { return a.sees("a", "b:left", "c:dead") })
	if err := b.Leave(time.Second); err != nil { // after Close
		t.Error(err)
	}
	if addr, err := a.ServerAddr("c"); addr != "raft-c" || err != nil {
		t.Errorf("ServerAddr of a dead node = %q, %v", addr, err)
	}
	// memberlist has forgotten both by now, or will: the same nodes come back at
	// other addresses, and find the others.
	b2 := startGossip(t, testGossipConfig("b", a.Address()))
	c2 := startGossip(t, testGossipConfig("c", a.Address()))
	for _, g := range []testGossip{a, b2, c2} {
		pollUntil(t, "both are back", func() bool { return g.sees("a", "b", "c") })
	}
}

// A node that starts before its seeds, or loses all others, goes on trying.
func TestGossipKeepsTrying(t *testing.T) {
	t.Parallel()                                  // it mostly waits
	hold, err := net.Listen("tcp", "127.0.0.1:0") // a port that is nobody's yet
	if err != nil {
		t.Fatal(err)
	}
	seed := hold.Addr().String()
	hold.Close()
	a := startGossip(t, testGossipConfig("a", seed, "seed.invalid:1"))
	pollUntil(t, "complaints", func() bool {
		return a.lines.count("WARN", "not reached", seed) == 1 && a.lines.count("WARN", "not resolved", "seed.invalid") == 1
	})
	select {
	case <-a.Met():
		t.Error("a met somebody")
	default:
	}
	cfg := testGossipConfig("b", seed)
	cfg.Bind = seed
	b := startGossip(t, cfg)
	pollUntil(t, "joined", func() bool { return a.sees("a", "b") && b.sees("a", "b") })
	<-a.Met()
	b.stop()
	pollUntil(t, "b dead", func() bool { return a.sees("a", "b:dead") })
	cfg.Join = nil
	b = startGossip(t, cfg) // has no seed: it is a that must find it
	pollUntil(t, "joined again", func() bool { return a.sees("a", "b") && b.sees("a", "b") })
}

// Whether a node that knows of nobody may be the first of its cluster.
func TestGossipMet(t *testing.T) {
	t.Parallel() // it mostly waits
	for _, tc := range []struct {
		name string
		join []string // added to its own address
		met  bool
	}{
		{"no seeds", nil, true},
		{"itself", []string{"self"}, true},
		{"itself and a name that does not resolve", []string{"self", "seed.invalid:1"}, false},
		{"itself and one that is down", []string{"self", "127.0.0.1:1"}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			hold, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			cfg := testGossipConfig("a", tc.join...)
			cfg.Bind = hold.Addr().String()
			hold.Close()
			for i, j := range cfg.Join {
				if j == "self" {
					cfg.Join[i] = cfg.Bind
				}
			}
			a := startGossip(t, cfg)
			if tc.met {
				<-a.Met()
				return
			}
			pollUntil(t, "tried", func() bool { return a.lines.count("will try again") > 0 })
			select {
			case <-a.Met():
				t.Error("met nobody, and says so")
			default:
			}
		})
	}
}

func TestGossipRefusesStrangers(t *testing.T) {
	t.Parallel() // it mostly waits
	for _, tc := range []struct {
		name   string
		change func(*GossipConfig)
		says   string
	}{
		{"cluster id", func(c *GossipConfig) { c.ClusterID = "theirs" }, "another cluster of the same name"},
		{"region", func(c *GossipConfig) { c.Region = "there" }, "nodes of one cluster share their region"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := testGossipConfig("a")
			cfg.ClusterID = "ours"
			a := startGossip(t, cfg)
			cfg = testGossipConfig("b", a.Address())
			tc.change(&cfg)
			b := startGossip(t, cfg)
			for _, g := range []testGossip{a, b} {
				pollUntil(t, "both refuse", func() bool { return g.lines.count("WARN", "node refused", tc.says) > 0 })
			}
			if !a.sees("a") || !b.sees("b") {
				t.Errorf("a sees %v, b %v", a.Members(), b.Members())
			}
		})
	}
	t.Run("cluster name", func(t *testing.T) {
		a := startGossip(t, testGossipConfig("a"))
		cfg := testGossipConfig("b", a.Address())
		cfg.Cluster = "other"
		b := startGossip(t, cfg)
		pollUntil(t, "both complain", func() bool {
			return a.lines.count("WARN", "unacceptable label") == 1 && b.lines.count("WARN", "do cluster name and secret key agree") == 1
		})
	})
	t.Run("secret key", func(t *testing.T) {
		cfg := testGossipConfig("a")
		cfg.SecretKey = bytes.Repeat([]byte{1}, 32)
		a := startGossip(t, cfg)
		b := startGossip(t, testGossipConfig("b", a.Address()))
		cfg = testGossipConfig("c", a.Address())
		cfg.SecretKey = bytes.Repeat([]byte{1}, 32)
		c := startGossip(t, cfg)
		pollUntil(t, "who has the key joins", func() bool { return a.sees("a", "c") && c.sees("a", "c") })
		pollUntil(t, "who has not is told", func() bool { return b.lines.count("WARN", "encryption is not configured") == 1 })
		if !b.sees("b") {
			t.Errorf("b sees %v without the key", b.Members())
		}
	})
}

// Two clusters of one name were founded apart and meet when one of their nodes
// had not yet learnt its cluster id.
func TestGossipStrangerFoundLater(t *testing.T) {
	t.Parallel() // it mostly waits
	a := startGossip(t, testGossipConfig("a"))
	b := startGossip(t, testGossipConfig("b", a.Address()))
	c := startGossip(t, testGossipConfig("c", a.Address()))
	for _, g := range []testGossip{a, b, c} {
		pollUntil(t, "all see all", func() bool { return g.sees("a", "b", "c") })
	}
	a.SetClusterID("ours")
	b.SetClusterID("theirs")
	pollUntil(t, "apart", func() bool { return a.sees("a", "c") && b.sees("b", "c") })
	c.SetClusterID("ours")
	pollUntil(t, "b is alone", func() bool { return a.sees("a", "c") && b.sees("b") && c.sees("a", "c") })
	// b restarts without its data and may join.
	b.stop()
	pollUntil(t, "b is found dead", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.peers["b"].State == PeerDead
	})
	b = startGossip(t, testGossipConfig("b", a.Address()))
	for _, g := range []testGossip{a, b, c} {
		pollUntil(t, "all see all again", func() bool { return g.sees("a", "b", "c") })
	}
}

func TestGossipRefusesSameID(t *testing.T) {
	t.Parallel() // it mostly waits
	a := startGossip(t, testGossipConfig("a"))
	b := startGossip(t, testGossipConfig("b", a.Address()))
	pollUntil(t, "a and b", func() bool { return a.sees("a", "b") && b.sees("a", "b") })
	impostor := startGossip(t, testGossipConfig("a", a.Address()))
	for _, g := range []testGossip{a, impostor} {
		pollUntil(t, "both say so", func() bool {
			return g.lines.count("ERROR", "two nodes have one id", a.Address(), impostor.Address()) == 1
		})
	}
	if p, _ := b.Peer("a"); p.Address != a.Address() {
		t.Errorf("b knows a at %s, want %s", p.Address, a.Address())
	}
}

func TestGossipExpel(t *testing.T) {
	t.Parallel() // it mostly waits
	a := startGossip(t, testGossipConfig("a"))
	b := startGossip(t, testGossipConfig("b", a.Address()))
	pollUntil(t, "both", func() bool { return a.sees("a", "b") && b.sees("a", "b") })
	if err := a.SetClusterID("ours"); err != nil {
		t.Fatal(err)
	}
	if err := a.Expel("stranger"); !errors.Is(err, ErrUnknownMember) {
		t.Errorf("Expel(stranger) = %v, want %v", err, ErrUnknownMember)
	}
	for _, msg := range [][]byte{nil, []byte("x"), []byte("y"), encodeExpel("", "b"), encodeExpel("ours", "a")} {
		b.hear(msg)
	}
	if err := a.Expel("b"); err != nil { // it does not know yet of which cluster it is
		t.Fatal(err)
	}
	if err := b.SetClusterID("ours"); err != nil {
		t.Fatal(err)
	}
	if at := b.Expelled(); !at.IsZero() {
		t.Errorf("expelled at %v", at)
	}
	pollUntil(t, "told", func() bool {
		if err := a.Expel("b"); err != nil {
			t.Fatal(err)
		}
		return time.Since(b.Expelled()) < time.Second
	})
}

func TestGossipConfigValidate(t *testing.T) {
	valid := testGossipConfig("a")
	if err := valid.Validate(); err != nil {
		t.Fatal(err)
	}
	bad := GossipConfig{SecretKey: []byte("short"), BootstrapExpect: -1, ClusterID: strings.Repeat("i", 37)}
	err := bad.Validate()
	for _, want := range []string{"no node id", "cluster name of 0 bytes", "no raft address", "secret key of 5 bytes", "cluster id of 37", "bootstrap-expect -1", "join retry", "no timing"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Validate() = %v, lacks %q", err, want)
		}
	}
	for _, bind := range []string{"nonsense", "127.0.0.1", "no.such.host.invalid:1", "127.0.0.1:99999"} {
		c := valid
		c.Bind = bind
		if g, err := OpenGossip(c, slog.New(slog.DiscardHandler)); err == nil {
			g.Close()
			t.Errorf("listens on %q", bind)
		}
	}
}

func TestGossipForgetsTheLongestGone(t *testing.T) {
	g := &Gossip{peers: map[string]*peerRecord{}}
	start := time.Now()
	for i := range maxGone + 2 {
		id := fmt.Sprint(i)
		g.peers[id] = &peerRecord{Peer: Peer{ID: id, State: PeerDead, Since: start.Add(time.Duration(i))}}
		gossipDelegate{g}.forget()
	}
	g.peers["here"] = &peerRecord{Peer: Peer{ID: "here"}}
	gossipDelegate{g}.forget()
	_, first := g.peers["0"]
	_, third := g.peers["2"]
	if len(g.peers) != maxGone+1 || first || !third {
		t.Errorf("%d remembered, 0 among them: %v, 2: %v", len(g.peers), first, third)
	}
}

func TestComplainer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &lines{}
		c := newComplainer(out.logger())
		for range 3 {
			c.complain(slog.LevelWarn, "a", "one")
			c.complain(slog.LevelWarn, "b", "two")
			time.Sleep(quietFor/2 + 1)
		}
		if one, two := out.count("one"), out.count("two"); one != 2 || two != 2 {
			t.Errorf("complained %d and %d times in a minute, want 2", one, two)
		}
		for i := range 2 * maxComplaints {
			c.fresh(fmt.Sprint(i))
		}
		if len(c.last) > maxComplaints {
			t.Errorf("remembers %d complaints", len(c.last))
		}
	})
}

// lines of memberlist 0.6.0, and what becomes of them at level info.
func TestGossipLines(t *testing.T) {
	out := &lines{}
	w := gossipLines{newComplainer(out.logger())}
	for _, line := range []string{
		"[DEBUG] memberlist: Stream connection from=127.0.0.1:1\n",
		"[INFO] memberlist: Suspect b has failed, no acks received\n",
		"[WARN] memberlist: Refuting a suspect message (from: b)\n",
		"[WARN] memberlist: Was able to connect to b over TCP but UDP probes failed, network may be misconfigured\n",
		"[ERR] memberlist: Failed to receive: EOF from=127.0.0.1:1\n",
		"[ERR] memberlist: Failed to receive: EOF from=127.0.0.1:2\n",
	} {
		if n, err := w.Write([]byte(line)); n != len(line) || err != nil {
			t.Errorf("Write = %d, %v", n, err)
		}
	}
	if all := out.count(""); all != 2 || out.count("level=WARN", "UDP probes failed") != 1 || out.count("level=WARN", `text="Failed to receive: EOF from=127.0.0.1:1"`) != 1 {
		t.Errorf("logged:\n%s", out)
	}
}
