package api

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/tkcoord/tkcoord/api/throttlekitv1"
	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"github.com/tkcoord/tkcoord/transport"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/stats"
)

// A tracing makes the spans of a node: one for each call of a public service, and
// one for each of its commands that went through the log. A nil tracing makes none
// and costs nothing.
type tracing struct {
	provider trace.TracerProvider
	tracer   trace.Tracer
}

// newTracing returns nil if there is no provider.
func newTracing(p trace.TracerProvider) *tracing {
	if p == nil {
		return nil
	}
	return &tracing{provider: p, tracer: p.Tracer("github.com/tkcoord/tkcoord/api")}
}

// options of the spans of calls. Metrics of calls are this node's own.
func (t *tracing) options() []otelgrpc.Option {
	return []otelgrpc.Option{
		otelgrpc.WithTracerProvider(t.provider), otelgrpc.WithMeterProvider(noop.NewMeterProvider()),
		otelgrpc.WithPropagators(propagation.TraceContext{}), otelgrpc.WithFilter(tracedCall),
	}
}

// server returns what makes spans of calls that come in.
func (t *tracing) server() []grpc.ServerOption {
	if t == nil {
		return nil
	}
	return []grpc.ServerOption{grpc.StatsHandler(otelgrpc.NewServerHandler(t.options()...))}
}

// client returns what makes spans of calls that are passed on.
func (t *tracing) client() []grpc.DialOption {
	if t == nil {
		return nil
	}
	return []grpc.DialOption{grpc.WithStatsHandler(otelgrpc.NewClientHandler(t.options()...))}
}

// tracedServices are those that somebody asks something of. Nodes' talk among
// themselves is not traced, except for what it is for.
var tracedServices = []string{
	throttlekitv1.RateLimiter_ServiceDesc.ServiceName, throttlekitv1.Fleet_ServiceDesc.ServiceName, throttlekitv1.Monitor_ServiceDesc.ServiceName,
	tkcoordv1.Edge_ServiceDesc.ServiceName, tkcoordv1.Admin_ServiceDesc.ServiceName,
}

// tracedCall reports whether a call has a span: those of single questions, since
// that of a stream would end with the client.
func tracedCall(c *stats.RPCTagInfo) bool {
	service, method, _ := strings.Cut(strings.TrimPrefix(c.FullMethodName, "/"), "/")
	return slices.Contains(tracedServices, service) && method != "Watch"
}

// proposal makes the span of a command that went through the log, or failed to, as
// a child of the one in ctx. begun is when it was proposed.
func (t *tracing) proposal(ctx context.Context, begun time.Time, a *transport.Applied, err error) {
	if t == nil || !trace.SpanContextFromContext(ctx).IsSampled() {
		return
	}
	_, span := t.tracer.Start(ctx, "tkcoord.propose", trace.WithTimestamp(begun))
	defer span.End()
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
		return
	}
	span.SetAttributes(attribute.Int64("tkcoord.log.index", int64(a.Index)))
	x := a.Timing
	if x == nil {
		return
	}
	span.SetAttributes(attribute.Int("tkcoord.batch.commands", x.Commands), attribute.Int("tkcoord.batch.bytes", x.Bytes))
	for _, e := range []struct {
		name string
		at   time.Time
	}{{"queued", x.Queued}, {"sealed", x.Sealed}, {"committed", x.Committed}, {"applied", x.Applied}} {
		if !e.at.IsZero() {
			span.AddEvent(e.name, trace.WithTimestamp(e.at))
		}
	}
}

// parent returns the span in ctx as another node's tracing reads it, nil if none is
// to be traced: trace id, span id and flags of the W3C
// trace context, in binary.
func (t *tracing) parent(ctx context.Context) []byte {
	if t == nil {
		return nil
	}
	c := trace.SpanContextFromContext(ctx)
	if !c.IsSampled() {
		return nil
	}
	id, span := c.TraceID(), c.SpanID()
	return append(append(append(make([]byte, 0, parentLen), id[:]...), span[:]...), byte(c.TraceFlags()))
}

const parentLen = 16 + 8 + 1

// under returns ctx with the span that another node's parent returned. Without one
// there is none in it.
func (t *tracing) under(ctx context.Context, parent []byte) context.Context {
	if t == nil || len(parent) != parentLen {
		return trace.ContextWithSpanContext(ctx, trace.SpanContext{})
	}
	var c trace.SpanContextConfig
	copy(c.TraceID[:], parent)
	copy(c.SpanID[:], parent[16:])
	c.TraceFlags, c.Remote = trace.TraceFlags(parent[24]), true
	return trace.ContextWithRemoteSpanContext(ctx, trace.NewSpanContext(c))
}
