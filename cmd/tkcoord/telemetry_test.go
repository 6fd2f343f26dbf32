package main

import (
	"bytes"
	"context"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tkcoord/tkcoord/api/throttlekitv1"
	"github.com/tkcoord/tkcoord/policy"
	colmetricpb "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	metricpb "go.opentelemetry.io/proto/otlp/metrics/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
)

// A collector takes what nodes send by OTLP.
type collector struct {
	coltracepb.UnimplementedTraceServiceServer
	at string

	mu      sync.Mutex // guards the rest
	spans   []sentSpan
	metrics map[string]*metricpb.Metric // by name
}

// A sentSpan is a span and the node that made it.
type sentSpan struct {
	*tracepb.Span
	node string
}

func startCollector(t *testing.T) *collector {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &collector{at: "http://" + l.Addr().String(), metrics: make(map[string]*metricpb.Metric)}
	s := grpc.NewServer()
	coltracepb.RegisterTraceServiceServer(s, c)
	colmetricpb.RegisterMetricsServiceServer(s, metricCollector{collector: c})
	go func() { _ = s.Serve(l) }() // until Stop
	t.Cleanup(s.Stop)
	return c
}

// Export implements coltracepb.TraceServiceServer.
func (c *collector) Export(_ context.Context, req *coltracepb.ExportTraceServiceRequest) (*coltracepb.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range req.ResourceSpans {
		for _, s := range r.ScopeSpans {
			for _, span := range s.Spans {
				c.spans = append(c.spans, sentSpan{span, attributeOf(r.Resource.Attributes, "service.instance.id")})
			}
		}
	}
	return &coltracepb.ExportTraceServiceResponse{}, nil
}

type metricCollector struct {
	colmetricpb.UnimplementedMetricsServiceServer
	*collector
}

// Export implements colmetricpb.MetricsServiceServer.
func (c metricCollector) Export(_ context.Context, req *colmetricpb.ExportMetricsServiceRequest) (*colmetricpb.ExportMetricsServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range req.ResourceMetrics {
		for _, s := range r.ScopeMetrics {
			for _, m := range s.Metrics {
				c.collector.metrics[m.Name] = m
			}
		}
	}
	return &colmetricpb.ExportMetricsServiceResponse{}, nil
}

func attributeOf(all []*commonpb.KeyValue, key string) string {
	for _, a := range all {
		if a.Key == key {
			return strings.TrimPrefix(a.Value.String(), "string_value:")
		}
	}
	return ""
}

// A check that a follower is asked for is one trace: the call at the follower and,
// below it, the way through the log at the leader. The contract's metrics have their
// frozen names and units.
func TestOTLP(t *testing.T) {
	c := startCollector(t)
	f, err := policy.Parse("test", []byte(observedPolicies))
	if err != nil {
		t.Fatal(err)
	}
	var nodes []*realNode
	for _, id := range []string{"n1", "n2", "n3"} {
		n := newNode(t, id, "e2e", 3, nodes...)
		n.cfg.node.Policies, n.cfg.otlp = f.Policies, otlpConfig{endpoint: c.at, metrics: true, traces: true}
		nodes = append(nodes, n.start())
	}
	asked := -1
	within(t, "a follower is ready and knows the policies", func() bool {
		asked = slices.IndexFunc(nodes, func(n *realNode) bool {
			return n.node.Ready() == nil && !n.leads() && len(n.server.PolicyNames()) == 2
		})
		return asked >= 0
	})
	leader := nodes[slices.IndexFunc(nodes, (*realNode).leads)].cfg.node.ID
	limiter := throttlekitv1.NewRateLimiterClient(dialPlain(t, nodes[asked].node.Addresses().GRPC))
	if _, err := limiter.Check(t.Context(), &throttlekitv1.CheckRequest{Policy: "api", Key: "customer-4711"}); err != nil {
		t.Fatal(err)
	}
	stopAll(nodes) // sends what is left
	c.mu.Lock()
	defer c.mu.Unlock()
	find := func(name string, below []byte) *sentSpan {
		for _, s := range c.spans {
			if s.Name == name && (below == nil || bytes.Equal(s.ParentSpanId, below)) {
				return &s
			}
		}
		t.Fatalf("no span %s", name)
		return nil
	}
	call := find("throttlekit.v1.RateLimiter/Check", nil)
	if call.node != `"`+nodes[asked].cfg.node.ID+`"` || attributeOf(call.Attributes, "throttlekit.allowed") != "bool_value:true" {
		t.Errorf("call at %s: %v", call.node, call.Span)
	}
	log := find("tkcoord.propose", call.SpanId)
	if log.node != `"`+leader+`"` || !bytes.Equal(log.TraceId, call.TraceId) || len(log.Events) != 4 {
		t.Errorf("way through the log at %s: %v", log.node, log.Span)
	}
	for _, s := range c.spans {
		if strings.Contains(s.Span.String(), "customer-") {
			t.Errorf("a key is in a span: %v", s.Span)
		}
	}
	for name, unit := range map[string]string{
		"throttlekit.checks": "1", "throttlekit.remaining": "1", "throttlekit.store.latency": "ms",
		"throttlekit.concurrency.limit": "1", "throttlekit.concurrency.inflight": "1", "tkcoord.raft.term": "", "tkcoord.decisions": "",
	} {
		if m := c.metrics[name]; m == nil || m.Unit != unit {
			t.Errorf("metric %s: %v, want unit %q", name, m, unit)
		}
	}
}

// Nothing is sent unless an endpoint is named; what cannot be done is refused.
func TestOTLPSettings(t *testing.T) {
	const endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT"
	for _, c := range []struct {
		name, flag      string
		env             map[string]string
		metrics, traces bool
		wrong           string // in the error
	}{
		{"nothing", "", nil, false, false, ""},
		{"flag", "http://h:4317", nil, true, true, ""},
		{"variable", "", map[string]string{endpoint: "http://h:4317"}, true, true, ""},
		{"traces only", "", map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://h:4317"}, false, true, ""},
		{"no traces", "https://h:4317", map[string]string{"OTEL_TRACES_EXPORTER": "none"}, true, false, ""},
		{"disabled", "http://h:4317", map[string]string{"OTEL_SDK_DISABLED": "TRUE"}, false, false, ""},
		{"no URL", "h:4317", nil, false, false, `--otlp-endpoint: got "h:4317"`},
		{"protocol", "http://h:4317", map[string]string{"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, false, false, `OTEL_EXPORTER_OTLP_PROTOCOL: got "http/protobuf", want grpc`},
		{"protocol of nothing", "", map[string]string{"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, false, false, ""},
		{"exporter", "", map[string]string{"OTEL_METRICS_EXPORTER": "console"}, false, false, `OTEL_METRICS_EXPORTER: got "console"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := newOTLPConfig(c.flag, func(name string) string { return c.env[name] })
			if c.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), c.wrong) {
					t.Errorf("error %v, want %s", err, c.wrong)
				}
				return
			}
			if err != nil || got.metrics != c.metrics || got.traces != c.traces {
				t.Errorf("%+v, %v; want metrics %v, traces %v", got, err, c.metrics, c.traces)
			}
		})
	}
}
