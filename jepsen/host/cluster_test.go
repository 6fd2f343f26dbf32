package host

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tkcoord/tkcoord/jepsen/host/standin"
	"github.com/tkcoord/tkcoord/jepsen/netfault"
	"github.com/tkcoord/tkcoord/jepsen/seam"
)

// standIns returns the configuration of a cluster of stand-ins.
func standIns(t testing.TB, m Mode) Config {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := DefaultConfig()
	c.Dir, c.RunID, c.Binary, c.Mode = t.TempDir(), NewRunID(), self, m
	c.Env = []string{standin.Env}
	return c
}

func openCluster(t testing.TB, c Config) *Cluster {
	t.Helper()
	if probe := map[Mode]func() error{Loopback: probeLoopback, Netns: probeNetns}[c.Mode]; probe() != nil {
		t.Skipf("no %s mode here: %v", c.Mode, probe())
	}
	cluster, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cluster.Close(); err != nil {
			t.Error(err)
		}
		if err := cluster.Close(); err != nil {
			t.Errorf("Close again: %v", err)
		}
	})
	return cluster
}

func startCluster(t testing.TB, c Config) *Cluster {
	t.Helper()
	cluster := openCluster(t, c)
	if err := cluster.Start(soon(t)); err != nil {
		t.Fatal(err)
	}
	return cluster
}

// inEachMode runs a test in all modes that this machine has.
func inEachMode(t *testing.T, test func(*testing.T, Mode)) {
	for _, m := range []Mode{Loopback, Netns} {
		t.Run(string(m), func(t *testing.T) { test(t, m) })
	}
}

func TestClusterLives(t *testing.T) {
	inEachMode(t, func(t *testing.T, m Mode) {
		c := startCluster(t, standIns(t, m))
		ctx := soon(t)
		leader, err := c.Leader(ctx)
		if err != nil || leader.Name() != "n1" {
			t.Fatalf("Leader = %v, %v", leader, err)
		}
		if err := c.TransferLeadership(ctx, c.Node("n3")); err != nil {
			t.Fatal(err)
		}
		if leader, err = c.Leader(ctx); err != nil || leader.Name() != "n3" {
			t.Errorf("Leader = %v, %v after a transfer to n3", leader, err)
		}
		if err := leader.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := leader.Ready(ctx); err == nil {
			t.Error("a dead node is ready")
		}
		if _, err := c.Leader(ctx); !errors.Is(err, ErrNoLeader) {
			t.Errorf("Leader = %v without the leader, want ErrNoLeader", err)
		}
		if err := c.Ensure(ctx); err != nil {
			t.Fatal(err)
		}
		eventually(t, "n3 leads again", func() bool {
			leader, err := c.Leader(ctx)
			return err == nil && leader.Name() == "n3"
		})
		for _, n := range c.Nodes() {
			if err := n.Ready(ctx); err != nil {
				t.Errorf("%s: %v", n.Name(), err)
			}
		}
		if err := c.Stop(ctx); err != nil {
			t.Error(err)
		}
		if died := c.Died(); len(died) > 0 {
			t.Errorf("died without having been told to: %+v", died)
		}
	})
}

// dialer is an edge that connects to its argument, copies standard input to the
// connection, and prints what comes back.
func dialer(t testing.TB, script string) func(int) []string {
	t.Helper()
	if _, err := os.Stat("/bin/bash"); err != nil {
		t.Skip("needs bash")
	}
	return func(int) []string { return []string{"/bin/bash", "-c", script} }
}

// A flow from an edge to one node is cut, and nothing else.
func TestClusterTellsFlowsApart(t *testing.T) {
	inEachMode(t, func(t *testing.T, m Mode) {
		cfg := standIns(t, m)
		cfg.Edges = 2
		c := startCluster(t, cfg)
		raft := c.Nodes()[0].place.public.String()
		// Each edge asks the echo behind n1's raft port and says when it has the
		// answer.
		for _, e := range c.Edges() {
			e.Run(dialer(t, `exec 3<>/dev/tcp/`+raft+`/7701; echo listening; echo hello >&3; read answer <&3; echo "ready $answer"`))
		}
		cut := netfault.Flow{From: "n1", To: "e1", Class: netfault.Raft}
		uncut := c.Net.Add(func(f netfault.Flow) netfault.Effect { return netfault.Effect{Cut: f == cut} })
		for _, e := range c.Edges() {
			if err := e.Start(); err != nil {
				t.Fatal(err)
			}
		}
		if line, err := c.Edges()[1].AwaitReady(soon(t)); err != nil || line != "ready hello" {
			t.Errorf("e2 said %q, %v", line, err)
		}
		counts := c.Net.Link(cut)
		eventually(t, "the answer to e1 is held up", func() bool { return counts.Counts().Dropped+counts.Counts().Delayed > 0 })
		if _, ok, _ := c.Edges()[0].log.said(saysReady); ok {
			t.Error("e1 got an answer through a cut")
		}
		uncut()
		if line, err := c.Edges()[0].AwaitReady(soon(t)); err != nil || line != "ready hello" {
			t.Errorf("e1 said %q, %v after the cut", line, err)
		}
		if to := c.Net.Link(netfault.Flow{From: "e1", To: "n1", Class: netfault.Raft}).Counts(); to.Passed == 0 {
			t.Errorf("no traffic is counted from e1 to n1: %+v", c.Net.Counts())
		}
	})
}

func TestNodeFollowsItsFaultFile(t *testing.T) {
	c := startCluster(t, standIns(t, Loopback))
	n1, n2 := c.Nodes()[0], c.Nodes()[1]
	if err := n2.Seam.Change(func(f *seam.Faults) { f.WallOffsetMS = -1_000_000 }); err != nil {
		t.Fatal(err)
	}
	off := func(n *Node) string {
		conn, err := c.Dial(soon(t), n.HTTP)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "GET / HTTP/1.0\r\n\r\n")
		answer, _ := io.ReadAll(conn)
		_, body, _ := strings.Cut(string(answer), "\r\n\r\n")
		return strings.TrimSpace(body)
	}
	eventually(t, "n2's wall clock is behind", func() bool { return off(n2) == "wall clock off by -1000 s" })
	if got := off(n1); got != "wall clock off by 0 s" {
		t.Errorf("n1: %s", got)
	}
}

func TestClusterNoticesDeaths(t *testing.T) {
	cfg := standIns(t, Loopback)
	cfg.Nodes = 1
	c := startCluster(t, cfg)
	n := c.Nodes()[0]
	if err := n.Kill(); err != nil {
		t.Fatal(err)
	}
	n.SetFlags("--crash")
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	if err := n.Wait(soon(t)); err != nil {
		t.Fatal(err)
	}
	if died := c.Died(); len(died) != 1 || died[0].Name != "n1" || died[0].State != "exit status 2" {
		t.Errorf("died: %+v, want one exit of n1 with status 2", died)
	}
	if got := n.Trouble(); len(got) != 1 || got[0] != "panic: asked to" {
		t.Errorf("trouble %q, want the panic", got)
	}
	log, err := os.ReadFile(filepath.Join(cfg.Dir, "n1", "output.log"))
	if err != nil || strings.Count(string(log), "ready node=n1") != 2 || !strings.Contains(string(log), "goroutine 1") {
		t.Errorf("the log does not hold both lives and the stack: %v\n%s", err, log)
	}
}

// Two runs at once must not meet.
func TestLoopbackRunsAreApart(t *testing.T) {
	a, b := startCluster(t, standIns(t, Loopback)), startCluster(t, standIns(t, Loopback))
	if a.Nodes()[0].Calls == b.Nodes()[0].Calls {
		t.Errorf("two runs use %s", a.Nodes()[0].Calls)
	}
}

func TestLoopbackTakesAnotherNet(t *testing.T) {
	l := openLoopback(netfault.NewTable(), 1)
	defer l.close()
	p, err := l.node(0, "n1")
	if err != nil {
		t.Skip(err)
	}
	other := openLoopback(netfault.NewTable(), 1)
	defer other.close()
	other.net = l.net
	q, err := other.node(0, "n1")
	if err != nil || q.public == p.public {
		t.Errorf("a run whose addresses are taken got %v, %v", q.public, err)
	}
}

func TestOpenRefuses(t *testing.T) {
	c := DefaultConfig()
	c.Mode, c.Nodes = "moon", 10
	_, err := Open(c)
	for _, want := range []string{"no directory", "no run id", "no program", `mode "moon"`, "10 nodes"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
}

func TestProbeLeavesNothing(t *testing.T) {
	for _, f := range Probe(t.Context()) {
		t.Logf("%s: %t %s", f.Capability, f.OK, f.Why)
		if f.OK == (f.Why != "") || f.For == "" {
			t.Errorf("%+v: a reason is given if and only if it is lacking", f)
		}
	}
	if base, _, err := findGroups(); err == nil {
		if left, _ := filepath.Glob(filepath.Join(base, fmt.Sprintf("%s%d.*", Prefix, os.Getpid()))); len(left) > 0 {
			t.Errorf("probes left %v", left)
		}
	}
}
