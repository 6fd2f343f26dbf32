package monitor

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"

	"github.com/tkcoord/tkcoord/strategy"
)

// LensVersion is the version of the snapshot's format.
const LensVersion = "1"

// ModeCluster says that a snapshot is of a whole cluster. The contract's other mode, "process",
// is of one node; we make none.
const ModeCluster = "cluster"

// A Snapshot is what Monitor shows, for all nodes of a cluster together. Its JSON
// is the contract's raw_json; the fields that are ours are Meta's nodes, missing,
// warnings and omittedPolicies, and the node of a denial.
type Snapshot struct {
	Meta          Meta           `json:"meta"`
	Policies      []PolicyView   `json:"policies"` // limiters, then admitters, each by name
	Guards        []Guard        `json:"guards"`
	Stats         []Stat         `json:"stats"`
	RecentDenials []RecentDenial `json:"recentDenials"` // oldest first
	RecentFences  []Fence        `json:"recentFences"`  // oldest first
	Health        *Health        `json:"health,omitempty"`
}

// Meta tells what a snapshot is of.
type Meta struct {
	GeneratedAt int64  `json:"generatedAt"` // cluster clock, Unix ms
	WindowMs    int64  `json:"windowMs"`
	Mode        string `json:"mode"`
	LensVersion string `json:"lensVersion"`
	NodeID      string `json:"nodeId,omitempty"` // that was asked
	// Nodes have been heard; Missing have not, so what they decided is not in here.
	Nodes    []string  `json:"nodes"`
	Missing  []Missing `json:"missing,omitempty"`
	Warnings []string  `json:"warnings,omitempty"`
	// OmittedPolicies were left out, the least busy first, for the snapshot to fit into
	// one message.
	OmittedPolicies int `json:"omittedPolicies,omitempty"`
}

// Missing is a node that was not heard, and why.
type Missing struct {
	Node  string `json:"node"`
	Error string `json:"error"`
}

// A PolicyView shows one policy.
type PolicyView struct {
	Name                string    `json:"name"`
	Kind                string    `json:"kind"`
	Strategy            string    `json:"strategy,omitempty"`
	Analytics           Analytics `json:"analytics"`
	Limit               *int64    `json:"limit,omitempty"` // nil until one was seen
	Latency             *Latency  `json:"latency,omitempty"`
	Forecast            *Forecast `json:"forecast,omitempty"`
	ForecastUnavailable string    `json:"forecastUnavailable,omitempty"` // idle or unsupported
}

// Analytics are the counts of the current window.
type Analytics struct {
	WindowStartedAt int64                 `json:"windowStartedAt"`
	WindowMs        int64                 `json:"windowMs"`
	Allowed         int64                 `json:"allowed"`
	Denied          int64                 `json:"denied"`
	Total           int64                 `json:"total"`
	DenyRate        Number                `json:"denyRate"` // 0 of none
	TopRequested    []KeyCount            `json:"topRequested"`
	TopDenied       []KeyCount            `json:"topDenied"`
	DeniedByLane    map[string]int64      `json:"deniedByLane,omitempty"` // admitters: all four lanes
	TopDeniedByLane map[string][]KeyCount `json:"topDeniedByLane,omitempty"`
}

// A KeyCount is a Count as the contract spells it.
type KeyCount struct {
	Key   string `json:"key"`
	Count int64  `json:"count"`
}

// Forecast of the key that is denied most, else of the one that is asked for most.
type Forecast struct {
	Key             string `json:"key"`
	SpendableNow    int64  `json:"spendableNow"`
	NextReplenishAt int64  `json:"nextReplenishAt"`
	FullAt          int64  `json:"fullAt"`
}

// A Guard is the adaptive limit of one admitter.
type Guard struct {
	Name      string `json:"name"`
	Limit     Number `json:"limit"`
	Inflight  int64  `json:"inflight"`
	RTTNoload Number `json:"rttNoload"` // ms, not finite before the first sample
	LastRTT   Number `json:"lastRtt"`   // ms
}

// A Stat is of a kind of policy that shows more than counts. There is none yet.
type Stat struct {
	Name  string `json:"name"`
	Kind  string `json:"kind"`
	Value any    `json:"value"`
}

// A RecentDenial is a Denial as the contract spells it.
type RecentDenial struct {
	At       int64        `json:"at"`
	Policy   string       `json:"policy"`
	Key      string       `json:"key"`
	Lane     string       `json:"lane,omitempty"`
	Allowed  bool         `json:"allowed"`
	Decision DecisionView `json:"decision"`
	Node     string       `json:"node,omitempty"`
}

// A DecisionView is a decision as the contract spells it.
type DecisionView struct {
	Allowed      bool  `json:"allowed"`
	Limit        int64 `json:"limit"`
	Remaining    int64 `json:"remaining"`
	ResetAt      int64 `json:"resetAt"`
	RetryAfterMs int64 `json:"retryAfterMs"`
}

// A Fence is a lease that was refused for its epoch. There is none yet.
type Fence struct {
	At    int64  `json:"at"`
	Guard string `json:"guard"`
}

// Health is that of what the decisions are made by.
type Health struct {
	Backend        string `json:"backend"`
	FailMode       string `json:"failMode"`
	Reachable      *bool  `json:"reachable,omitempty"`
	LeaseTableSize *int64 `json:"leaseTableSize,omitempty"`
	ReclaimCount   *int64 `json:"reclaimCount,omitempty"`
}

// A Number is written as null where JSON has no number for it: NaN and the
// infinities.
type Number float64

// MarshalJSON implements json.Marshaler.
func (n Number) MarshalJSON() ([]byte, error) {
	if f := float64(n); math.IsNaN(f) || math.IsInf(f, 0) {
		return []byte("null"), nil
	}
	return json.Marshal(float64(n))
}

// Configured is a policy that a snapshot lists, whether anything was seen of it or
// not.
type Configured struct {
	Name, Strategy string
	Kind           Kind
}

// A View is what a snapshot shows beside the reports.
type View struct {
	At       int64  // cluster clock, Unix ms
	Node     string // that was asked
	Missing  []Missing
	Policies []Configured
	Guards   []Guard
	Health   *Health
	// Forecast of a cost of 1; false where the policy has none. May be nil.
	Forecast func(policy, key string) (strategy.Forecast, bool)
}

// NewSnapshot shows the reports of the nodes that answered. Each node has one
// report. Policies that are not configured are left out.
func NewSnapshot(v View, reports []Report) Snapshot {
	all := Merge(append([]Report{{At: v.At}}, reports...)...)
	s := Snapshot{
		Meta: Meta{
			GeneratedAt: v.At, WindowMs: Window, Mode: ModeCluster, LensVersion: LensVersion, NodeID: v.Node,
			Nodes: []string{}, Missing: v.Missing,
		},
		Guards: append([]Guard{}, v.Guards...), Stats: []Stat{}, RecentFences: []Fence{}, Health: v.Health,
	}
	for _, r := range reports {
		s.Meta.Nodes = append(s.Meta.Nodes, r.Node)
	}
	slices.Sort(s.Meta.Nodes)
	for _, m := range v.Missing {
		s.Meta.Warnings = append(s.Meta.Warnings, fmt.Sprintf("node %s did not answer, so what it decided is missing: %s", m.Node, m.Error))
	}
	s.Policies = v.policies(windowOf(all.At), all.Policies)
	s.RecentDenials = recent(all.Denials)
	return s
}

// policies shows the configured ones.
func (v *View) policies(window int64, seen []Observed) []PolicyView {
	byName := make(map[string]*Observed, len(seen))
	for i := range seen {
		byName[seen[i].Name] = &seen[i]
		window = max(window, seen[i].Window)
	}
	configured := slices.Clone(v.Policies)
	slices.SortFunc(configured, func(a, b Configured) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
	views := make([]PolicyView, 0, len(configured))
	for _, c := range configured {
		o := byName[c.Name]
		if o == nil {
			o = &Observed{Window: window}
		}
		views = append(views, v.policy(c, o))
	}
	if o := byName[Other]; o != nil && !slices.ContainsFunc(configured, func(c Configured) bool { return c.Name == Other }) {
		views = append(views, v.policy(Configured{Name: Other, Kind: o.Kind}, o))
	}
	return views
}

func (v *View) policy(c Configured, o *Observed) PolicyView {
	p := PolicyView{
		Name: c.Name, Kind: c.Kind.String(), Strategy: c.Strategy,
		Analytics: Analytics{
			WindowStartedAt: o.Window, WindowMs: Window, Allowed: o.Allowed, Denied: o.Denied, Total: o.Allowed + o.Denied,
			TopRequested: keyCounts(o.TopRequested), TopDenied: keyCounts(o.TopDenied),
		},
	}
	if p.Analytics.Total > 0 {
		p.Analytics.DenyRate = Number(float64(o.Denied) / float64(p.Analytics.Total))
	}
	if o.LimitAt != 0 {
		p.Limit = &o.Limit
	}
	if len(o.Latency) > 0 {
		l := summarise(o.Latency)
		p.Latency = &l
	}
	if c.Kind == Admitter {
		p.Strategy = "" // the contract shows none
		p.Analytics.DeniedByLane, p.Analytics.TopDeniedByLane = map[string]int64{}, map[string][]KeyCount{}
		for i, l := range Lanes {
			p.Analytics.DeniedByLane[l.String()] = o.ByLane[i]
			p.Analytics.TopDeniedByLane[l.String()] = keyCounts(o.TopByLane[i])
		}
	}
	p.Forecast, p.ForecastUnavailable = v.forecast(c, o)
	return p
}

// forecast returns that of the hottest key, or why there is none.
func (v *View) forecast(c Configured, o *Observed) (*Forecast, string) {
	hottest := slices.Concat(o.TopDenied, o.TopRequested)
	switch {
	case c.Kind == Admitter || v.Forecast == nil:
		return nil, "unsupported"
	case len(hottest) == 0:
		return nil, "idle"
	}
	f, ok := v.Forecast(c.Name, hottest[0].Key)
	if !ok {
		return nil, "unsupported"
	}
	return &Forecast{Key: hottest[0].Key, SpendableNow: f.SpendableNow, NextReplenishAt: f.NextReplenishAt, FullAt: f.FullAt}, ""
}

func keyCounts(counts []Count) []KeyCount {
	out := make([]KeyCount, len(counts))
	for i, c := range counts {
		out[i] = KeyCount(c)
	}
	return out
}

func recent(denials []Denial) []RecentDenial {
	out := make([]RecentDenial, len(denials))
	for i, d := range denials {
		out[i] = RecentDenial{
			At: d.At, Policy: d.Policy, Key: d.Key, Lane: d.Lane.String(), Node: d.Node,
			Decision: DecisionView{d.Decision.Allowed, d.Decision.Limit, d.Decision.Remaining, d.Decision.ResetAt, d.Decision.RetryAfter},
		}
	}
	return out
}

// Busiest keeps the n policies that were asked for most, in the order they had, and
// counts the others.
func (s *Snapshot) Busiest(n int) {
	if len(s.Policies) <= n {
		return
	}
	totals := make([]int64, len(s.Policies))
	for i, p := range s.Policies {
		totals[i] = p.Analytics.Total
	}
	slices.SortFunc(totals, func(a, b int64) int { return cmp.Compare(b, a) })
	least := totals[n-1]
	room := 0 // for those with just that many
	for _, t := range totals[:n] {
		if t == least {
			room++
		}
	}
	s.Meta.OmittedPolicies += len(s.Policies) - n
	s.Policies = slices.DeleteFunc(s.Policies, func(p PolicyView) bool {
		if p.Analytics.Total == least {
			room--
			return room < 0
		}
		return p.Analytics.Total < least
	})
}
