package monitor

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tkcoord/tkcoord/strategy"
)

// Config is what a Hub needs.
type Config struct {
	// Now returns the cluster clock in Unix ms. Windows are cut by it, so that those
	// of all nodes are the same ones.
	Now func() int64
	// Configured returns the names of the policies that there are. When MaxPolicies
	// have counts, others than those make room, at most once in a window. nil: none
	// ever does.
	Configured func() []string
}

// A Hub records what one node decides. Recording takes constant time and, once a
// policy and its most frequent keys are known, allocates nothing. A nil Hub records
// nothing. Safe for concurrent use.
type Hub struct {
	cfg   Config
	taps  atomic.Pointer[map[string]*tap] // replaced, never changed
	ring  ring
	watch watchers

	mu    sync.Mutex // guards the making of taps
	swept int64      // the window in which there was last room made
}

// New returns a Hub that has seen nothing.
func New(cfg Config) *Hub {
	h := &Hub{cfg: cfg}
	h.taps.Store(&map[string]*tap{})
	return h
}

// Decision records one answered check; a batch of keys is recorded key by key, each
// with an equal share of the time. cost is in units of the policy, at least 1.
func (h *Hub) Decision(policy, strategy, key string, cost int64, d strategy.Decision, took time.Duration) {
	if h == nil {
		return
	}
	h.record(policy, event{kind: Limiter, strategy: strategy, key: key, cost: cost, d: d, ms: millis(took)})
}

// An Admission is one answered request for a slot.
type Admission struct {
	Policy   string
	Strategy string // "" without a rate axis
	Key      string
	Cost     int64
	Decision strategy.Decision
	Lane     Lane // what denied it: the binding axis, or Policy
	Took     time.Duration
}

// Admission records one answered request for a slot.
func (h *Hub) Admission(a Admission) {
	if h == nil {
		return
	}
	h.record(a.Policy, event{
		kind: Admitter, strategy: a.Strategy, key: a.Key, cost: a.Cost, d: a.Decision, lane: a.Lane, ms: millis(a.Took),
	})
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func (h *Hub) record(policy string, e event) {
	e.now = h.cfg.Now()
	e.key = shown(e.key)
	if e.d.Allowed {
		e.lane = None
	}
	if int(e.lane) > lanes {
		e.lane = Policy
	}
	h.tap(policy).record(&e)
	if e.d.Allowed {
		return
	}
	d := Denial{At: e.now, Policy: policy, Key: e.key, Lane: e.lane, Decision: e.d}
	h.ring.add(d)
	h.watch.tell(d)
}

// tap returns the tap of a policy, or Other's.
func (h *Hub) tap(policy string) *tap {
	if t := (*h.taps.Load())[policy]; t != nil {
		return t
	}
	return h.add(policy)
}

// add makes the tap of a policy. When there are as many as may be, it makes room
// once in a window by forgetting what is no longer configured.
func (h *Hub) add(policy string) *tap {
	h.mu.Lock()
	defer h.mu.Unlock()
	old := *h.taps.Load()
	if t := old[policy]; t != nil {
		return t
	}
	next := maps.Clone(old)
	if w := windowOf(h.cfg.Now()); len(next) >= MaxPolicies && h.cfg.Configured != nil && w > h.swept {
		h.swept = w
		names := h.cfg.Configured()
		slices.Sort(names)
		maps.DeleteFunc(next, func(name string, _ *tap) bool {
			_, found := slices.BinarySearch(names, name)
			return !found && name != Other
		})
	}
	if len(next) >= MaxPolicies {
		if t := next[Other]; t != nil {
			return t
		}
		policy = Other
	}
	t := &tap{name: policy}
	next[policy] = t
	h.taps.Store(&next)
	return t
}

// A ring holds the newest denials.
type ring struct {
	mu sync.Mutex // guards the rest
	n  int        // recorded so far, at most 2*Recent: then it falls back by Recent
	at [Recent]Denial
}

func (r *ring) add(d Denial) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at[r.n%Recent] = d
	if r.n++; r.n == 2*Recent {
		r.n = Recent
	}
}

// all returns the denials, oldest first.
func (r *ring) all() []Denial {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.n < Recent {
		return append([]Denial(nil), r.at[:r.n]...)
	}
	return append(append(make([]Denial, 0, Recent), r.at[r.n%Recent:]...), r.at[:r.n%Recent]...)
}
