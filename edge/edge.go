// Package edge is the SDK of tkcoord: it admits requests locally, in
// nanoseconds, from credits that a coordinator cluster leased to this process,
// and never admits more than the limit of a policy over all processes.
//
//	e, err := edge.Open(ctx, cfg)
//	api := e.Limiter("api")
//	d, err := api.Check(ctx, clientIP, 1) // may wait for one exchange
//	ok := api.Allow(clientIP, 1)          // never waits
//
// One goroutine talks to the coordinator. While an exchange is under way the
// next one collects: everything that keys need, report and return goes into one
// message, and there is never more than one under way. Credits are asked for
// before they run out (size.go has the rule), returned when they lie idle, and
// spent by the holder's rule of package escrow only: no more than granted, and
// nothing from the deadline on. An edge that loses its coordinator lives on what
// it holds; only a request that finds neither credits nor a coordinator is
// decided by the fail policy.
package edge

import (
	"context"
	crand "crypto/rand"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/tkcoord/tkcoord/api/throttlekitv1"
	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/internal/bug"
)

// An Edge holds the credits of this process. All methods may be called by any
// number of goroutines at once.
type Edge struct {
	now     func() clock.Nanos
	onAdmit func(policy, key string, n int64, window escrow.Window, at clock.Nanos)
	cfg     Config
	log     *slog.Logger
	seed    maphash.Seed
	queue   queue
	away    atomic.Bool           // the coordinator has been silent for longer than Patience
	stop    atomic.Pointer[error] // why nothing is asked any more
	keeps   atomic.Bool           // some limiter keeps credits with idle keys
	outcast atomic.Int64          // reading until which another process has this edge's name; 0 for not at all

	// exchange asks the coordinator once; nodes is nil where Config.Exchange does.
	exchange func(context.Context, *tkcoordv1.ExchangeRequest) (*tkcoordv1.ExchangeResponse, error)
	nodes    *nodes

	cancel  context.CancelFunc
	work    sync.WaitGroup // the goroutines of this edge
	greet   sync.Once      // closes greeted
	greeted chan struct{}  // closed after the first attempt
	halted  chan struct{}  // closed when stop is set, by Close
	metrics func()         // unregisters them
	closing sync.Once
	closed  error

	// debit asks for a Debit once; nil where Config.Exchange leaves no way to.
	debit func(context.Context, *throttlekitv1.DebitRequest) (*throttlekitv1.DebitResponse, error)

	// tables guards limiters, the writing side of their tables, meters, and keys.
	// It is taken after mu if both are.
	tables     sync.Mutex
	limiters   map[string]*Limiter
	meters     map[string]*Meter
	keys       int
	evicted    uint64
	crowdedOut uint64

	// mu guards what follows, the account of every key, and those methods of
	// leases that belong to one goroutine. Nothing waits while holding it.
	mu          sync.Mutex
	pending     []*Key // queued, oldest first
	due         dueHeap
	incarnation uint64
	tookOverAt  clock.Nanos // when the name was last taken back; 0 for never
	session     uint64
	seq         uint64
	rates       clock.Rates // the wider of the configured and the cluster's
	policies    uint64      // newest version heard of
	hello       bool        // exchange even if there is nothing to ask
	answeredAt  clock.Nanos // when the newest exchange was answered
	retiring    bool        // Close returns everything
	relieveAt   clock.Nanos
	fails       int         // attempts in a row that were not answered
	failingFrom clock.Nanos // when the first of them was sent
	rtt         clock.Nanos // of exchanges, smoothed

	// Counted for Stats, under mu.
	exchanges, asks, failures, sessionsEnded uint64
}

// Open starts an edge and waits for its first exchange, no longer than ctx and
// one AttemptTimeout. An absent coordinator is no error: the edge goes on
// trying, and meanwhile the fail policy decides. Close ends it.
func Open(ctx context.Context, cfg Config) (*Edge, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("open edge: %w", err)
	}
	e := newEdge(cfg)
	if e.exchange == nil {
		e.nodes = newNodes(cfg)
		e.exchange, e.debit = e.nodes.exchange, e.nodes.debit
	}
	if err := e.instrument(cfg.Meter); err != nil {
		return nil, fmt.Errorf("open edge: %w", err)
	}
	e.start()
	select {
	case <-e.greeted:
	case <-ctx.Done():
	}
	return e, nil
}

// newEdge returns an edge that does nothing yet.
func newEdge(cfg Config) *Edge {
	return &Edge{
		now: cfg.Monotonic, onAdmit: cfg.OnAdmit, exchange: cfg.Exchange, cfg: cfg, log: cfg.Logger.With("edge", cfg.EdgeID),
		seed: maphash.MakeSeed(), queue: queue{wake: make(chan struct{}, 1)},
		cancel: func() {}, greeted: make(chan struct{}), halted: make(chan struct{}), metrics: func() {},
		limiters: make(map[string]*Limiter), meters: make(map[string]*Meter), rates: cfg.Rates, incarnation: randomIncarnation(), hello: true,
	}
}

// start starts the goroutines of the edge.
func (e *Edge) start() {
	ctx, cancel := context.WithCancel(context.Background())
	e.cancel = cancel
	e.work.Go(func() { e.run(ctx) })
	if e.nodes != nil {
		e.work.Go(func() { e.watch(ctx) })
	}
}

// randomIncarnation draws the number of a holder, not 0.
func randomIncarnation() uint64 {
	if bug.Planted(bug.SameHolder) {
		return 1
	}
	var b [8]byte
	_, _ = crand.Read(b[:]) // never fails
	return max(1, binary.LittleEndian.Uint64(b[:]))
}

// Limiter returns the limiter of a policy, the same one each time. Whether the
// cluster has such a policy shows when a key is asked about.
func (e *Edge) Limiter(policy string) *Limiter {
	e.tables.Lock()
	defer e.tables.Unlock()
	if l, ok := e.limiters[policy]; ok {
		return l
	}
	l := &Limiter{edge: e, policy: policy, keys: newTable(e.seed)}
	switch {
	case policy == "" || len(policy) > maxPolicyName || !printable(policy):
		l.err = fmt.Errorf("policy %q, want 1 to %d bytes without control characters: %w", shown(policy), maxPolicyName, ErrInvalid)
		return l
	case len(e.limiters) >= maxLimiters:
		l.err = fmt.Errorf("policy %q would be one of more than %d: %w", policy, maxLimiters, ErrTooManyKeys)
		return l
	}
	e.limiters[policy] = l
	return l
}

// Err says why the edge asks for no credits: ErrClosed for good, ErrReplaced for
// up to a minute, or nil while it does ask.
func (e *Edge) Err() error { return e.stopped() }

func (e *Edge) stopped() error {
	if err := e.stop.Load(); err != nil {
		return *err
	}
	if e.outcast.Load() != 0 {
		return ErrReplaced
	}
	return nil
}
