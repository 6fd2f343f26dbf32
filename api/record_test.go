package api

import (
	"context"
	"testing"
	"time"

	"github.com/tkcoord/tkcoord/monitor"
	"github.com/tkcoord/tkcoord/strategy"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// Every check counts, under its strategy and outcome; a strategy that the contract
// does not have counts as other. Without a recorder nothing happens.
func TestRecorder(t *testing.T) {
	reader := sdkmetric.NewManualReader()
	r, err := NewRecorder(nil, sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)).Meter("test"))
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	r.Decision(ctx, "p", strategy.GCRA, "secret-key", 1, strategy.Decision{Allowed: true, Remaining: 3}, 5*time.Millisecond)
	r.Decision(ctx, "p", strategy.GCRA, "secret-key", 1, strategy.Decision{Remaining: 3}, 5*time.Millisecond)
	r.Decision(ctx, "p", "unheard-of", "secret-key", 1, strategy.Decision{}, 0)
	for _, l := range []monitor.Lane{monitor.Rate, monitor.Concurrency, monitor.Cost, monitor.Policy} {
		r.Admission(ctx, monitor.Admission{Lane: l})
		r.Admission(ctx, monitor.Admission{Lane: l, Decision: strategy.Decision{Allowed: true}})
	}
	r = nil
	r.Decision(ctx, "p", strategy.GCRA, "k", 1, strategy.Decision{}, 0)
	r.Admission(ctx, monitor.Admission{})
	var got metricdata.ResourceMetrics
	if err := reader.Collect(ctx, &got); err != nil {
		t.Fatal(err)
	}
	seen := map[string]float64{}
	for _, m := range got.ScopeMetrics[0].Metrics {
		switch d := m.Data.(type) {
		case metricdata.Sum[int64]:
			if !d.IsMonotonic {
				t.Errorf("%s may fall", m.Name)
			}
			for _, p := range d.DataPoints {
				seen[m.Name+" "+attributes(p.Attributes.ToSlice())] = float64(p.Value)
			}
		case metricdata.Histogram[int64]:
			for _, p := range d.DataPoints {
				seen[m.Name+" "+attributes(p.Attributes.ToSlice())] = float64(p.Sum)
			}
		case metricdata.Histogram[float64]:
			for _, p := range d.DataPoints {
				seen[m.Name+" "+attributes(p.Attributes.ToSlice())] = p.Sum
			}
		}
	}
	want := map[string]float64{
		"throttlekit.checks allowed=true strategy=gcra": 1, "throttlekit.checks allowed=false strategy=gcra": 1,
		"throttlekit.checks allowed=false strategy=other": 1, "throttlekit.remaining strategy=gcra": 6, "throttlekit.remaining strategy=other": 0,
		"throttlekit.store.latency strategy=gcra": 10, "throttlekit.store.latency strategy=other": 0,
		"throttlekit.denies_by_axis lane=rate": 1, "throttlekit.denies_by_axis lane=concurrency": 1,
		"throttlekit.denies_by_axis lane=cost": 1, "throttlekit.denies_by_axis lane=policy": 1,
	}
	for name, n := range want {
		if v, ok := seen[name]; !ok || v != n {
			t.Errorf("%s = %v, want %v", name, v, n)
		}
		delete(seen, name)
	}
	for name := range seen {
		t.Errorf("and %s", name)
	}
}

// One iteration tells the hub and the instruments of one decision.
func BenchmarkRecord(b *testing.B) {
	b.ReportAllocs()
	hub := monitor.New(monitor.Config{Now: func() int64 { return time.Now().UnixMilli() }})
	r, err := NewRecorder(hub, sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader())).Meter("bench"))
	if err != nil {
		b.Fatal(err)
	}
	ctx := context.Background()
	d := strategy.Decision{Allowed: true, Limit: 100, Remaining: 42}
	for b.Loop() {
		r.Decision(ctx, "policy", strategy.GCRA, "customer-000001", 1, d, 80*time.Microsecond)
	}
}
