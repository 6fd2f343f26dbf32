package edgehttp

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tkcoord/tkcoord/edge"
	"github.com/tkcoord/tkcoord/edge/clientip"
	"github.com/tkcoord/tkcoord/edge/headers"
)

var _ Limiter = (*edge.Limiter)(nil)

// A verdict answers every question alike and notes it.
type verdict struct {
	d   edge.Decision
	err error
	key string
	n   int64
}

func (v *verdict) Policy() string { return "api" }

func (v *verdict) Check(_ context.Context, key string, n int64) (edge.Decision, error) {
	v.key, v.n = key, n
	return v.d, v.err
}

var (
	allowed = edge.Decision{Allowed: true, Limit: 10, Remaining: 9, ResetAfter: 5 * time.Second, ResetAt: time.Unix(1_700_000_000, 0), Window: time.Minute}
	denied  = edge.Decision{Limit: 10, ResetAfter: 5 * time.Second, RetryAfter: 4321 * time.Millisecond, ResetAt: time.Unix(1_700_000_000, 0), Window: time.Minute}
	shadow  = edge.Decision{Allowed: true, Shadow: true, Limit: 10, ResetAfter: 5 * time.Second, RetryAfter: time.Second, ResetAt: time.Unix(1_700_000_000, 0)}
)

func TestOutcomes(t *testing.T) {
	for _, tt := range []struct {
		name    string
		d       edge.Decision
		err     error
		change  func(*Options)
		status  int
		body    string
		headers string // those about the limit, sorted by the table
	}{
		{name: "ok", d: allowed, status: 200, body: "served", headers: "RateLimit-Limit=10 RateLimit-Remaining=9 RateLimit-Reset=5"},
		{name: "limited", d: denied, status: 429, body: `{"error":"Too Many Requests","retryAfterMs":4321}`, headers: "RateLimit-Limit=10 RateLimit-Remaining=0 RateLimit-Reset=5 Retry-After=5"},
		{name: "error, fail open", d: edge.Decision{Allowed: true, Source: edge.FromFail}, err: edge.ErrUnavailable, status: 200, body: "served"},
		{name: "error, fail closed", d: edge.Decision{Source: edge.FromFail}, err: edge.ErrUnavailable, status: 503, body: `{"error":"rate limiter unavailable"}`},
		{name: "unknown policy", err: edge.ErrUnknownPolicy, status: 503, body: `{"error":"rate limiter unavailable"}`},
		{name: "shadow", d: shadow, status: 200, body: "served", headers: "RateLimit-Limit=10 RateLimit-Remaining=0 RateLimit-Reset=5"},
		{name: "structured", d: allowed, change: func(o *Options) { o.Style = headers.Structured }, status: 200, body: "served", headers: `RateLimit="api";r=9;t=5 RateLimit-Policy="api";q=10;w=60`},
		{name: "structured with a name", d: allowed, change: func(o *Options) { o.Style, o.PolicyName = headers.Structured, "public" }, status: 200, body: "served", headers: `RateLimit="public";r=9;t=5 RateLimit-Policy="public";q=10;w=60`},
		{name: "legacy", d: denied, change: func(o *Options) { o.Style = headers.Legacy }, status: 429, body: `{"error":"Too Many Requests","retryAfterMs":4321}`, headers: "X-RateLimit-Limit=10 X-RateLimit-Remaining=0 X-RateLimit-Reset=1700000000 Retry-After=5"},
		{name: "no headers", d: denied, change: func(o *Options) { o.Emit = false }, status: 429, body: `{"error":"Too Many Requests","retryAfterMs":4321}`},
		{name: "own answer", d: denied, change: func(o *Options) {
			o.Limited = func(w http.ResponseWriter, _ *http.Request, d edge.Decision) { http.Error(w, "slow down", 420) }
		}, status: 420, body: "slow down\n", headers: "RateLimit-Limit=10 RateLimit-Remaining=0 RateLimit-Reset=5 Retry-After=5"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := DefaultOptions()
			if tt.change != nil {
				tt.change(&o)
			}
			limited, failed := 0, 0
			o.OnLimited = func(*http.Request, edge.Decision) { limited++ }
			o.OnError = func(*http.Request, error) { failed++ }
			limit, err := New(&verdict{d: tt.d, err: tt.err}, o)
			if err != nil {
				t.Fatal(err)
			}
			w := httptest.NewRecorder()
			limit(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "served") })).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
			if w.Code != tt.status || w.Body.String() != tt.body {
				t.Errorf("answered %d %q, want %d %q", w.Code, w.Body, tt.status, tt.body)
			}
			if got := limits(w.Header()); got != tt.headers {
				t.Errorf("headers %s\nwant    %s", got, tt.headers)
			}
			if (limited == 1) != (tt.err == nil && !tt.d.Allowed) || (failed == 1) != (tt.err != nil) {
				t.Errorf("OnLimited called %d times, OnError %d times", limited, failed)
			}
			if tt.status == 429 && w.Header().Get("Content-Type") != "application/json" {
				t.Errorf("content type %q", w.Header().Get("Content-Type"))
			}
		})
	}
}

// limits renders the headers about the limit.
func limits(h http.Header) string {
	var all []string
	for _, name := range []string{
		"RateLimit", "RateLimit-Policy", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset",
		"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "Retry-After",
	} {
		if v := h.Get(name); v != "" {
			all = append(all, name+"="+v)
		}
	}
	return strings.Join(all, " ")
}

func TestKeyAndCost(t *testing.T) {
	trust, err := clientip.Hops(1)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		change func(*Options)
		key    string
		n      int64
	}{
		{"by default the peer, one unit", func(*Options) {}, "192.0.2.1", 1},
		{"behind one proxy", func(o *Options) { o.Key = ByClientIP(clientip.Rule{Trust: trust, IPv6Prefix: 64}) }, "2001:db8::", 1},
		{"by a header, by length", func(o *Options) {
			o.Key = func(r *http.Request) string { return r.Header.Get("X-Tenant") }
			o.Cost = func(r *http.Request) int64 { return r.ContentLength }
		}, "acme", 4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o, v := DefaultOptions(), &verdict{d: allowed}
			tt.change(&o)
			limit, err := New(v, o)
			if err != nil {
				t.Fatal(err)
			}
			r := httptest.NewRequest("POST", "/", strings.NewReader("body"))
			r.Header.Set("X-Forwarded-For", "203.0.113.1, 2001:db8::17")
			r.Header.Set("X-Tenant", "acme")
			limit(http.NotFoundHandler()).ServeHTTP(httptest.NewRecorder(), r)
			if v.key != tt.key || v.n != tt.n {
				t.Errorf("asked about %q for %d, want %q for %d", v.key, v.n, tt.key, tt.n)
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	_, err := New(&verdict{}, Options{Style: 9})
	for _, field := range []string{"Key", "Cost", "Limited", "Unavailable", "Style"} {
		if err == nil || !strings.Contains(err.Error(), field+":") {
			t.Errorf("nothing about %s in %v", field, err)
		}
	}
}
