package edge

import (
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

func TestMetrics(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		reader := metric.NewManualReader()
		e := b.edge()
		if err := e.instrument(metric.NewMeterProvider(metric.WithReader(reader)).Meter("test")); err != nil {
			t.Fatal(err)
		}
		l := e.Limiter("p")
		b.check(l, "k", 3)
		b.check(l, "k", 1) // over the limit
		b.fail(errDown)
		_, _ = l.Check(t.Context(), "new", 1)
		for _, want := range []struct {
			name  string
			attrs []attribute.KeyValue
			value int64
		}{
			{"tkcoord.edge.spent", []attribute.KeyValue{attribute.String("policy", "p")}, 3},
			{"tkcoord.edge.denied", []attribute.KeyValue{attribute.String("policy", "p")}, 2},
			{"tkcoord.edge.failed", []attribute.KeyValue{attribute.String("outcome", "closed"), attribute.String("policy", "p")}, 1},
			{"tkcoord.edge.held", []attribute.KeyValue{attribute.String("policy", "p")}, 0},
			{"tkcoord.edge.keys", nil, 2},
			{"tkcoord.edge.away", nil, 1},
		} {
			if got, ok := collected(t, reader, want.name, attribute.NewSet(want.attrs...)); !ok || got != want.value {
				t.Errorf("%s%v = %d, %v, want %d", want.name, want.attrs, got, ok, want.value)
			}
		}
	}, perWindow("p", 3, time.Minute))
}

// collected reads one number.
func collected(t *testing.T, r *metric.ManualReader, name string, attrs attribute.Set) (int64, bool) {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := r.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			if m.Name != name {
				continue
			}
			var points []metricdata.DataPoint[int64]
			switch data := m.Data.(type) {
			case metricdata.Sum[int64]:
				points = data.DataPoints
			case metricdata.Gauge[int64]:
				points = data.DataPoints
			}
			for _, p := range points {
				if p.Attributes.Equals(&attrs) {
					return p.Value, true
				}
			}
		}
	}
	return 0, false
}
