package monitor

import (
	"cmp"
	"slices"
)

// A Report is what one node has observed. It holds samples and lists rather than
// summaries, so that those of several nodes can be put together.
type Report struct {
	Node     string
	At       int64      // cluster clock of the node, Unix ms
	Policies []Observed // by name
	Denials  []Denial   // at most Recent, oldest first
}

// Observed is what was seen of one policy.
type Observed struct {
	Name            string
	Kind            Kind
	Strategy        string
	Window          int64 // start of the one that the counts are of
	Allowed, Denied int64
	ByLane          [lanes]int64 // denied, by lane in the order of Lanes
	// At most Top counts, the largest first. A list of Top is full: other keys may
	// have been seen as often as its last one.
	TopRequested, TopDenied []Count
	TopByLane               [lanes][]Count
	Limit                   int64     // last seen
	LimitAt                 int64     // when; 0 is never
	Latency                 []float64 // ms, at most Samples of each node, in no order
}

// Report returns what the Hub has observed.
func (h *Hub) Report(node string) Report {
	if h == nil {
		return Report{Node: node}
	}
	r := Report{Node: node, At: h.cfg.Now(), Denials: h.ring.all()}
	for _, t := range *h.taps.Load() {
		r.Policies = append(r.Policies, t.observed())
	}
	slices.SortFunc(r.Policies, func(a, b Observed) int { return cmp.Compare(a.Name, b.Name) })
	return r
}

// Merge puts reports together. Counts of the newest window add up; those of
// nodes that had not begun it are of the past and left out. Lists of keys stay
// over-estimates. The limit is the one seen last. The result's latencies are the samples of
// all, and its denials the newest of all by time.
func Merge(reports ...Report) Report {
	var out Report
	var window int64
	for _, r := range reports {
		window = max(window, windowOf(r.At))
		out.At = max(out.At, r.At)
		for _, p := range r.Policies {
			window = max(window, p.Window)
		}
	}
	parts := make(map[string][]Observed)
	for _, r := range reports {
		for _, p := range r.Policies {
			p.refer(window)
			parts[p.Name] = append(parts[p.Name], p)
		}
		for _, d := range r.Denials {
			d.Node = cmp.Or(d.Node, r.Node)
			out.Denials = append(out.Denials, d)
		}
	}
	for _, p := range parts {
		out.Policies = append(out.Policies, mergeObserved(p))
	}
	slices.SortFunc(out.Policies, func(a, b Observed) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortStableFunc(out.Denials, func(a, b Denial) int { return cmp.Compare(a.At, b.At) })
	out.Denials = out.Denials[max(0, len(out.Denials)-Recent):]
	return out
}

// refer makes the counts those of a window: none if they are of an earlier one.
func (o *Observed) refer(window int64) {
	if o.Window >= window {
		return
	}
	*o = Observed{
		Name: o.Name, Kind: o.Kind, Strategy: o.Strategy, Window: window, Limit: o.Limit, LimitAt: o.LimitAt, Latency: o.Latency,
	}
}

func mergeObserved(parts []Observed) Observed {
	out := Observed{Name: parts[0].Name}
	var requested, denied [][]Count
	var byLane [lanes][][]Count
	for _, p := range parts {
		out.Window = max(out.Window, p.Window)
		out.Allowed += p.Allowed
		out.Denied += p.Denied
		for i := range p.ByLane {
			out.ByLane[i] += p.ByLane[i]
			byLane[i] = append(byLane[i], p.TopByLane[i])
		}
		requested, denied = append(requested, p.TopRequested), append(denied, p.TopDenied)
		out.Latency = append(out.Latency, p.Latency...)
		if p.LimitAt >= out.LimitAt {
			out.Limit, out.LimitAt, out.Kind, out.Strategy = p.Limit, p.LimitAt, p.Kind, p.Strategy
		}
	}
	out.TopRequested, out.TopDenied = mergeCounts(requested...), mergeCounts(denied...)
	for i := range byLane {
		out.TopByLane[i] = mergeCounts(byLane[i]...)
	}
	return out
}
