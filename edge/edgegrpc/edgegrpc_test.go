package edgegrpc

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tkcoord/tkcoord/edge"
	"github.com/tkcoord/tkcoord/edge/clientip"
	"github.com/tkcoord/tkcoord/edge/headers"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
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

// serve starts a health service on the loopback interface behind interceptors
// for v and returns a client of it.
func serve(t *testing.T, v *verdict, o Options) grpc_health_v1.HealthClient {
	t.Helper()
	i, err := New(v, o)
	if err != nil {
		t.Fatal(err)
	}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(grpc.UnaryInterceptor(i.Unary), grpc.StreamInterceptor(i.Stream))
	h := health.NewServer()
	grpc_health_v1.RegisterHealthServer(s, h)
	var serving sync.WaitGroup
	serving.Go(func() { _ = s.Serve(lis) })
	conn, err := grpc.NewClient(lis.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		h.Shutdown()
		s.Stop()
		serving.Wait()
	})
	return grpc_health_v1.NewHealthClient(conn)
}

var (
	allowed = edge.Decision{Allowed: true, Limit: 10, Remaining: 9, ResetAfter: 5 * time.Second, Window: time.Minute}
	denied  = edge.Decision{Limit: 10, ResetAfter: 5 * time.Second, RetryAfter: 4321 * time.Millisecond, Window: time.Minute}
)

func TestOutcomes(t *testing.T) {
	for _, tt := range []struct {
		name     string
		d        edge.Decision
		err      error
		change   func(*Options)
		code     codes.Code
		text     string
		metadata string
	}{
		{name: "ok", d: allowed, metadata: "ratelimit-limit=10 ratelimit-remaining=9 ratelimit-reset=5"},
		{name: "limited", d: denied, code: codes.ResourceExhausted, text: "rate limit exceeded; retry after 4321ms", metadata: "ratelimit-limit=10 ratelimit-remaining=0 ratelimit-reset=5 retry-after=5"},
		{name: "error, fail open", d: edge.Decision{Allowed: true, Source: edge.FromFail}, err: edge.ErrUnavailable},
		{name: "error, fail closed", d: edge.Decision{Source: edge.FromFail}, err: edge.ErrUnavailable, code: codes.Unavailable, text: "rate limiter unavailable"},
		{name: "too many keys", err: edge.ErrTooManyKeys, code: codes.Unavailable, text: "rate limiter unavailable"},
		{name: "structured", d: allowed, change: func(o *Options) { o.Style = headers.Structured }, metadata: `ratelimit="api";r=9;t=5 ratelimit-policy="api";q=10;w=60`},
		{name: "no headers", d: denied, change: func(o *Options) { o.Emit = false }, code: codes.ResourceExhausted, text: "rate limit exceeded; retry after 4321ms"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := DefaultOptions()
			if tt.change != nil {
				tt.change(&o)
			}
			limited, failed := 0, 0
			o.OnLimited = func(context.Context, string, edge.Decision) { limited++ }
			o.OnError = func(context.Context, string, error) { failed++ }
			v := &verdict{d: tt.d, err: tt.err}
			c := serve(t, v, o)

			var header metadata.MD
			_, err := c.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}, grpc.Header(&header))
			if s := status.Convert(err); s.Code() != tt.code || s.Message() != tt.text {
				t.Errorf("call ended with %v %q, want %v %q", s.Code(), s.Message(), tt.code, tt.text)
			}
			if got := limits(header); got != tt.metadata {
				t.Errorf("metadata %s\nwant     %s", got, tt.metadata)
			}
			stream, err := c.Watch(t.Context(), &grpc_health_v1.HealthCheckRequest{})
			if err == nil {
				_, err = stream.Recv()
			}
			if s := status.Convert(err); s.Code() != tt.code || s.Message() != tt.text {
				t.Errorf("stream ended with %v %q, want %v %q", s.Code(), s.Message(), tt.code, tt.text)
			}
			if (limited == 2) != (tt.code == codes.ResourceExhausted) || (failed == 2) != (tt.err != nil) {
				t.Errorf("OnLimited called %d times, OnError %d times", limited, failed)
			}
			if v.key != "127.0.0.1" || v.n != 1 {
				t.Errorf("asked about %q for %d, want the peer for 1", v.key, v.n)
			}
		})
	}
}

// limits renders the metadata about the limit.
func limits(md metadata.MD) string {
	var all []string
	for _, name := range []string{"ratelimit", "ratelimit-policy", "ratelimit-limit", "ratelimit-remaining", "ratelimit-reset", "retry-after"} {
		if v := md.Get(name); len(v) > 0 {
			all = append(all, name+"="+v[0])
		}
	}
	return strings.Join(all, " ")
}

func TestKeyBehindProxy(t *testing.T) {
	trust, err := clientip.Networks("127.0.0.0/8")
	if err != nil {
		t.Fatal(err)
	}
	v := &verdict{d: allowed}
	o := DefaultOptions()
	o.Key = ByPeer(clientip.Rule{Trust: trust, IPv6Prefix: 64, Fallback: "anon"})
	o.Cost = func(_ context.Context, method string) int64 { return int64(len(method)) }
	c := serve(t, v, o)
	ctx := metadata.AppendToOutgoingContext(t.Context(), "x-forwarded-for", "198.51.100.7")
	if _, err := c.Check(ctx, &grpc_health_v1.HealthCheckRequest{}); err != nil {
		t.Fatal(err)
	}
	if v.key != "198.51.100.7" || v.n != int64(len("/grpc.health.v1.Health/Check")) {
		t.Errorf("asked about %q for %d", v.key, v.n)
	}
	if got := ByPeer(clientip.Default())(context.Background(), ""); got != "anon" {
		t.Errorf("without a peer the key is %q", got)
	}
}

func TestNewRefuses(t *testing.T) {
	_, err := New(&verdict{}, Options{Style: 9})
	for _, field := range []string{"Key", "Cost", "Style"} {
		if err == nil || !strings.Contains(err.Error(), field+":") {
			t.Errorf("nothing about %s in %v", field, err)
		}
	}
}
