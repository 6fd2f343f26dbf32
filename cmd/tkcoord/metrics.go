package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/monitor"
	"github.com/tkcoord/tkcoord/policy"
	"github.com/tkcoord/tkcoord/transport"
	"go.opentelemetry.io/otel/attribute"
	otelprom "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"google.golang.org/grpc/codes"
)

// Metrics are the instruments of one node, collected through OpenTelemetry, shown
// in Prometheus' format and sent by OTLP. No series carries a key.
type metrics struct {
	registry  *prometheus.Registry
	own       *sdkmetric.MeterProvider // of tkcoord.*
	contract  *sdkmetric.MeterProvider // of throttlekit.*, whose names in Prometheus have no units
	store     metric.Float64Histogram
	calls     metric.Float64Histogram
	undecided metric.Int64Counter
	made      sync.Map // attributes by label values
}

// maxPolicySeries bounds the policies with series of their own. The rest is
// summed up under the policy "other".
const maxPolicySeries = 500

func newMetrics(t *telemetry) (*metrics, error) {
	m := &metrics{registry: prometheus.NewRegistry()}
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	var err error
	if m.own, err = newMeters(m.registry, t); err != nil {
		return nil, err
	}
	//lint:ignore SA1019 the contract's names end in _total and have no units, for which there is no strategy
	if m.contract, err = newMeters(m.registry, t, otelprom.WithoutUnits()); err != nil {
		return nil, err
	}
	if err := m.instrument(m.meter()); err != nil {
		return nil, fmt.Errorf("make instruments: %w", err)
	}
	return m, nil
}

// newMeters returns a provider whose instruments Prometheus and OTLP see.
func newMeters(reg *prometheus.Registry, t *telemetry, names ...otelprom.Option) (*sdkmetric.MeterProvider, error) {
	exporter, err := otelprom.New(append(names, otelprom.WithRegisterer(reg), otelprom.WithoutScopeInfo(), otelprom.WithoutTargetInfo())...)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	return sdkmetric.NewMeterProvider(append(t.readers(), sdkmetric.WithReader(exporter))...), nil
}

// scope names what makes the measurements.
const scope = "github.com/tkcoord/tkcoord"

func (m *metrics) meter() metric.Meter { return m.own.Meter(scope) }

func (m *metrics) contractMeter() metric.Meter { return m.contract.Meter(scope) }

// Close sends what OTLP was not sent yet.
func (m *metrics) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), telemetryGrace)
	defer cancel()
	return errors.Join(m.own.Shutdown(ctx), m.contract.Shutdown(ctx))
}

// instrument makes what measurements are recorded with.
func (m *metrics) instrument(meter metric.Meter) (err error) {
	if m.store, err = meter.Float64Histogram("tkcoord.log_store.write",
		metric.WithUnit("s"), metric.WithDescription("Time of one write to the log store, with its sync."),
		metric.WithExplicitBucketBoundaries(.0001, .0002, .0005, .001, .002, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5)); err != nil {
		return err
	}
	m.calls, err = meter.Float64Histogram("tkcoord.rpc.server",
		metric.WithUnit("s"), metric.WithDescription("Time of one gRPC call at this node."),
		metric.WithExplicitBucketBoundaries(.0002, .0005, .001, .002, .005, .01, .025, .05, .1, .25, .5, 1, 2.5))
	if err != nil {
		return err
	}
	m.undecided, err = meter.Int64Counter("tkcoord.undecided",
		metric.WithDescription("Checks that nobody could decide and the fail mode answered, each key of a batch for itself."))
	if err != nil {
		return err
	}
	m.observeUndecided(0) // so that it is there from the beginning
	return nil
}

func (m *metrics) observeUndecided(keys int) { m.undecided.Add(context.Background(), int64(keys)) }

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
func watchNode(meter metric.Meter, n *transport.Node) error {
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
	return watchPolicies(meter, n)
}

// watchPolicies registers the counters behind the overshoot bound: per policy,
// what its live windows may and do have out, and what ever went through.
func watchPolicies(meter metric.Meter, n *transport.Node) error {
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
	slots := r.gauge("tkcoord.guard.limit", "{slot}", "Slots that may be held, by policy.")
	held := r.gauge("tkcoord.guard.inflight", "{slot}", "Slots that are held, by policy.")
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
			if p.Kind == policy.Guarded {
				by := metric.WithAttributes(attribute.String("policy", p.Name))
				o.ObserveInt64(slots, p.Guard.Limit, by)
				o.ObserveInt64(held, p.Guard.InFlight, by)
			}
		}
		if len(all) > maxPolicySeries {
			rest.Name = "other"
			report(o, rest, limit, keys, capacity, out, used, granted, returned, spent, refused, over)
		}
		return nil
	}, r.all...)
	return err
}

// watchGuards registers the contract's gauges of adaptive limits. They have no
// attributes, so they are of all guards together: slots add up, the round trip is the
// lowest. Every node shows the same.
func watchGuards(contract metric.Meter, n *transport.Node) error {
	r := registrar{meter: contract}
	limit := r.gauge("throttlekit.concurrency.limit", "1", "Slots that may be held, of all guards of the cluster.")
	inflight := r.gauge("throttlekit.concurrency.inflight", "1", "Slots that are held, of all guards of the cluster.")
	noload := r.gauge("throttlekit.concurrency.rtt_noload", "ms", "Lowest round trip in the window of any guard of the cluster.")
	if r.err != nil {
		return r.err
	}
	_, err := contract.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		var all []fsm.PolicyStatus
		n.Replica().Query(func(m *fsm.Machine) { _, all = m.Policies() })
		var slots, held, lowest int64
		guards, sampled := false, false
		for _, p := range all {
			if p.Kind != policy.Guarded {
				continue
			}
			guards = true
			slots += p.Guard.Limit
			held += p.Guard.InFlight
			if low := int64(p.Guard.LowestRTT); p.Guard.Sampled && (!sampled || low < lowest) {
				sampled, lowest = true, low
			}
		}
		if guards {
			o.ObserveInt64(limit, slots)
			o.ObserveInt64(inflight, held)
		}
		if sampled {
			o.ObserveInt64(noload, lowest)
		}
		return nil
	}, r.all...)
	return err
}

// watchHub registers what the hub counted, by policy.
func watchHub(meter metric.Meter, h *monitor.Hub) error {
	r := registrar{meter: meter}
	decisions := r.counter("tkcoord.decisions", "", "Checks and admissions answered by this node, by policy and outcome.")
	admitted := r.counter("tkcoord.admitted", "{credit}", "Cost of the requests that this node admitted, by policy.")
	if r.err != nil {
		return r.err
	}
	_, err := meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		for _, t := range h.Totals() {
			by := attribute.String("policy", t.Policy)
			o.ObserveInt64(decisions, t.Allowed, metric.WithAttributes(by, attribute.Bool("allowed", true)))
			o.ObserveInt64(decisions, t.Denied, metric.WithAttributes(by, attribute.Bool("allowed", false)))
			o.ObserveInt64(admitted, t.Units, metric.WithAttributes(by))
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
