package monitor

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// A Series describes one of the series that WriteProm writes.
type Series struct {
	Name, Type string
	Labels     []string
	Help       string
}

// AllSeries are the contract's, in its order.
var AllSeries = []Series{
	{"throttlekit_allowed_total", "counter", []string{"policy"}, "Requests admitted by this node since it started."},
	{"throttlekit_denied_total", "counter", []string{"policy"}, "Requests denied by this node since it started."},
	{"throttlekit_denied_by_axis_total", "counter", []string{"policy", "axis"}, "Admissions denied by this node since it started, by what denied them."},
	{"throttlekit_limit", "gauge", []string{"policy"}, "Ceiling that this node saw last."},
	{"throttlekit_latency_p50_ms", "gauge", []string{"policy"}, "Median of the last 256 decisions of this node, in ms."},
	{"throttlekit_latency_p99_ms", "gauge", []string{"policy"}, "99th percentile of the last 256 decisions of this node, in ms."},
	{"throttlekit_guard_inflight", "gauge", []string{"guard"}, "Slots held in the cluster."},
	{"throttlekit_guard_limit", "gauge", []string{"guard"}, "Adaptive ceiling of the slots of the cluster."},
	{"throttlekit_guard_fenced", "gauge", []string{"guard"}, "1 while the guard refuses because of a stale epoch, else 0."},
}

// A counted is what one policy adds to the series.
type counted struct {
	name    string
	kind    Kind
	totals  totals
	limit   int64
	limited bool
	latency Latency
}

// WriteProm writes this node's series in Prometheus' text format, version 0.0.4, without a
// single key. HELP and TYPE are written for each, also without samples. What ends
// in _total never falls while the process lives. Configured policies that saw nothing
// have zeros, if they are at most MaxPolicies.
func (h *Hub) WriteProm(w io.Writer, configured []Configured, guards []Guard) error {
	b := bufio.NewWriter(w)
	p := promWriter{b, h.counted(configured), guards}
	for _, s := range AllSeries {
		fmt.Fprintf(b, "# HELP %s %s\n# TYPE %s %s\n", s.Name, s.Help, s.Name, s.Type)
		p.samples(s.Name)
	}
	return b.Flush()
}

// counted returns what was seen of the configured policies, by name, and of Other.
func (h *Hub) counted(configured []Configured) []counted {
	taps := *h.taps.Load()
	var all []counted
	for _, c := range configured {
		if t := taps[c.Name]; t != nil {
			all = append(all, t.counted(c.Kind))
		} else if len(configured) <= MaxPolicies {
			all = append(all, counted{name: c.Name, kind: c.Kind})
		}
	}
	if t := taps[Other]; t != nil && !slices.ContainsFunc(all, func(c counted) bool { return c.name == Other }) {
		all = append(all, t.counted(Admitter))
	}
	slices.SortFunc(all, func(a, b counted) int { return cmp.Compare(a.name, b.name) })
	return all
}

func (t *tap) counted(k Kind) counted {
	t.mu.Lock()
	c := counted{name: t.name, kind: k, totals: t.totals, limit: t.limit, limited: t.limitAt != 0}
	samples := t.latency.all()
	t.mu.Unlock()
	c.latency = summarise(samples)
	return c
}

// Totals are what a node decided under one policy since it started.
type Totals struct {
	Policy          string
	Allowed, Denied int64
	Units           int64 // the cost of what was allowed; stays at the largest int64
}

// Totals returns those of every policy that was seen, by name. They never fall
// while the policy is configured.
func (h *Hub) Totals() (all []Totals) {
	if h == nil {
		return nil
	}
	for _, t := range *h.taps.Load() {
		t.mu.Lock()
		all = append(all, Totals{Policy: t.name, Allowed: t.totals.Allowed, Denied: t.totals.Denied, Units: t.totals.Units})
		t.mu.Unlock()
	}
	slices.SortFunc(all, func(a, b Totals) int { return cmp.Compare(a.Policy, b.Policy) })
	return all
}

type promWriter struct {
	w        *bufio.Writer
	policies []counted
	guards   []Guard
}

// samples writes those of one series.
func (p *promWriter) samples(series string) {
	for i := range p.policies {
		p.policy(series, &p.policies[i])
	}
	for _, g := range p.guards {
		switch series {
		case "throttlekit_guard_inflight":
			p.line(series, float64(g.Inflight), "guard", g.Name)
		case "throttlekit_guard_limit":
			p.line(series, float64(g.Limit), "guard", g.Name)
		case "throttlekit_guard_fenced":
			p.line(series, 0, "guard", g.Name) // nothing of ours works with an epoch that can become stale
		}
	}
}

func (p *promWriter) policy(series string, c *counted) {
	switch series {
	case "throttlekit_allowed_total":
		p.line(series, float64(c.totals.Allowed), "policy", c.name)
	case "throttlekit_denied_total":
		p.line(series, float64(c.totals.Denied), "policy", c.name)
	case "throttlekit_denied_by_axis_total":
		if c.kind != Admitter {
			return
		}
		for i, l := range Lanes {
			p.line(series, float64(c.totals.ByLane[i]), "policy", c.name, "axis", l.String())
		}
	case "throttlekit_limit":
		if c.limited {
			p.line(series, float64(c.limit), "policy", c.name)
		}
	case "throttlekit_latency_p50_ms":
		if c.latency.N > 0 {
			p.line(series, float64(c.latency.P50), "policy", c.name)
		}
	case "throttlekit_latency_p99_ms":
		if c.latency.N > 0 {
			p.line(series, float64(c.latency.P99), "policy", c.name)
		}
	}
}

var escapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// line writes one sample with labels by name and value.
func (p *promWriter) line(series string, v float64, labels ...string) {
	p.w.WriteString(series)
	sep := "{"
	for i := 0; i < len(labels); i += 2 {
		p.w.WriteString(sep + labels[i] + `="` + escapes.Replace(labels[i+1]) + `"`)
		sep = ","
	}
	p.w.WriteString("} " + strconv.FormatFloat(v, 'f', -1, 64) + "\n")
}
