package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"github.com/tkcoord/tkcoord/edge"
	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/transport"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Tight windows are short, so that many go by, and more is asked for than they
// allow. The long one lasts for the whole test.
const tightLimit = 60

func failoverPolicies() string {
	return fmt.Sprintf(`version: 1
limiters:
  tight: {strategy: fixedWindow, limit: %d, period: 500ms}
  long: {strategy: quota, limit: 100000000, resetCadence: fixed, period: 1d, anchor: %d}
`, tightLimit, time.Now().Add(-time.Hour).UnixMilli()%86_400_000)
}

// Three real processes, whose leader is killed again and again, stopped and
// continued, and told to end, while edges send more than their limits allow. What is counted
// here at each admission, independently of edges and nodes, never exceeds the
// limit of any key and window; an edge that holds credits denies nothing; what
// was granted stays granted; and the replicas end up equal.
func TestKilledLeaders(t *testing.T) {
	if testing.Short() {
		t.Skip("takes about 20 s")
	}
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	t.Run("", killLeaders) // so that its cleanups run before leaks are looked for
}

func killLeaders(t *testing.T) {
	c := startChildren(t, []string{"a", "b", "c"}, failoverPolicies(), "--max-lease-ttl", "2m", "--session-idle", "10m")
	admin := newAdmins(t, c)
	work, stop := context.WithCancel(t.Context())
	defer stop()
	var running sync.WaitGroup
	count := newAdmissions()
	var edges []*edge.Edge
	for i := range 4 {
		e := openEdge(t, c, fmt.Sprintf("edge-%d", i), count, edge.DefaultConfig())
		edges = append(edges, e)
		for key := range 3 {
			running.Go(func() { overload(work, e, fmt.Sprintf("tenant-%d", key)) })
		}
	}
	rich := newRich(t, c, count)
	edges = append(edges, rich.edge)
	running.Go(func() { rich.spend(work) })
	w := newWitness(t, c)
	running.Go(func() { w.ask(work) })

	for round, how := range []string{"killed", "killed", "stopped", "told to end", "killed", "stopped"} {
		seen := count.windows()
		within(t, "admissions in several windows more", func() bool { return count.windows() > seen+1 })
		lead := c.named(t, admin.leader(t))
		before := w.granted.Load()
		switch how {
		case "killed":
			lead.kill()
		case "stopped":
			lead.signal(syscall.SIGSTOP)
		default:
			lead.signal(syscall.SIGTERM)
		}
		at := time.Now()
		within(t, "new grants", func() bool { return w.granted.Load() > before+1 }) // one may have been on its way
		t.Logf("round %d: %s %s, new grants after %v", round, lead.name, how, time.Since(at).Round(time.Millisecond))
		if how == "stopped" {
			version := admin.changePolicy(t, lead, int64(round))
			lead.signal(syscall.SIGCONT)
			admin.readsAtLeast(t, lead, version)
		} else {
			lead.wait()
			lead.start()
		}
		c.waitReady(t)
	}
	stop()
	running.Wait()
	for _, e := range edges {
		if err := e.Close(); err != nil {
			t.Errorf("close an edge: %v", err)
		}
	}
	count.check(t)
	rich.check(t)
	w.check(t)
	admin.check(t, count)
	for _, n := range c.nodes {
		n.signal(syscall.SIGTERM)
	}
	for _, n := range c.nodes {
		if code := n.wait(); code != exitDone {
			t.Errorf("node %s: exit code %d after SIGTERM", n.name, code)
		}
	}
}

// admissions counts what edges admit, by policy, key and window.
type admissions struct {
	mu   sync.Mutex // guards the rest
	by   map[admitted]int64
	sums map[string]int64 // by policy
}

type admitted struct {
	policy, key string
	start       clock.Millis
}

func newAdmissions() *admissions {
	return &admissions{by: map[admitted]int64{}, sums: map[string]int64{}}
}

func (a *admissions) admit(policy, key string, n int64, w escrow.Window, _ clock.Nanos) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.by[admitted{policy, key, w.Start}] += n
	a.sums[policy] += n
}

// windows returns in how many windows of the tight policy something was admitted.
func (a *admissions) windows() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	seen := map[clock.Millis]bool{}
	for at := range a.by {
		if at.policy == "tight" {
			seen[at.start] = true
		}
	}
	return len(seen)
}

func (a *admissions) check(t *testing.T) {
	t.Helper()
	most := int64(0)
	for at, n := range a.by {
		if at.policy != "tight" {
			continue
		}
		most = max(most, n)
		if n > tightLimit {
			t.Errorf("%d admitted for %s in the window from %d, the limit is %d", n, at.key, at.start, tightLimit)
		}
	}
	t.Logf("%d admitted in %d windows, at most %d of %d", a.sums["tight"], a.windows(), most, tightLimit)
	if most < tightLimit*3/4 {
		t.Errorf("at most %d admitted of %d: the limit was not put to the test", most, tightLimit)
	}
}

func openEdge(t testing.TB, c *children, id string, count *admissions, cfg edge.Config) *edge.Edge {
	t.Helper()
	cfg.EdgeID, cfg.Addresses, cfg.TLS = id, c.addresses(), clientTLS(t, c.tls)
	cfg.OnAdmit, cfg.Logger = count.admit, slog.New(slog.DiscardHandler)
	e, err := edge.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

func clientTLS(t testing.TB, f transport.TLSFiles) *tls.Config {
	t.Helper()
	cert, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(f.CA)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	return &tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: pool}
}

// overload asks for more than the tight limit allows.
func overload(ctx context.Context, e *edge.Edge, key string) {
	l := e.Limiter("tight")
	t := time.NewTicker(5 * time.Millisecond)
	defer t.Stop()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if i%2 == 0 {
			l.Allow(key, 1+int64(i%3))
		} else {
			l.Check(ctx, key, 1) // the answer does not matter
		}
	}
}

// A rich edge holds credits for a minute, and must never deny.
type rich struct {
	edge             *edge.Edge
	admitted, denied int64
}

func newRich(t testing.TB, c *children, count *admissions) *rich {
	cfg := edge.DefaultConfig()
	cfg.Horizon = time.Minute
	r := &rich{edge: openEdge(t, c, "rich", count, cfg)}
	l := r.edge.Limiter("long")
	within(t, "the edge holds credits", func() bool {
		l.Check(t.Context(), "k", 1000)
		p := r.edge.Stats().Policies
		return len(p) == 1 && p[0].Held > 10_000
	})
	return r
}

func (r *rich) spend(ctx context.Context) {
	l := r.edge.Limiter("long")
	t := time.NewTicker(2 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if l.Allow("k", 1) {
			r.admitted++
		} else {
			r.denied++
		}
	}
}

func (r *rich) check(t *testing.T) {
	t.Helper()
	if r.denied > 0 || r.admitted < 100 {
		t.Errorf("an edge with credits admitted %d and denied %d", r.admitted, r.denied)
	}
}

// A witness speaks the protocol itself, and asks for one credit more each time.
// What it was granted must never become less.
type witness struct {
	t       testing.TB
	clients []tkcoordv1.EdgeClient
	granted atomic.Int64
	session uint64
	window  int64
	asked   int
}

func newWitness(t testing.TB, c *children) *witness {
	w := &witness{t: t}
	for _, conn := range c.dial(t) {
		w.clients = append(w.clients, tkcoordv1.NewEdgeClient(conn))
	}
	return w
}

// dial returns a connection to each node.
func (c *children) dial(t testing.TB) (all []*grpc.ClientConn) {
	t.Helper()
	files, err := c.tls.Open(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range c.addresses() {
		conn, err := grpc.NewClient("passthrough:///"+a, grpc.WithTransportCredentials(files.Credentials()), grpc.WithConnectParams(quickReconnect))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		all = append(all, conn)
	}
	return all
}

// quickReconnect finds a node that came back without waiting long.
var quickReconnect = grpc.ConnectParams{
	Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.5, MaxDelay: 500 * time.Millisecond},
	MinConnectTimeout: 2 * time.Second,
}

func (w *witness) ask(ctx context.Context) {
	for turn, seq := 0, uint64(1); ctx.Err() == nil; seq++ {
		have := w.granted.Load()
		call, cancel := context.WithTimeout(ctx, time.Second)
		res, err := w.clients[turn].Exchange(call, &tkcoordv1.ExchangeRequest{
			EdgeId: "witness", Incarnation: 1, Session: w.session, Seq: seq,
			Asks: []*tkcoordv1.Ask{{Policy: "long", Key: "witness", WindowStartMs: w.window, Need: have + 1, Want: have + 1}},
		})
		cancel()
		if err != nil {
			switch code := status.Code(err); code {
			case codes.Unavailable, codes.Unknown, codes.DeadlineExceeded, codes.Canceled:
				turn = (turn + 1) % len(w.clients)
			default:
				w.t.Errorf("exchange: %v", err)
				return
			}
			time.Sleep(10 * time.Millisecond)
			continue
		}
		a := res.Answers[0]
		if a.Problem != nil || a.Granted < have || w.window != 0 && (a.WindowStartMs != w.window || res.Session != w.session) {
			w.t.Errorf("%d granted in window %d of session %d, then %+v in session %d", have, w.window, w.session, a, res.Session)
			return
		}
		w.session, w.window = res.Session, a.WindowStartMs
		w.granted.Store(a.Granted)
		w.asked++
		time.Sleep(5 * time.Millisecond)
	}
}

func (w *witness) check(t *testing.T) {
	t.Helper()
	if g := w.granted.Load(); g < 10 || g > int64(w.asked)+1 {
		t.Errorf("%d granted after %d answers to questions for one more", g, w.asked)
	}
}

// admins ask each node as an operator would.
type admins struct {
	nodes   []*child
	clients map[string]tkcoordv1.AdminClient
}

func newAdmins(t testing.TB, c *children) *admins {
	a := &admins{nodes: c.nodes, clients: map[string]tkcoordv1.AdminClient{}}
	for i, conn := range c.dial(t) {
		a.clients[c.nodes[i].name] = tkcoordv1.NewAdminClient(conn)
	}
	return a
}

// others returns the clients of the nodes that answer, without one.
func (a *admins) others(not *child) (all []tkcoordv1.AdminClient) {
	for name, c := range a.clients {
		if not == nil || name != not.name {
			all = append(all, c)
		}
	}
	return all
}

// leader returns the node that all agree to be the leader.
func (a *admins) leader(t testing.TB) (name string) {
	t.Helper()
	within(t, "all know the same leader", func() bool {
		said := map[string]bool{}
		for _, c := range a.clients {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			s, err := c.Status(ctx, &tkcoordv1.StatusRequest{})
			cancel()
			if err != nil {
				return false
			}
			name = s.Leader.GetNodeId()
			said[name] = true
		}
		return len(said) == 1 && name != ""
	})
	return name
}

// changePolicy adds a policy while a node does not notice, and returns the
// version of the policies then.
func (a *admins) changePolicy(t testing.TB, not *child, limit int64) (version uint64) {
	t.Helper()
	within(t, "a change of the policies", func() bool {
		for _, c := range a.others(not) {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			res, err := c.ApplyPolicies(ctx, &tkcoordv1.ApplyPoliciesRequest{Put: []*tkcoordv1.Policy{{
				Name: "later", Strategy: "fixedWindow", Limit: limit, MaxKeys: 7, Cadence: &tkcoordv1.Cadence{Kind: "fixed", PeriodMs: 1000},
			}}})
			cancel()
			if err == nil {
				version = res.Version
				return true
			}
		}
		return false
	})
	return version
}

// readsAtLeast asks a node that led, and may still believe so, for the policies.
// It must not answer with those of before.
func (a *admins) readsAtLeast(t testing.TB, n *child, version uint64) {
	t.Helper()
	within(t, "the node that was stopped answers", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		res, err := a.clients[n.name].GetPolicies(ctx, &tkcoordv1.GetPoliciesRequest{})
		if err == nil && res.Version < version {
			t.Errorf("node %s, which had been stopped, answered with version %d of the policies after %d was acknowledged", n.name, res.Version, version)
		}
		return err == nil
	})
}

func (a *admins) check(t *testing.T, count *admissions) {
	t.Helper()
	c := a.clients[a.leader(t)]
	d, err := c.Digest(t.Context(), &tkcoordv1.DigestRequest{})
	if err != nil || !d.Equal || len(d.Nodes) != len(a.nodes) {
		t.Errorf("digests: %v, %v; want %d equal ones", d, err, len(a.nodes))
	}
	for _, n := range d.GetNodes() {
		if n.Error != "" {
			t.Errorf("digest of %s: %s", n.NodeId, n.Error)
		}
	}
	p, err := c.GetPolicies(t.Context(), &tkcoordv1.GetPoliciesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range p.Policies {
		n := s.Counters
		if n.WorstOvershoot > 0 || n.GrantedTotal-n.ReturnedTotal < count.sums[s.Policy.Name] {
			t.Errorf("policy %s: %d admitted here, and the cluster counted %v", s.Policy.Name, count.sums[s.Policy.Name], n)
		}
	}
	names := slices.Sorted(maps.Keys(a.clients))
	s, err := c.Status(t.Context(), &tkcoordv1.StatusRequest{})
	if err != nil || len(s.Alarms) > 0 || len(s.Members) != len(names) {
		t.Errorf("status %v, %v; want %d members and no alarm", s, err, len(names))
	}
}
