package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tkcoord/tkcoord/api"
	"github.com/tkcoord/tkcoord/api/throttlekitv1"
	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"github.com/tkcoord/tkcoord/monitor"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const observedPolicies = `version: 1
limiters:
  api: {strategy: fixedWindow, limit: 4, period: 1h}
  jobs:
    concurrency: {minLimit: 1, maxLimit: 1}
  tokens:
    tokenBudget: {budget: 1000, windowMs: 3600000}
`

func (c *realCluster) rateLimiter(i int) throttlekitv1.RateLimiterClient {
	return throttlekitv1.NewRateLimiterClient(dialPlain(c.t, c.members[i].addresses().GRPC))
}

func (c *realCluster) monitor(i int) throttlekitv1.MonitorClient {
	return throttlekitv1.NewMonitorClient(dialPlain(c.t, c.members[i].addresses().GRPC))
}

// startObserved starts nodes that all know the policies: what a node decides under one
// that it does not know yet, it does not observe.
func startObserved(t *testing.T, nodes int) *realCluster {
	t.Helper()
	c := startReal(t, nodes, observedPolicies)
	for i := range nodes {
		within(t, "each node knows the policies", func() bool {
			res, err := c.monitor(i).GetSnapshot(t.Context(), &throttlekitv1.GetSnapshotRequest{})
			return err == nil && len(res.Snapshot.Policies) == 2
		})
	}
	// The counts are of one minute: what a test does must be in the same one.
	within(t, "a minute has at least 10 s left", func() bool { return time.Now().UnixMilli()%monitor.Window < 50_000 })
	return c
}

// check makes one check at a node and returns whether it was allowed.
func (c *realCluster) check(i int, policy, key string) bool {
	c.t.Helper()
	res, err := c.rateLimiter(i).Check(c.t.Context(), &throttlekitv1.CheckRequest{Policy: policy, Key: key})
	if err != nil {
		c.t.Fatal(err)
	}
	return res.Decision.Allowed
}

// Any node shows what all of them decided; one that is gone is named.
func TestMonitorShowsTheCluster(t *testing.T) {
	c := startObserved(t, 3)
	for i := range 3 {
		for range 2 {
			c.check(i, "api", "ann")
		}
	}
	c.check(1, "api", "bob")
	for i := range 2 { // the second finds no slot
		if _, err := c.rateLimiter(i).Admit(t.Context(), &throttlekitv1.AdmitRequest{Policy: "jobs", Key: "cem"}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.rateLimiter(0).Debit(t.Context(), &throttlekitv1.DebitRequest{Policy: "tokens", Key: "dee", Tokens: 5}); err != nil {
		t.Fatal(err)
	}
	var header metadata.MD
	res, err := c.monitor(2).GetSnapshot(t.Context(), &throttlekitv1.GetSnapshotRequest{}, grpc.Header(&header))
	if err != nil {
		t.Fatal(err)
	}
	s := res.Snapshot
	if s.Meta.Mode != "cluster" || s.Meta.NodeId != c.members[2].id || s.Meta.WindowMs != monitor.Window || len(header.Get(api.MissingHeader)) != 0 {
		t.Errorf("meta %v, missing %v", s.Meta, header.Get(api.MissingHeader))
	}
	if len(s.Policies) != 2 || s.Policies[0].Name != "api" || s.Policies[1].Name != "jobs" {
		t.Fatalf("policies %v", s.Policies)
	}
	p := s.Policies[0]
	if p.Kind != "limiter" || p.Strategy != "fixedWindow" || p.Allowed != 5 || p.Denied != 2 || p.Limit != 4 || p.Latency.N != 7 {
		t.Errorf("%v", p)
	}
	if got := fmt.Sprint(p.TopRequested[0].Key, p.TopRequested[0].Count, p.TopRequested[1].Key, p.TopDenied[0].Key, p.TopDenied[0].Count); got != "ann6bobann2" {
		t.Errorf("top keys %s", got)
	}
	if j := s.Policies[1]; j.Kind != "admitter" || j.Allowed != 1 || j.Denied != 1 {
		t.Errorf("%v", j)
	}
	if len(s.Guards) != 1 || s.Guards[0].Name != "jobs" || s.Guards[0].Limit != 1 || s.Guards[0].Inflight != 1 {
		t.Errorf("guards %v", s.Guards)
	}
	if n := len(s.RecentDenials); n != 3 || s.RecentDenials[n-1].Axis != "concurrency" || s.RecentDenials[n-1].Key != "cem" {
		t.Errorf("denials %v", s.RecentDenials)
	}
	var raw monitor.Snapshot
	if err := json.Unmarshal([]byte(s.RawJson), &raw); err != nil {
		t.Fatal(err)
	}
	if f := raw.Policies[0].Forecast; f == nil || f.Key != "ann" || f.SpendableNow != 0 {
		t.Errorf("forecast %+v of %+v", f, raw.Policies[0])
	}

	if err := c.kill(c.members[0]); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.start(c.members[0]); err != nil { // close wants it running
			t.Error(err)
		}
	}()
	if res, err = c.monitor(2).GetSnapshot(t.Context(), &throttlekitv1.GetSnapshotRequest{}, grpc.Header(&header)); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(res.Snapshot.RawJson), &raw); err != nil {
		t.Fatal(err)
	}
	if len(raw.Meta.Missing) != 1 || raw.Meta.Missing[0].Node != c.members[0].id || len(raw.Meta.Warnings) != 1 || !slices.Equal(header.Get(api.MissingHeader), []string{c.members[0].id}) {
		t.Errorf("missing %+v, warnings %q, header %v", raw.Meta.Missing, raw.Meta.Warnings, header)
	}
	if p := res.Snapshot.Policies[0]; p.Allowed+p.Denied != 5 {
		t.Errorf("without the node's own: %v", p)
	}
}

// Watch shows what any node denies, of the policy that was asked for.
func TestWatchShowsTheCluster(t *testing.T) {
	c := startObserved(t, 3)
	for range 4 {
		c.check(0, "api", "ann")
	}
	if c.check(0, "api", "ann") {
		t.Fatal("the fifth was allowed")
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	watch := func(policy string) grpc.ServerStreamingClient[throttlekitv1.WatchResponse] {
		stream, err := c.monitor(0).Watch(ctx, &throttlekitv1.WatchRequest{Policy: policy})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Header(); err != nil { // it listens everywhere
			t.Fatal(err)
		}
		return stream
	}
	all, one := watch(""), watch("jobs")
	c.check(2, "api", "ann")
	res, err := all.Recv()
	if err != nil {
		t.Fatal(err)
	}
	if d := res.Denial; d.Policy != "api" || d.Key != "ann" || d.Limit != 4 || d.Remaining != 0 || d.RetryAfterMs <= 0 || d.Axis != "" || d.At == 0 {
		t.Errorf("%v", d)
	}
	for i := range 2 {
		if _, err := c.rateLimiter(1+i).Admit(t.Context(), &throttlekitv1.AdmitRequest{Policy: "jobs", Key: "cem"}); err != nil {
			t.Fatal(err)
		}
	}
	if res, err = one.Recv(); err != nil {
		t.Fatal(err)
	}
	if d := res.Denial; d.Policy != "jobs" || d.Key != "cem" || d.Axis != "concurrency" {
		t.Errorf("%v", d)
	}
}

// Keys are shown to nobody without the secret, by whichever service.
func TestKeysWantTheSecret(t *testing.T) {
	n := newNode(t, "a", "c", 1)
	n.cfg.doors.monitorSecret = "s3cret"
	n.start()
	within(t, "the node is ready", func() bool { return n.node.Ready() == nil })
	conn := dialPlain(t, n.node.Addresses().GRPC)
	calls := map[string]func(context.Context) error{
		"GetSnapshot": func(ctx context.Context) error {
			_, err := throttlekitv1.NewMonitorClient(conn).GetSnapshot(ctx, &throttlekitv1.GetSnapshotRequest{})
			return err
		},
		"Watch": func(ctx context.Context) error {
			s, err := throttlekitv1.NewMonitorClient(conn).Watch(ctx, &throttlekitv1.WatchRequest{})
			return opened(s, err)
		},
		"Report": func(ctx context.Context) error {
			_, err := tkcoordv1.NewObserveClient(conn).Report(ctx, &tkcoordv1.ReportRequest{})
			return err
		},
		"Denials": func(ctx context.Context) error {
			s, err := tkcoordv1.NewObserveClient(conn).Denials(ctx, &tkcoordv1.DenialsRequest{})
			return opened(s, err)
		},
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for name, call := range calls {
		if err := call(ctx); status.Code(err) != codes.Unauthenticated || !strings.HasPrefix(status.Convert(err).Message(), "monitor:") {
			t.Errorf("%s without the secret: %v", name, err)
		}
		if err := call(metadata.AppendToOutgoingContext(ctx, "x-monitor-secret", "wrong")); status.Code(err) != codes.Unauthenticated {
			t.Errorf("%s with another secret: %v", name, err)
		}
		if err := call(metadata.AppendToOutgoingContext(ctx, "x-monitor-secret", "s3cret")); err != nil {
			t.Errorf("%s with the secret: %v", name, err)
		}
	}
}

// opened returns why a stream did not begin.
func opened[R any](s grpc.ServerStreamingClient[R], err error) error {
	if err != nil {
		return err
	}
	if header, err := s.Header(); err != nil || header != nil {
		return err
	}
	_, err = s.Recv()
	return err
}

// The HTTP door shows the contract's series first, in its order, and answers as the
// contract does.
func TestContractMetrics(t *testing.T) {
	c := startObserved(t, 1)
	for range 5 {
		c.check(0, "api", "customer-4711")
	}
	for range 2 {
		if _, err := c.rateLimiter(0).Admit(t.Context(), &throttlekitv1.AdmitRequest{Policy: "jobs", Key: "customer-4711"}); err != nil {
			t.Fatal(err)
		}
	}
	at := c.members[0].addresses().HTTP
	_, header, body := httpDo(t, http.MethodGet, at, "/metrics?x=y")
	if got := header.Get("Content-Type"); got != "text/plain; version=0.0.4; charset=utf-8" {
		t.Errorf("content type %q", got)
	}
	for _, line := range []string{
		`throttlekit_allowed_total{policy="api"} 4`, `throttlekit_denied_total{policy="api"} 1`, `throttlekit_limit{policy="api"} 4`,
		`throttlekit_denied_by_axis_total{policy="jobs",axis="concurrency"} 1`, `throttlekit_denied_by_axis_total{policy="jobs",axis="policy"} 0`,
		`throttlekit_guard_limit{guard="jobs"} 1`, `throttlekit_guard_inflight{guard="jobs"} 1`,
		`throttlekit_checks_total{allowed="true",strategy="fixedWindow"} 4`, `throttlekit_checks_total{allowed="false",strategy="fixedWindow"} 1`,
		`throttlekit_remaining_count{strategy="fixedWindow"} 5`, `throttlekit_store_latency_count{strategy="fixedWindow"} 5`,
		`throttlekit_denies_by_axis_total{lane="concurrency"} 1`, `throttlekit_concurrency_limit 1`, `throttlekit_concurrency_inflight 1`,
		`tkcoord_decisions_total{allowed="true",policy="api"} 4`, `tkcoord_admitted_total{policy="api"} 4`, `tkcoord_guard_limit{policy="jobs"} 1`,
	} {
		if !strings.Contains(body, "\n"+line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
	if strings.Contains(body, "customer-") {
		t.Error("a key is in the metrics")
	}
	last := -1
	for _, s := range monitor.AllSeries {
		at := strings.Index(body, "# TYPE "+s.Name+" "+s.Type+"\n")
		if at <= last {
			t.Errorf("%s is out of its order", s.Name)
		}
		last = at
	}
	if t.Failed() {
		for line := range strings.Lines(body) {
			if !strings.HasPrefix(line, "#") && !strings.Contains(line, "_bucket") && !strings.HasPrefix(line, "go_") {
				t.Log(strings.TrimSpace(line))
			}
		}
	}
	for _, x := range []struct {
		method, path string
		code         int
		text         string
	}{
		{"GET", "/health?x", 200, "ok\n"}, {"GET", "/", 404, "not found (try /metrics or /healthz)\n"},
		{"POST", "/metrics", 405, "method not allowed\n"}, {"DELETE", "/nothing", 405, "method not allowed\n"},
	} {
		if code, _, text := httpDo(t, x.method, at, x.path); code != x.code || text != x.text {
			t.Errorf("%s %s: %d, %q", x.method, x.path, code, text)
		}
	}
}
