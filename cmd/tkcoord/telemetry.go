package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// An otlpConfig says what is sent by OTLP, over gRPC. The exporters themselves read the
// rest of the standard variables: OTEL_EXPORTER_OTLP_HEADERS, _CERTIFICATE, _TIMEOUT and
// so on, OTEL_METRIC_EXPORT_INTERVAL, OTEL_TRACES_SAMPLER, OTEL_RESOURCE_ATTRIBUTES.
type otlpConfig struct {
	endpoint        string // URL; "" leaves it to the standard variables
	metrics, traces bool
}

// newOTLPConfig decides by the flag and the standard variables: nothing is sent
// unless one of them names an endpoint.
func newOTLPConfig(endpoint string, getenv func(string) string) (otlpConfig, error) {
	c := otlpConfig{endpoint: endpoint}
	if endpoint != "" {
		if u, err := url.Parse(endpoint); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return c, fmt.Errorf("--otlp-endpoint: got %q, want http://HOST:PORT or, with TLS, https://HOST:PORT", endpoint)
		}
	}
	var errs []error
	signal := func(name string) bool {
		exporter := getenv("OTEL_" + name + "_EXPORTER")
		if exporter != "" && exporter != "otlp" && exporter != "none" {
			errs = append(errs, fmt.Errorf("OTEL_%s_EXPORTER: got %q, want otlp or none", name, exporter))
		}
		to := endpoint != "" || getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || getenv("OTEL_EXPORTER_OTLP_"+name+"_ENDPOINT") != ""
		if !to || exporter == "none" {
			return false
		}
		for _, v := range []string{"OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_" + name + "_PROTOCOL"} {
			if p := getenv(v); p != "" && p != "grpc" {
				errs = append(errs, fmt.Errorf("%s: got %q, want grpc", v, p))
			}
		}
		return true
	}
	c.metrics, c.traces = signal("METRICS"), signal("TRACES")
	if strings.EqualFold(getenv("OTEL_SDK_DISABLED"), "true") {
		c.metrics, c.traces = false, false
	}
	return c, errors.Join(errs...)
}

// A telemetry is what one node sends by OTLP. The zero value sends nothing.
type telemetry struct {
	resource *resource.Resource
	metrics  sdkmetric.Exporter // nil: none
	traces   *sdktrace.TracerProvider
}

// openTelemetry makes the exporters. They connect when there is something to send,
// and try again by themselves.
func openTelemetry(ctx context.Context, c otlpConfig, node, cluster, region, version string) (*telemetry, error) {
	t := &telemetry{}
	if !c.metrics && !c.traces {
		return t, nil
	}
	own := resource.NewSchemaless(
		attribute.String("service.name", "tkcoord"), attribute.String("service.namespace", cluster),
		attribute.String("service.instance.id", node), attribute.String("service.version", version),
		attribute.String("tkcoord.region", region),
	)
	env, err := resource.New(ctx, resource.WithFromEnv())
	if err == nil {
		t.resource, err = resource.Merge(own, env) // the environment wins
	}
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	if c.metrics {
		var o []otlpmetricgrpc.Option
		if c.endpoint != "" {
			o = append(o, otlpmetricgrpc.WithEndpointURL(c.endpoint))
		}
		if t.metrics, err = otlpmetricgrpc.New(ctx, o...); err != nil {
			return nil, fmt.Errorf("OTLP metrics: %w", err)
		}
	}
	if c.traces {
		var o []otlptracegrpc.Option
		if c.endpoint != "" {
			o = append(o, otlptracegrpc.WithEndpointURL(c.endpoint))
		}
		exporter, err := otlptracegrpc.New(ctx, o...)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("OTLP traces: %w", err), t.Close())
		}
		t.traces = sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(t.resource))
	}
	return t, nil
}

// readers returns what a meter provider needs to send by OTLP. Several may share the
// exporter.
func (t *telemetry) readers() (options []sdkmetric.Option) {
	if t.metrics == nil {
		return nil
	}
	return []sdkmetric.Option{sdkmetric.WithResource(t.resource), sdkmetric.WithReader(sdkmetric.NewPeriodicReader(unclosed{t.metrics}))}
}

// unclosed is an exporter that outlives a reader.
type unclosed struct{ sdkmetric.Exporter }

// Shutdown implements sdkmetric.Exporter.
func (unclosed) Shutdown(context.Context) error { return nil }

// tracer returns where spans go, nil for nowhere.
func (t *telemetry) tracer() trace.TracerProvider {
	if t.traces == nil {
		return nil // NB: no interface that holds a nil pointer
	}
	return t.traces
}

// telemetryGrace bounds the sending of what is left at the end.
const telemetryGrace = 2 * time.Second

// Close sends what is left. The meter providers must have been shut down.
func (t *telemetry) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), telemetryGrace)
	defer cancel()
	var errs []error
	if t.traces != nil {
		errs = append(errs, t.traces.Shutdown(ctx))
	}
	if t.metrics != nil {
		errs = append(errs, t.metrics.Shutdown(ctx))
	}
	return errors.Join(errs...)
}
