package main

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/transport"
	"go.opentelemetry.io/otel/attribute"
	otelprom "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"google.golang.org/grpc/codes"
)

// Metrics are the instruments of one node, collected through OpenTelemetry and
// shown in Prometheus' format. No series carries a key of a budget.
type metrics struct {
	registry *prometheus.Registry
	provider *sdkmetric.MeterProvider
	store    metric.Float64Histogram
	calls    metric.Float64Histogram
	made     sync.Map // attributes by label values
}

// maxPolicySeries bounds the policies with series of their own. The rest is
// summed up under the policy "other".
const maxPolicySeries = 500

func newMetrics() (*metrics, error) {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	exporter, err := otelprom.New(otelprom.WithRegisterer(reg), otelprom.WithoutScopeInfo(), otelprom.WithoutTargetInfo())
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	m := &metrics{registry: reg, provider: sdkmetric.NewMeterProvider(sdkmetric.WithReader(exporter))}
	meter := m.meter()
	if m.store, err = meter.Float64Histogram("tkcoord.log_store.write",
		metric.WithUnit("s"), metric.WithDescription("Time of one write to the log store, with its sync."),
		metric.WithExplicitBucketBoundaries(.0001, .0002, .0005, .001, .002, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5)); err != nil {
		return nil, err
	}
	m.calls, err = meter.Float64Histogram("tkcoord.rpc.server",
		metric.WithUnit("s"), metric.WithDescription("Time of one gRPC call at this node."),
		metric.WithExplicitBucketBoundaries(.0002, .0005, .001, .002, .005, .01, .025, .05, .1, .25, .5, 1, 2.5))
	return m, err
}

func (m *metrics) meter() metric.Meter { return m.provider.Meter("github.com/tkcoord/tkcoord") }

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

func (m *metrics) observeStore(op string, took time.Duration) {
	m.store.Record(context.Background(), took.Seconds(), m.labels("op", op, "", ""))
}

func (m *metrics) observeCall(method string, code codes.Code, took time.Duration) {
	m.calls.Record(context.Background(), took.Seconds(), m.labels("method", method, "code", code.String()))
}

// labels returns the attributes of a measurement, made once for each
// combination: there are few, and making them costs more than the measurement.
func (m *metrics) labels(k1, v1, k2, v2 string) metric.MeasurementOption {
	key := [4]string{k1, v1, k2, v2}
	if o, ok := m.made.Load(key); ok {
		return o.(metric.MeasurementOption)
	}
	attrs := []attribute.KeyValue{attribute.String(k1, v1)}
	if k2 != "" {
		attrs = append(attrs, attribute.String(k2, v2))
	}
	o := metric.WithAttributeSet(attribute.NewSet(attrs...))
	m.made.Store(key, o)
	return o
}

// watchNode registers what is read off a node when metrics are collected.
func (m *metrics) watchNode(n *transport.Node) error {
	meter := m.meter()
	r := registrar{meter: meter}
	index := r.gauge("tkcoord.raft.index", "", "Log indexes of this node: last, commit, applied.")
	term := r.gauge("tkcoord.raft.term", "", "Current term.")
	leads := r.gauge("tkcoord.raft.leading", "", "1 on the node that leads.")
	elections := r.counter("tkcoord.raft.leader_changes", "", "Leaders that this node saw take over.")
	serving := r.gauge("tkcoord.node.ready", "", "1 while the node should be sent traffic.")
	behind := r.gauge("tkcoord.clock.lag", "ms", "Cluster clock behind the voters' median wall clock; leader only.")
	offset := r.gauge("tkcoord.clock.wall_offset", "ms", "This node's wall clock minus the cluster clock.")
	budgets := r.gauge("tkcoord.budgets", "", "Budgets with a record.")
	edges := r.gauge("tkcoord.edges", "", "Sessions of edges.")
	alarms := r.gauge("tkcoord.alarms", "", "Alarms in force, by kind.")
	if r.err != nil {
		return r.err
	}
	_, err := meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		s := n.Status()
		for name, v := range map[string]uint64{"last": s.LastIndex, "commit": s.CommitIndex, "applied": s.AppliedIndex} {
			o.ObserveInt64(index, int64(v), metric.WithAttributes(attribute.String("which", name)))
		}
		o.ObserveInt64(term, int64(s.Term))
		o.ObserveInt64(leads, flag(s.Leading))
		o.ObserveInt64(elections, int64(s.Elections))
		o.ObserveInt64(serving, flag(s.NotServing == nil))
		o.ObserveInt64(offset, int64(s.Wall-s.Clock))
		if s.Leading {
			o.ObserveInt64(behind, int64(s.MedianLag))
		}
		n.Replica().Query(func(m *fsm.Machine) {
			b, e := m.Sizes()
			o.ObserveInt64(budgets, int64(b))
			o.ObserveInt64(edges, int64(e))
			kinds := map[string]int64{transport.AlarmDigest: 0, transport.AlarmClock: 0}
			for _, a := range m.Alarms() {
				kinds[a.Kind]++
			}
			for k, c := range kinds {
				o.ObserveInt64(alarms, c, metric.WithAttributes(attribute.String("kind", k)))
			}
		})
		return nil
	}, r.all...)
	if err != nil {
		return err
	}
	return m.watchPolicies(n)
}

// watchPolicies registers the counters behind the overshoot bound: per policy,
// what its live windows may and do have out, and what ever went through.
func (m *metrics) watchPolicies(n *transport.Node) error {
	meter := m.meter()
	r := registrar{meter: meter}
	limit := r.gauge("tkcoord.policy.limit", "{credit}", "Limit of one window of one key.")
	keys := r.gauge("tkcoord.policy.keys", "", "Keys with a live window.")
	capacity := r.gauge("tkcoord.policy.capacity", "{credit}", "Sum of the limits of the live windows.")
	out := r.gauge("tkcoord.policy.outstanding", "{credit}", "Granted minus returned in the live windows: what admissions are bounded by.")
	used := r.gauge("tkcoord.policy.used", "{credit}", "Reported as spent in the live windows.")
	granted := r.counter("tkcoord.policy.granted", "{credit}", "Credits ever granted.")
	returned := r.counter("tkcoord.policy.returned", "{credit}", "Credits ever returned.")
	spent := r.counter("tkcoord.policy.spent", "{credit}", "Credits ever reported as spent.")
	refused := r.counter("tkcoord.policy.refused", "", "Asks whose need was not met.")
	over := r.gauge("tkcoord.policy.worst_overshoot", "{credit}", "Largest used minus limit of any window; above 0 the guarantee was broken.")
	if r.err != nil {
		return r.err
	}
	_, err := meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		var all []fsm.PolicyStatus
		n.Replica().Query(func(m *fsm.Machine) { _, all = m.Policies() })
		var rest fsm.PolicyStatus
		for i, p := range all {
			if i >= maxPolicySeries {
				rest = sum(rest, p)
				continue
			}
			report(o, p, limit, keys, capacity, out, used, granted, returned, spent, refused, over)
		}
		if len(all) > maxPolicySeries {
			rest.Name = "other"
			report(o, rest, limit, keys, capacity, out, used, granted, returned, spent, refused, over)
		}
		return nil
	}, r.all...)
	return err
}

func report(o metric.Observer, p fsm.PolicyStatus, to ...metric.Int64Observable) {
	c := p.Counters
	at := metric.WithAttributes(attribute.String("policy", p.Name))
	for i, v := range []int64{
		int64(p.Limit), c.LiveKeys, int64(c.LiveCapacity), int64(c.LiveOut), int64(c.LiveUsed),
		int64(c.GrantedTotal), int64(c.ReturnedTotal), int64(c.Used), c.Refused, int64(c.WorstOvershoot),
	} {
		o.ObserveInt64(to[i], v, at)
	}
}

func sum(a, b fsm.PolicyStatus) fsm.PolicyStatus {
	x, y := &a.Counters, b.Counters
	x.LiveKeys += y.LiveKeys
	x.LiveCapacity += y.LiveCapacity
	x.LiveOut += y.LiveOut
	x.LiveUsed += y.LiveUsed
	x.GrantedTotal += y.GrantedTotal
	x.ReturnedTotal += y.ReturnedTotal
	x.Used += y.Used
	x.Refused += y.Refused
	x.WorstOvershoot = max(x.WorstOvershoot, y.WorstOvershoot, escrow.Credits(0))
	return a
}

// A registrar makes observable instruments and keeps the first error. NB: what
// has no unit gets none, since Prometheus' names of unit "1" end in _ratio.
type registrar struct {
	meter metric.Meter
	all   []metric.Observable
	err   error
}

func (r *registrar) gauge(name, unit, text string) metric.Int64Observable {
	g, err := r.meter.Int64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(text))
	return r.keep(g, err)
}

func (r *registrar) counter(name, unit, text string) metric.Int64Observable {
	c, err := r.meter.Int64ObservableCounter(name, metric.WithUnit(unit), metric.WithDescription(text))
	return r.keep(c, err)
}

func (r *registrar) keep(i metric.Int64Observable, err error) metric.Int64Observable {
	if r.err == nil {
		r.err = err
	}
	r.all = append(r.all, i)
	return i
}

func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
