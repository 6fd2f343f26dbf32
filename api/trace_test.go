package api

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tkcoord/tkcoord/monitor"
	"github.com/tkcoord/tkcoord/strategy"
	"github.com/tkcoord/tkcoord/transport"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric/noop"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/grpc/stats"
)

// spans returns a tracing and what it has made so far.
func spans(t *testing.T, o ...sdktrace.TracerProviderOption) (*tracing, *tracetest.SpanRecorder) {
	t.Helper()
	r := tracetest.NewSpanRecorder()
	p := sdktrace.NewTracerProvider(append(o, sdktrace.WithSpanProcessor(r))...)
	return newTracing(p), r
}

func attributes(all []attribute.KeyValue) string {
	var text []string
	for _, a := range all {
		text = append(text, string(a.Key)+"="+a.Value.String())
	}
	return strings.Join(text, " ")
}

// A proposal's span says how large its batch was and when what happened, below the
// call's span, also if the call came by way of another node.
func TestProposalSpan(t *testing.T) {
	tr, made := spans(t)
	ctx, call := tr.tracer.Start(t.Context(), "call")
	at := time.Now()
	timing := &transport.Timing{Queued: at, Sealed: at.Add(1), Committed: at.Add(2), Applied: at.Add(3), Commands: 7, Bytes: 99}
	tr.proposal(ctx, at, &transport.Applied{Index: 5, Timing: timing}, nil)
	elsewhere := tr.under(t.Context(), tr.parent(ctx))
	tr.proposal(elsewhere, at, nil, errors.New("no leader"))
	tr.proposal(tr.under(ctx, nil), at, nil, nil) // the relay's own span is not the call's
	all := made.Ended()
	if len(all) != 2 {
		t.Fatalf("%d spans", len(all))
	}
	for _, s := range all {
		if s.Name() != "tkcoord.propose" || s.Parent().SpanID() != call.SpanContext().SpanID() || s.SpanContext().TraceID() != call.SpanContext().TraceID() {
			t.Errorf("%s is not below the call", s.Name())
		}
	}
	if got := attributes(all[0].Attributes()); got != "tkcoord.log.index=5 tkcoord.batch.commands=7 tkcoord.batch.bytes=99" {
		t.Errorf("attributes %s", got)
	}
	var events []string
	for i, e := range all[0].Events() {
		events = append(events, e.Name)
		if !e.Time.Equal(at.Add(time.Duration(i))) {
			t.Errorf("%s at %v", e.Name, e.Time)
		}
	}
	if got := strings.Join(events, " "); got != "queued sealed committed applied" {
		t.Errorf("events %s", got)
	}
	if s := all[1].Status(); s.Code != codes.Error || s.Description != "no leader" {
		t.Errorf("status %+v", s)
	}
}

// The attributes of the contract are on the check's span. The axis is there only
// where one denied.
func TestCheckSpan(t *testing.T) {
	tr, made := spans(t)
	rec, err := NewRecorder(nil, noop.NewMeterProvider().Meter("")) // no hub: spans do not need one
	if err != nil {
		t.Fatal(err)
	}
	denied := strategy.Decision{Limit: 10, RetryAfter: 7}
	const numbers = " throttlekit.limit=10 throttlekit.remaining=0 throttlekit.retry_after_ms=7"
	for _, c := range []struct {
		a    *monitor.Admission // nil: a check
		d    strategy.Decision
		want string
	}{
		{nil, strategy.Decision{Allowed: true, Limit: 10, Remaining: 9}, "throttlekit.strategy=gcra throttlekit.allowed=true throttlekit.limit=10 throttlekit.remaining=9 throttlekit.retry_after_ms=0"},
		{nil, denied, "throttlekit.strategy=gcra throttlekit.allowed=false" + numbers},
		{&monitor.Admission{Lane: monitor.Concurrency}, denied, "throttlekit.strategy=gcra throttlekit.allowed=false" + numbers + " throttlekit.binding_axis=concurrency"},
		{&monitor.Admission{Lane: monitor.Policy}, denied, "throttlekit.strategy=gcra throttlekit.allowed=false" + numbers},
	} {
		ctx, span := tr.tracer.Start(t.Context(), "call")
		if c.a == nil {
			rec.Decision(ctx, "p", "gcra", "secret-key", 1, c.d, time.Second)
		} else {
			c.a.Decision, c.a.Strategy, c.a.Key = c.d, "gcra", "secret-key"
			rec.Admission(ctx, *c.a)
		}
		span.End()
		all := made.Ended()
		if got := attributes(all[len(all)-1].Attributes()); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}

// Without a provider, and for calls that are not sampled, nothing is made and
// nothing is allocated.
func TestNoTracing(t *testing.T) {
	none := newTracing(nil)
	unsampled, made := spans(t, sdktrace.WithSampler(sdktrace.NeverSample()))
	ctx, span := unsampled.tracer.Start(t.Context(), "call")
	defer span.End()
	a := &transport.Applied{}
	for name, tr := range map[string]*tracing{"none": none, "unsampled": unsampled} {
		if n := testing.AllocsPerRun(100, func() {
			tr.proposal(ctx, time.Time{}, a, nil)
			if tr.parent(ctx) != nil {
				t.Error("a parent")
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	if len(none.server())+len(none.client())+len(made.Ended()) != 0 {
		t.Error("something was made")
	}
}

func TestTracedCalls(t *testing.T) {
	for method, want := range map[string]bool{
		"/throttlekit.v1.RateLimiter/Check": true, "/tkcoord.v1.Edge/Exchange": true, "/throttlekit.v1.Monitor/Watch": false,
		"/tkcoord.v1.Edge/Watch": false, "/tkcoord.v1.Node/Stats": false, "/tkcoord.v1.Observe/Report": false, "/grpc.health.v1.Health/Check": false,
	} {
		if got := tracedCall(&stats.RPCTagInfo{FullMethodName: method}); got != want {
			t.Errorf("%s: %v", method, got)
		}
	}
}
