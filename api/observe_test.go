package api

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"github.com/tkcoord/tkcoord/monitor"
	"github.com/tkcoord/tkcoord/strategy"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

var denied = strategy.Decision{Limit: 10, ResetAt: 99, RetryAfter: 7}

// An observed is a node that serves Observe.
type observed struct {
	sibling
	hub *monitor.Hub
}

// observe serves a node's observations to those who show a secret.
func observe(t *testing.T, name, secret string) observed {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	hub := monitor.New(monitor.Config{Now: func() int64 { return 60_500 }})
	s := grpc.NewServer(grpc.WaitForHandlers(true))
	tkcoordv1.RegisterObserveServer(s, &Observe{node: name, hub: hub, drain: make(chan struct{}), permit: func(ctx context.Context) error {
		if got := metadata.ValueFromIncomingContext(ctx, monitorSecret); !slices.Contains(got, secret) {
			return status.Error(codes.Unauthenticated, "monitor: no secret")
		}
		return nil
	}})
	go func() { _ = s.Serve(l) }() // until Stop
	t.Cleanup(s.Stop)
	return observed{sibling{name, l.Addr().String()}, hub}
}

func newSiblings(t *testing.T, list ...sibling) *siblings {
	f := NewForwarder(nil, insecure.NewCredentials(), nil)
	t.Cleanup(func() { _ = f.Close() })
	return &siblings{list: func() []sibling { return list }, forward: f, secret: "s3cret", log: slog.New(slog.DiscardHandler)}
}

// Those that answer are heard; each other one is named, with the reason, in the
// time that there is.
func TestCollect(t *testing.T) {
	a, b := observe(t, "a", "s3cret"), observe(t, "b", "s3cret")
	stranger, other := observe(t, "stranger", "s3cret"), observe(t, "other", "another secret")
	mute, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	a.hub.Decision("p", "gcra", "k", 1, denied, time.Millisecond)
	b.hub.Decision("p", "gcra", "k", 1, denied, time.Millisecond)
	s := newSiblings(t, a.sibling, b.sibling, sibling{"mute", mute.Addr().String()}, sibling{"down", "127.0.0.1:1"}, sibling{"lost", ""},
		sibling{"renamed", stranger.address}, other.sibling)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	reports, missing := s.collect(ctx)
	if ctx.Err() != nil {
		t.Error("the asker's time was used up")
	}
	all := monitor.Merge(reports...)
	if len(reports) != 2 || all.Policies[0].Denied != 2 || all.Denials[1].Node != "b" {
		t.Errorf("heard %+v", reports)
	}
	want := map[string]string{
		"mute": "", "down": "connection refused", "lost": "its address is not known", "renamed": `node "stranger" answers`, "other": "monitor: no secret",
	}
	for _, m := range missing {
		if text, ok := want[m.Node]; !ok || m.Error == "" || !strings.Contains(m.Error, text) {
			t.Errorf("missing %+v, want %q", m, text)
		}
		delete(want, m.Node)
	}
	for n := range want {
		t.Errorf("%s is not named as missing", n)
	}
}

// What other nodes deny arrives, of the policy that is asked for and from the
// beginning on; a node that comes back is heard again; all ends with the context.
func TestWatchSiblings(t *testing.T) {
	a, b := observe(t, "a", "s3cret"), observe(t, "b", "s3cret")
	s := newSiblings(t, a.sibling, b.sibling, sibling{"down", "127.0.0.1:1"})
	ctx, cancel := context.WithCancel(t.Context())
	out, heard, ended := make(chan monitor.Denial, 10), make(chan struct{}), make(chan struct{})
	a.hub.Decision("p", "gcra", "before", 1, denied, 0)
	go func() {
		defer close(ended)
		s.watch(ctx, "p", out, func() { close(heard) })
	}()
	<-heard
	a.hub.Decision("p", "gcra", "x", 1, denied, 0)
	a.hub.Decision("q", "gcra", "y", 1, denied, 0)
	b.hub.Admission(monitor.Admission{Policy: "p", Key: "z", Lane: monitor.Rate, Decision: denied})
	got := map[string]monitor.Denial{}
	for range 2 {
		d := <-out
		got[d.Key] = d
	}
	if x := got["x"]; x != (monitor.Denial{At: 60_500, Policy: "p", Key: "x", Decision: denied, Node: "a"}) {
		t.Errorf("%+v", x)
	}
	if z := got["z"]; z.Node != "b" || z.Lane != monitor.Rate {
		t.Errorf("%+v", z)
	}
	cancel()
	<-ended
	if len(out) != 0 {
		t.Errorf("and %+v", <-out)
	}
}

// Nodes that join later are followed, those that left are not.
func TestWatchFollowsMembers(t *testing.T) {
	a, b := observe(t, "a", "s3cret"), observe(t, "b", "s3cret")
	var now atomic.Pointer[[]sibling]
	now.Store(&[]sibling{a.sibling})
	s := newSiblings(t)
	s.list = func() []sibling { return *now.Load() }
	ctx, cancel := context.WithCancel(t.Context())
	out, ended := make(chan monitor.Denial, 1), make(chan struct{})
	go func() {
		defer close(ended)
		s.watch(ctx, "", out, func() {})
	}()
	from := func(o observed) {
		for {
			o.hub.Decision("p", "gcra", "k", 1, denied, 0)
			select {
			case d := <-out:
				if d.Node == o.name {
					return
				}
			case <-time.After(10 * time.Millisecond): // not yet: deny again
			}
		}
	}
	from(a)
	now.Store(&[]sibling{b.sibling})
	from(b)
	cancel()
	<-ended
}

// A report is the same after it went over the wire.
func TestReportWire(t *testing.T) {
	h := monitor.New(monitor.Config{Now: func() int64 { return 60_500 }})
	for i := range 30 {
		h.Decision("p", "gcra", fmt.Sprint("k", i%12), 1, strategy.Decision{Allowed: i%2 == 0, Limit: 10, Remaining: int64(i)}, time.Duration(i)*time.Millisecond)
		h.Admission(monitor.Admission{Policy: "a", Key: "k", Lane: monitor.Lanes[i%4], Decision: denied, Strategy: "quota"})
	}
	want := h.Report("n")
	for i := range want.Denials {
		want.Denials[i].Node = "n"
	}
	if got := report("n", wireReport(&want)); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// What is wrong or too much in a report of another node does no harm.
func TestReportBounds(t *testing.T) {
	in := &tkcoordv1.ReportResponse{Denials: make([]*tkcoordv1.ObservedDenial, 1000)}
	for i := range 2000 {
		in.Policies = append(in.Policies, &tkcoordv1.ObservedPolicy{
			Name: fmt.Sprint(i), DeniedByLane: make([]int64, 9), TopDeniedByLane: make([]*tkcoordv1.KeyCounts, 9), LatenciesMs: make([]float64, 1000),
		})
	}
	in.Policies[0] = nil
	got := report("n", in)
	if len(got.Policies) != monitor.MaxPolicies+1 || len(got.Policies[1].Latency) != monitor.Samples || len(got.Denials) != monitor.Recent {
		t.Errorf("%d policies, %d samples, %d denials", len(got.Policies), len(got.Policies[1].Latency), len(got.Denials))
	}
}

// Too many policies for one message are left out, the least busy first, and that
// is said.
func TestLargeSnapshot(t *testing.T) {
	v := monitor.View{Node: "n"}
	for i := range 10_000 {
		v.Policies = append(v.Policies, monitor.Configured{Name: fmt.Sprintf("%s%05d", strings.Repeat("x", 200), i)})
	}
	busy := v.Policies[7777].Name
	h := monitor.New(monitor.Config{Now: func() int64 { return 5 }})
	h.Decision(busy, "gcra", "k", 1, denied, 0)
	s := monitor.NewSnapshot(v, []monitor.Report{h.Report("n")})
	out, err := wireSnapshot(&s)
	if err != nil {
		t.Fatal(err)
	}
	n := len(out.Policies)
	if n < 1000 || n >= 10_000 || s.Meta.OmittedPolicies != 10_000-n || len(s.Meta.Warnings) != 1 || !strings.Contains(out.RawJson, fmt.Sprint(10_000-n, " policies are left out")) {
		t.Errorf("%d policies, %d left out, warnings %q", n, s.Meta.OmittedPolicies, s.Meta.Warnings)
	}
	if !slices.ContainsFunc(s.Policies, func(p monitor.PolicyView) bool { return p.Name == busy }) {
		t.Error("the one that is busy was left out")
	}
}
