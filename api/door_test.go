package api

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tkcoord/tkcoord/api/throttlekitv1"
	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/policy"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	wideLimit, narrowLimit = 10_000_000, 300
	failoverPolicies       = `version: 1
limiters:
  wide: { strategy: fixedWindow, limit: 10000000, period: 1h }
  narrow: { strategy: fixedWindow, limit: 300, period: 1h }
  smooth: { strategy: gcra, limit: 10000000, period: 10000000h }
`
)

// counted is what callers saw of one policy.
type counted struct {
	allowed   atomic.Int64
	undecided atomic.Int64 // answers that nobody decided
}

// When the leader goes, checks pause and go on. None that was acknowledged is
// forgotten, and none is counted twice: what the cluster counted is what callers
// were allowed, give or take those whose outcome nobody knows. A leader that goes
// in good order leaves none of these.
func TestFailoverKeepsCounts(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(*testNode)
	}{
		{"crash", (*testNode).crash},
		{"shutdown", func(n *testNode) {
			if err := n.node.HandOver(n.of.t.Context()); err != nil {
				n.of.t.Errorf("hand over: %v", err)
			}
			n.halt()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			nodes := startNodes(t, 3, failoverPolicies, nil)
			lead := nodes.leader()
			counts := map[string]*counted{"wide": {}, "narrow": {}, "smooth": {}}
			stop := make(chan struct{})
			var working sync.WaitGroup
			var survivors []*testNode
			for _, n := range nodes.nodes {
				if n == lead {
					continue
				}
				survivors = append(survivors, n)
				for policy, count := range counts {
					for range 4 {
						working.Go(func() { keepChecking(t, n, policy, count, stop) })
					}
				}
			}
			more := func() bool {
				before := counts["wide"].allowed.Load()
				within(t, "checks are allowed", func() bool { return counts["wide"].allowed.Load() > before+200 })
				return true
			}
			more()
			c.end(lead)
			more()
			close(stop)
			working.Wait()
			for policy, limit := range map[string]int64{"wide": wideLimit, "narrow": narrowLimit, "smooth": wideLimit} {
				res, err := survivors[0].rate().Peek(t.Context(), &throttlekitv1.PeekRequest{Policy: policy, Key: "k"})
				if err != nil {
					t.Fatal(err)
				}
				used, allowed, undecided := limit-res.Decision.Remaining, counts[policy].allowed.Load(), counts[policy].undecided.Load()
				t.Logf("%s: %d used, %d allowed, %d undecided", policy, used, allowed, undecided)
				if used < allowed || used > allowed+undecided || c.name == "shutdown" && undecided > 0 {
					t.Errorf("%s: %d used, %d allowed, %d undecided", policy, used, allowed, undecided)
				}
			}
		})
	}
}

// keepChecking checks one key at a node until stop.
func keepChecking(t *testing.T, n *testNode, policy string, count *counted, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		res, err := n.rate().Check(t.Context(), &throttlekitv1.CheckRequest{Policy: policy, Key: "k"})
		switch d := res.GetDecision(); {
		case err != nil:
			t.Errorf("check: %v", err)
			return
		case d.ResetAt == 0:
			count.undecided.Add(1)
		case d.Allowed:
			count.allowed.Add(1)
		}
	}
}

// A node that reaches no leader waits for one, and then answers checks as its fail
// mode says, before the client's deadline. Everything else is UNAVAILABLE.
func TestFailMode(t *testing.T) {
	c := startNodes(t, 3, contractPolicies, nil)
	alone := c.follower()
	for _, n := range c.nodes {
		if n != alone {
			n.crash()
		}
	}
	within(t, "no leader is known", func() bool { _, ok := alone.node.Leader(); return !ok })
	d := &door{node: alone.node, relay: alone.relay, catalog: alone.catalog, log: alone.cfg.Log}
	limit := map[string]int64{"window": 5, "spaced": 3, "bucket": 4, "global": 20, "leased": 50}
	var asking sync.WaitGroup // all at once, since each call takes its time
	var undecided atomic.Int64
	for _, fail := range []FailMode{FailClosed, FailOpen} {
		r := &RateLimiter{door: d, fail: fail, undecided: func(n int) { undecided.Add(int64(n)) }, log: alone.cfg.Log}
		for policy, limit := range limit {
			want := &throttlekitv1.Decision{Limit: limit}
			if fail == FailOpen {
				want.Allowed, want.Remaining = true, limit
			}
			asking.Go(func() {
				res, err := r.CheckMany(brief(t), &throttlekitv1.CheckManyRequest{Policy: policy, Keys: []string{"a", "b", "a"}})
				if err != nil || fmt.Sprint(res.Decisions) != fmt.Sprint([]*throttlekitv1.Decision{want, want, want}) {
					t.Errorf("fail %s: CheckMany of %s: %v, %v, want 3 times %v", fail, policy, res, err, want)
				}
			})
			asking.Go(func() {
				one, err := r.Check(brief(t), &throttlekitv1.CheckRequest{Policy: policy})
				if err != nil || one.Decision.String() != want.String() {
					t.Errorf("fail %s: Check of %s: %v, %v, want %v", fail, policy, one, err, want)
				}
			})
		}
		// Never an allow.
		res, err := r.Check(t.Context(), &throttlekitv1.CheckRequest{Policy: "window", Cost: 1 << 53})
		if err != nil || res.Decision.Allowed {
			t.Errorf("fail %s: a cost that no policy can have: %v, %v", fail, res, err)
		}
		f := &Fleet{door: d, log: alone.cfg.Log}
		for name, call := range map[string]func(context.Context) (any, error){
			"Check of a policy that is not here": func(ctx context.Context) (any, error) {
				return r.Check(ctx, &throttlekitv1.CheckRequest{Policy: "none"})
			},
			"Check of a meter": func(ctx context.Context) (any, error) {
				return r.Check(ctx, &throttlekitv1.CheckRequest{Policy: "tokens"})
			},
			"Peek": func(ctx context.Context) (any, error) {
				return r.Peek(ctx, &throttlekitv1.PeekRequest{Policy: "window"})
			},
			"Forecast": func(ctx context.Context) (any, error) {
				return r.Forecast(ctx, &throttlekitv1.ForecastRequest{Policy: "window"})
			},
			"Debit": func(ctx context.Context) (any, error) {
				return r.Debit(ctx, &throttlekitv1.DebitRequest{Policy: "tokens"})
			},
			"Admit": func(ctx context.Context) (any, error) {
				return r.Admit(ctx, &throttlekitv1.AdmitRequest{Policy: "slots"})
			},
			"Release": func(ctx context.Context) (any, error) {
				return r.Release(ctx, &throttlekitv1.ReleaseRequest{LeaseId: "1-2"})
			},
			"Heartbeat": func(ctx context.Context) (any, error) { return r.Heartbeat(ctx, &throttlekitv1.HeartbeatRequest{}) },
			"Reserve": func(ctx context.Context) (any, error) {
				return f.Reserve(ctx, &throttlekitv1.ReserveRequest{Policy: "global"})
			},
		} {
			asking.Go(func() {
				ctx := brief(t)
				if _, err := call(ctx); status.Code(err) != codes.Unavailable || ctx.Err() != nil {
					t.Errorf("fail %s: %s: %v (context: %v), want Unavailable before the deadline", fail, name, err, ctx.Err())
				}
			})
		}
	}
	asking.Wait()
	if n, want := undecided.Load(), int64(2*4*len(limit)); n != want {
		t.Errorf("%d keys were answered by the fail mode as it counts them, want %d", n, want)
	}
	t.Run("patience", func(t *testing.T) {
		r := &RateLimiter{door: d, fail: FailClosed, undecided: func(int) {}, log: alone.cfg.Log}
		begin := time.Now()
		if _, err := r.Check(t.Context(), &throttlekitv1.CheckRequest{Policy: "window"}); err != nil {
			t.Error(err)
		}
		if took := time.Since(begin); took < leaderPatience-50*time.Millisecond {
			t.Errorf("a check without a deadline waited %v for a leader, want %v", took, leaderPatience)
		}
	})
}

// brief is the context of a client with little time.
func brief(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// What is out of bounds is refused with the name of the field, its size and what is
// allowed; that a policy does not have the operation is said first.
func TestBounds(t *testing.T) {
	c := startNodes(t, 1, contractPolicies, nil)
	n := c.nodes[0]
	long, many := strings.Repeat("k", fsm.MaxKeyLen+1), make([]string, fsm.MaxCheckKeys+1)
	fits := strings.Repeat("k", fsm.MaxKeyLen)
	check := func(policy, key string) func() error {
		return func() error {
			_, err := n.rate().Check(t.Context(), &throttlekitv1.CheckRequest{Policy: policy, Key: key})
			return err
		}
	}
	checkMany := func(policy string, keys ...string) func() error {
		return func() error {
			_, err := n.rate().CheckMany(t.Context(), &throttlekitv1.CheckManyRequest{Policy: policy, Keys: keys})
			return err
		}
	}
	reserve := func(policy, domain string) func() error {
		return func() error {
			_, err := n.fleetClient().Reserve(t.Context(), &throttlekitv1.ReserveRequest{Policy: policy, Caller: &throttlekitv1.Caller{Domain: domain}})
			return err
		}
	}
	for _, c := range []struct {
		name string
		call func() error
		code codes.Code
		text string
	}{
		{"the longest key", check("window", fits), codes.OK, ""},
		{"too long a key", check("window", long), codes.InvalidArgument, "key: got 1025 bytes, want at most 1024"},
		{"too long a key, other kind", check("tokens", long), codes.Unimplemented, `policy "tokens" does not support check`},
		{"too long a key, no policy", check("none", long), codes.NotFound, `unknown policy "none"; `},
		{"one of many", checkMany("window", "a", fits, long), codes.InvalidArgument, "keys[2]: got 1025 bytes, want at most 1024"},
		{"the most keys", checkMany("window", many[1:]...), codes.OK, ""},
		{"too many keys", checkMany("window", many...), codes.InvalidArgument, "keys: got 4097 of them, want at most 4096"},
		{"too many keys, other kind", checkMany("slots", many...), codes.Unimplemented, `policy "slots" does not support checkMany`},
		{"the longest domain", reserve("global", fits), codes.OK, ""},
		{"too long a domain", reserve("global", long), codes.InvalidArgument, "caller.domain: got 1025 bytes, want at most 1024"},
		{"too long a domain, no policy", reserve("none", long), codes.NotFound, `fleet: no leasable policy "none"`},
		{"a name longer than any", check(strings.Repeat("p", 100_000), "k"), codes.NotFound, `unknown policy "` + strings.Repeat("p", policy.MaxNameLen) + `..."; `},
		{"too many heartbeats", func() error {
			_, err := n.rate().Heartbeat(t.Context(), &throttlekitv1.HeartbeatRequest{LeaseIds: many})
			return err
		}, codes.InvalidArgument, "lease_ids: got 4097 of them, want at most 4096"},
		{"a lease id longer than any", func() error {
			_, err := n.rate().Release(t.Context(), &throttlekitv1.ReleaseRequest{LeaseId: long})
			return err
		}, codes.OK, ""},
		{"keys that fill more than an entry", checkMany("window", distinct(1000)...), codes.InvalidArgument, "keys: got 1024000 bytes in all, want at most 524288"},
	} {
		err := c.call()
		if s := status.Convert(err); s.Code() != c.code || !strings.HasPrefix(s.Message(), c.text) {
			t.Errorf("%s: %v: %.200s, want %v: %s", c.name, s.Code(), s.Message(), c.code, c.text)
		}
	}
}

// distinct returns n of the longest keys.
func distinct(n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf("%0*d", fsm.MaxKeyLen, i))
	}
	return all
}

// Errors list as many policies as clients can take, and say how many more there are.
func TestListIsBounded(t *testing.T) {
	var all []fsm.PolicyStatus
	for i := range 200 {
		all = append(all, fsm.PolicyStatus{Policy: policy.Policy{Name: fmt.Sprintf("policy-%04d", i), Kind: policy.Meter, Limit: 1}})
	}
	text := newPage(1, all).configured()
	if len(text) > maxListed+100 || !strings.HasPrefix(text, `"policy-0000", "policy-0001", `) || !strings.HasSuffix(text, " more") {
		t.Errorf("%d bytes: %.100s ... %s", len(text), text, text[len(text)-50:])
	}
	if text := newPage(1, nil).configured(); text != "(none)" {
		t.Errorf("of none: %s", text)
	}
}

// A policy that is made at the leader can be used at a follower at once, even if the
// follower has not heard of it; one that is deleted is gone.
func TestNewPolicyAtAFollower(t *testing.T) {
	c := startNodes(t, 3, contractPolicies, nil)
	n := c.follower()
	d := &door{node: n.node, relay: n.relay, catalog: &catalog{replica: n.node.Replica()}, log: slog.New(slog.DiscardHandler)}
	d.catalog.now.Store(newPage(0, nil)) // it has heard of nothing
	r := &RateLimiter{door: d, fail: FailClosed, undecided: func(int) {}, log: d.log}
	res, err := r.Check(t.Context(), &throttlekitv1.CheckRequest{Policy: "window", Key: "k"})
	if err != nil || !res.Decision.Allowed {
		t.Errorf("check: %v, %v", res, err)
	}
	if _, err := r.Check(t.Context(), &throttlekitv1.CheckRequest{Policy: "none", Key: "k"}); status.Code(err) != codes.NotFound {
		t.Errorf("check of a policy that nobody has: %v", err)
	}
}
