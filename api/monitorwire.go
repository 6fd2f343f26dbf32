package api

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"

	"github.com/tkcoord/tkcoord/api/throttlekitv1"
	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"github.com/tkcoord/tkcoord/monitor"
	"github.com/tkcoord/tkcoord/strategy"
	"google.golang.org/protobuf/proto"
)

// maxSnapshot bounds an answer of GetSnapshot: clients take up to 4 MiB unless
// they are told otherwise.
const maxSnapshot = 3 << 20

// wireSnapshot translates a snapshot. Of one that is too large it leaves policies
// out, the least busy first, and says so in it.
func wireSnapshot(s *monitor.Snapshot) (*throttlekitv1.Snapshot, error) {
	warnings := s.Meta.Warnings
	for {
		out, err := wireWhole(s)
		if err != nil {
			return nil, err
		}
		n := len(s.Policies)
		size := proto.Size(out)
		if size <= maxSnapshot || n == 0 {
			return out, nil
		}
		s.Busiest(min(n*9/10, int(float64(n)*maxSnapshot/float64(size))))
		s.Meta.Warnings = append(slices.Clip(warnings), fmt.Sprintf("%d policies are left out, the least busy first, for the answer to fit into a message", s.Meta.OmittedPolicies))
	}
}

func wireWhole(s *monitor.Snapshot) (*throttlekitv1.Snapshot, error) {
	raw, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("write raw_json: %w", err)
	}
	out := &throttlekitv1.Snapshot{
		Meta: &throttlekitv1.MonitorMeta{
			GeneratedAt: s.Meta.GeneratedAt, WindowMs: s.Meta.WindowMs, Mode: s.Meta.Mode, LensVersion: s.Meta.LensVersion, NodeId: s.Meta.NodeID,
		},
		RawJson: string(raw),
	}
	for i := range s.Policies {
		out.Policies = append(out.Policies, wirePolicyView(&s.Policies[i]))
	}
	for _, g := range s.Guards {
		out.Guards = append(out.Guards, &throttlekitv1.GuardSummary{Name: g.Name, Limit: truncated(float64(g.Limit)), Inflight: g.Inflight})
	}
	for _, d := range s.RecentDenials {
		out.RecentDenials = append(out.RecentDenials, &throttlekitv1.DenialEvent{
			At: d.At, Policy: d.Policy, Key: d.Key, Axis: d.Lane,
			Limit: d.Decision.Limit, Remaining: d.Decision.Remaining, RetryAfterMs: d.Decision.RetryAfterMs,
		})
	}
	return out, nil
}

// truncated drops the fraction, of what is no number everything.
func truncated(f float64) int64 {
	if math.IsNaN(f) || math.Abs(f) >= 1<<63 {
		return 0
	}
	return int64(f)
}

func wirePolicyView(p *monitor.PolicyView) *throttlekitv1.PolicySummary {
	out := &throttlekitv1.PolicySummary{
		Name: p.Name, Kind: p.Kind, Strategy: p.Strategy, Allowed: p.Analytics.Allowed, Denied: p.Analytics.Denied,
		Latency:   &throttlekitv1.LatencySummary{},
		TopDenied: wireKeyCounts(p.Analytics.TopDenied), TopRequested: wireKeyCounts(p.Analytics.TopRequested),
	}
	if p.Limit != nil {
		out.Limit = *p.Limit
	}
	if l := p.Latency; l != nil {
		out.Latency = &throttlekitv1.LatencySummary{
			AvgMs: float64(l.Avg), P50Ms: float64(l.P50), P99Ms: float64(l.P99), MaxMs: float64(l.Max), N: int64(l.N),
		}
	}
	return out
}

func wireKeyCounts[C monitor.KeyCount | monitor.Count](counts []C) []*throttlekitv1.KeyCount {
	var out []*throttlekitv1.KeyCount
	for _, c := range counts {
		k := monitor.KeyCount(c)
		out = append(out, &throttlekitv1.KeyCount{Key: k.Key, Count: k.Count})
	}
	return out
}

// wireReport translates what a node observed, for another node.
func wireReport(r *monitor.Report) *tkcoordv1.ReportResponse {
	out := &tkcoordv1.ReportResponse{NodeId: r.Node, ClockMs: r.At}
	for i := range r.Policies {
		p := &r.Policies[i]
		o := &tkcoordv1.ObservedPolicy{
			Name: p.Name, Admitter: p.Kind == monitor.Admitter, Strategy: p.Strategy, WindowStartMs: p.Window, Allowed: p.Allowed, Denied: p.Denied,
			TopRequested: wireKeyCounts(p.TopRequested), TopDenied: wireKeyCounts(p.TopDenied),
			Limit: p.Limit, LimitAtMs: p.LimitAt, LatenciesMs: p.Latency,
		}
		if o.Admitter {
			o.DeniedByLane = p.ByLane[:]
			for _, counts := range p.TopByLane {
				o.TopDeniedByLane = append(o.TopDeniedByLane, &tkcoordv1.KeyCounts{Counts: wireKeyCounts(counts)})
			}
		}
		out.Policies = append(out.Policies, o)
	}
	for _, d := range r.Denials {
		out.Denials = append(out.Denials, wireDenial(d))
	}
	return out
}

func wireDenial(d monitor.Denial) *tkcoordv1.ObservedDenial {
	return &tkcoordv1.ObservedDenial{
		AtMs: d.At, Policy: d.Policy, Key: d.Key, Lane: d.Lane.String(),
		Decision: &throttlekitv1.Decision{
			Allowed: d.Decision.Allowed, Limit: d.Decision.Limit, Remaining: d.Decision.Remaining, ResetAt: d.Decision.ResetAt, RetryAfterMs: d.Decision.RetryAfter,
		},
	}
}

// report translates what another node observed. Whatever it sent, the result is
// within the bounds of a report.
func report(node string, in *tkcoordv1.ReportResponse) monitor.Report {
	out := monitor.Report{Node: node, At: in.ClockMs}
	for _, p := range head(in.Policies, monitor.MaxPolicies+1) {
		o := monitor.Observed{
			Name: p.GetName(), Strategy: p.GetStrategy(), Window: p.GetWindowStartMs(), Allowed: p.GetAllowed(), Denied: p.GetDenied(),
			TopRequested: counts(p.GetTopRequested()), TopDenied: counts(p.GetTopDenied()),
			Limit: p.GetLimit(), LimitAt: p.GetLimitAtMs(), Latency: head(p.GetLatenciesMs(), monitor.Samples),
		}
		if p.GetAdmitter() {
			o.Kind = monitor.Admitter
		}
		copy(o.ByLane[:], p.GetDeniedByLane())
		for i, l := range head(p.GetTopDeniedByLane(), len(o.TopByLane)) {
			o.TopByLane[i] = counts(l.GetCounts())
		}
		out.Policies = append(out.Policies, o)
	}
	for _, d := range head(in.Denials, monitor.Recent) {
		out.Denials = append(out.Denials, denial(node, d))
	}
	return out
}

func head[T any](all []T, n int) []T { return all[:min(n, len(all))] }

func counts(in []*throttlekitv1.KeyCount) []monitor.Count {
	var out []monitor.Count
	for _, c := range in {
		out = append(out, monitor.Count{Key: c.GetKey(), Count: c.GetCount()})
	}
	slices.SortFunc(out, func(a, b monitor.Count) int { return cmp.Compare(b.Count, a.Count) })
	return head(out, monitor.Top)
}

func denial(node string, d *tkcoordv1.ObservedDenial) monitor.Denial {
	x := d.GetDecision()
	return monitor.Denial{
		At: d.GetAtMs(), Policy: d.GetPolicy(), Key: d.GetKey(), Lane: monitor.LaneOf(d.GetLane()), Node: node,
		Decision: strategy.Decision{Allowed: x.GetAllowed(), Limit: x.GetLimit(), Remaining: x.GetRemaining(), ResetAt: x.GetResetAt(), RetryAfter: x.GetRetryAfterMs()},
	}
}
