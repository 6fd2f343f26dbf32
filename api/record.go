package api

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tkcoord/tkcoord/monitor"
	"github.com/tkcoord/tkcoord/strategy"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
)

// A Recorder tells what was decided: to the hub, to the contract's instruments, and
// to the span of the call. It never fails, and what it does takes the same time
// whatever was decided before. A nil Recorder tells nobody. Safe for concurrent use.
type Recorder struct {
	hub       *monitor.Hub
	checks    metric.Int64Counter
	remaining metric.Int64Histogram
	latency   metric.Float64Histogram
	denies    metric.Int64Counter
	by        map[string]*recordedBy // strategy; never changed
	other     *recordedBy
	lanes     map[monitor.Lane][]metric.AddOption // never changed
}

// recordedBy are the attributes of what one strategy decided, made once.
type recordedBy struct {
	allowed, denied []metric.AddOption
	strategy        []metric.RecordOption
}

// NewRecorder makes the contract's instruments, whose names, units and attributes
// are frozen, with a meter. None carries a key.
func NewRecorder(hub *monitor.Hub, m metric.Meter) (*Recorder, error) {
	r := &Recorder{hub: hub, by: make(map[string]*recordedBy), other: newRecordedBy("other"), lanes: make(map[monitor.Lane][]metric.AddOption)}
	for _, s := range []strategy.Name{strategy.GCRA, strategy.TokenBucket, strategy.FixedWindow, strategy.SlidingWindow, strategy.SlidingWindowLog, strategy.Quota} {
		r.by[string(s)] = newRecordedBy(string(s))
	}
	for _, l := range monitor.Lanes {
		r.lanes[l] = []metric.AddOption{metric.WithAttributeSet(attribute.NewSet(attribute.String("lane", l.String())))}
	}
	var errs [4]error
	r.checks, errs[0] = m.Int64Counter("throttlekit.checks", metric.WithUnit("1"), metric.WithDescription("Checks answered, each key of a batch for itself."))
	r.remaining, errs[1] = m.Int64Histogram("throttlekit.remaining", metric.WithUnit("1"), metric.WithDescription("What was left after a check."),
		metric.WithExplicitBucketBoundaries(0, 1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 100_000, 1_000_000))
	r.latency, errs[2] = m.Float64Histogram("throttlekit.store.latency", metric.WithUnit("ms"), metric.WithDescription("Time of a check; each key of a batch has an equal share."),
		metric.WithExplicitBucketBoundaries(.01, .05, .1, .25, .5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500))
	r.denies, errs[3] = m.Int64Counter("throttlekit.denies_by_axis", metric.WithUnit("1"), metric.WithDescription("Admissions denied, by what denied them."))
	if err := errors.Join(errs[:]...); err != nil {
		return nil, fmt.Errorf("make instruments: %w", err)
	}
	return r, nil
}

func newRecordedBy(strategy string) *recordedBy {
	name := attribute.String("strategy", strategy)
	return &recordedBy{
		allowed:  []metric.AddOption{metric.WithAttributeSet(attribute.NewSet(name, attribute.Bool("allowed", true)))},
		denied:   []metric.AddOption{metric.WithAttributeSet(attribute.NewSet(name, attribute.Bool("allowed", false)))},
		strategy: []metric.RecordOption{metric.WithAttributeSet(attribute.NewSet(name))},
	}
}

// Decision tells of one answered check. A batch is told key by key, each with an
// equal share of the time; its span shows the last one. cost is the one that was
// asked for, at least 1.
func (r *Recorder) Decision(ctx context.Context, policy string, s strategy.Name, key string, cost int64, d strategy.Decision, took time.Duration) {
	if r == nil {
		return
	}
	r.hub.Decision(policy, string(s), key, cost, d, took)
	by := r.by[string(s)]
	if by == nil {
		by = r.other
	}
	if d.Allowed {
		r.checks.Add(ctx, 1, by.allowed...)
	} else {
		r.checks.Add(ctx, 1, by.denied...)
	}
	r.remaining.Record(ctx, d.Remaining, by.strategy...)
	r.latency.Record(ctx, float64(took)/float64(time.Millisecond), by.strategy...)
	if span := trace.SpanFromContext(ctx); span.IsRecording() {
		describeSpan(span, string(s), d, "")
	}
}

// Admission tells of one answered request for a slot.
func (r *Recorder) Admission(ctx context.Context, a monitor.Admission) {
	if r == nil {
		return
	}
	r.hub.Admission(a)
	if !a.Decision.Allowed {
		r.denies.Add(ctx, 1, r.lanes[a.Lane]...)
	}
	if span := trace.SpanFromContext(ctx); span.IsRecording() {
		axis := ""
		if !a.Decision.Allowed && a.Lane != monitor.Policy {
			axis = a.Lane.String()
		}
		describeSpan(span, a.Strategy, a.Decision, axis)
	}
}

// describeSpan sets the attributes of the contract. axis is what bound a denied
// admission, else "".
func describeSpan(span trace.Span, strategy string, d strategy.Decision, axis string) {
	span.SetAttributes(
		attribute.String("throttlekit.strategy", strategy),
		attribute.Bool("throttlekit.allowed", d.Allowed),
		attribute.Int64("throttlekit.limit", d.Limit),
		attribute.Int64("throttlekit.remaining", d.Remaining),
		attribute.Int64("throttlekit.retry_after_ms", d.RetryAfter),
	)
	if axis != "" {
		span.SetAttributes(attribute.String("throttlekit.binding_axis", axis))
	}
}
