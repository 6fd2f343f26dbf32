package main

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/tkcoord/tkcoord/api"
	"github.com/tkcoord/tkcoord/api/throttlekitv1"
	"github.com/tkcoord/tkcoord/edge"
	"github.com/tkcoord/tkcoord/monitor"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
)

const metricsPage = "../../docs/metrics.md"

// The page lists every metric that the code makes, and no other, with the type,
// unit and text of its instrument, and the name and labels that Prometheus sees.
func TestMetricsPage(t *testing.T) {
	node := newInstruments(noop.Meter{})
	rec, err := api.NewRecorder(nil, node)
	if err != nil || rec == nil {
		t.Fatal(err)
	}
	for _, err := range []error{(&metrics{}).instrument(node), watchNode(node, nil), watchGuards(node, nil), watchHub(node, nil)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	reg := prometheus.NewRegistry()
	meters, err := newMeters(reg, &telemetry{})
	if err != nil {
		t.Fatal(err)
	}
	edges := newInstruments(meters.Meter("edge"))
	c := startObserved(t, 1)
	busy(t, c, edges)
	seen, seenByEdges := labelsOf(t, c.members[0].proc.metrics.registry), labelsOf(t, reg)
	data, err := os.ReadFile(metricsPage)
	if err != nil {
		t.Fatal(err)
	}
	page := string(data)
	for _, part := range []struct{ name, table string }{
		{"contract", node.table(t, "throttlekit.", seen)},
		{"contract-series", seriesTable(monitor.AllSeries)},
		{"node", node.table(t, "tkcoord.", seen)},
		{"edge", edges.table(t, "tkcoord.edge.", seenByEdges)},
	} {
		page = replaced(t, page, part.name, part.table)
	}
	for name := range node.made {
		if !strings.HasPrefix(name, "throttlekit.") && !strings.HasPrefix(name, "tkcoord.") {
			t.Errorf("%s is in neither namespace", name)
		}
	}
	if *update {
		if err := os.WriteFile(metricsPage, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if page != string(data) {
		t.Errorf("%s is not what the code makes; -update rewrites its tables:\n%s", metricsPage, page)
	}
}

// busy makes a node and an edge do what each of their metrics counts.
func busy(t *testing.T, c *realCluster, m metric.Meter) {
	t.Helper()
	for range 5 {
		c.check(0, "api", "k")
	}
	for range 2 {
		res, err := c.rateLimiter(0).Admit(t.Context(), &throttlekitv1.AdmitRequest{Policy: "jobs"})
		if err != nil {
			t.Fatal(err)
		}
		if res.LeaseId == "" {
			continue
		}
		defer func() { // one that was released makes the first round trip
			if _, err := c.rateLimiter(0).Release(t.Context(), &throttlekitv1.ReleaseRequest{LeaseId: res.LeaseId}); err != nil {
				t.Fatal(err)
			}
		}()
	}
	cfg := edge.DefaultConfig()
	cfg.Addresses, cfg.EdgeID, cfg.Meter = []string{c.members[0].addresses().GRPC}, "e", m
	e, err := edge.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	if _, err := e.Limiter("api").Check(t.Context(), "edge's", 1); err != nil {
		t.Fatal(err)
	}
}

// Instruments are what a meter was asked for.
type instruments struct {
	metric.Meter
	made map[string]instrument
}

type instrument struct{ kind, unit, text string }

func newInstruments(m metric.Meter) *instruments {
	return &instruments{Meter: m, made: make(map[string]instrument)}
}

func (r *instruments) note(name, kind, unit, text string) {
	r.made[name] = instrument{kind, unit, text}
}

func (r *instruments) Int64Counter(name string, o ...metric.Int64CounterOption) (metric.Int64Counter, error) {
	c := metric.NewInt64CounterConfig(o...)
	r.note(name, "counter", c.Unit(), c.Description())
	return r.Meter.Int64Counter(name, o...)
}

func (r *instruments) Int64Histogram(name string, o ...metric.Int64HistogramOption) (metric.Int64Histogram, error) {
	c := metric.NewInt64HistogramConfig(o...)
	r.note(name, "histogram", c.Unit(), c.Description())
	return r.Meter.Int64Histogram(name, o...)
}

func (r *instruments) Float64Histogram(name string, o ...metric.Float64HistogramOption) (metric.Float64Histogram, error) {
	c := metric.NewFloat64HistogramConfig(o...)
	r.note(name, "histogram", c.Unit(), c.Description())
	return r.Meter.Float64Histogram(name, o...)
}

func (r *instruments) Int64ObservableCounter(name string, o ...metric.Int64ObservableCounterOption) (metric.Int64ObservableCounter, error) {
	c := metric.NewInt64ObservableCounterConfig(o...)
	r.note(name, "counter", c.Unit(), c.Description())
	return r.Meter.Int64ObservableCounter(name, o...)
}

func (r *instruments) Int64ObservableGauge(name string, o ...metric.Int64ObservableGaugeOption) (metric.Int64ObservableGauge, error) {
	c := metric.NewInt64ObservableGaugeConfig(o...)
	r.note(name, "gauge", c.Unit(), c.Description())
	return r.Meter.Int64ObservableGauge(name, o...)
}

// What Prometheus shows of a metric.
type shown struct {
	name   string
	labels []string
}

// labelsOf returns what Prometheus shows, by name.
func labelsOf(t *testing.T, g prometheus.Gatherer) map[string]shown {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]shown)
	for _, f := range families {
		s := shown{name: f.GetName()}
		for _, m := range f.Metric {
			for _, l := range m.Label {
				s.labels = append(s.labels, "`"+l.GetName()+"`")
			}
		}
		slices.Sort(s.labels)
		s.labels = slices.Compact(s.labels)
		all[s.name] = s
	}
	return all
}

// table lists the instruments of a namespace as the page does.
func (r *instruments) table(t *testing.T, prefix string, seen map[string]shown) string {
	t.Helper()
	var names []string
	for n := range r.made {
		if strings.HasPrefix(n, prefix) {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	var b strings.Builder
	b.WriteString("| metric | in Prometheus | type | unit | labels | meaning |\n|---|---|---|---|---|---|\n")
	for _, n := range names {
		i := r.made[n]
		base := strings.ReplaceAll(n, ".", "_")
		var s shown
		for _, suffix := range []string{"", "_total", "_seconds", "_milliseconds", "_ratio"} {
			if found, ok := seen[base+suffix]; ok {
				s = found
			}
		}
		if s.name == "" {
			t.Errorf("Prometheus shows nothing of %s", n)
		}
		fmt.Fprintf(&b, "| `%s` | `%s` | %s | %s | %s | %s |\n", n, s.name, i.kind, cmp.Or(i.unit, "-"), cmp.Or(strings.Join(s.labels, ", "), "-"), i.text)
	}
	return b.String()
}

func seriesTable(all []monitor.Series) string {
	var b strings.Builder
	b.WriteString("| series | type | labels | meaning |\n|---|---|---|---|\n")
	for _, s := range all {
		fmt.Fprintf(&b, "| `%s` | %s | `%s` | %s |\n", s.Name, s.Type, strings.Join(s.Labels, "`, `"), s.Help)
	}
	return b.String()
}

// replaced puts a table between the marks of its part of the page.
func replaced(t *testing.T, page, part, table string) string {
	t.Helper()
	begin, end := "<!-- begin "+part+" -->\n", "<!-- end "+part+" -->\n"
	i, j := strings.Index(page, begin), strings.Index(page, end)
	if i < 0 || j < i {
		t.Fatalf("%s has no part %s", metricsPage, part)
	}
	return page[:i+len(begin)] + table + page[j:]
}
