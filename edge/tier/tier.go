// Package tier decides checks at a node, from credits that the node itself holds:
// policies of the kind twoTier in the modes leased and cached-deny, and
// federated ones. Such a check costs an entry of the log only when the node needs
// more credits.
//
// A policy that counts on a ledger is served through package edge: the node is an
// edge of its own cluster. Its credits die with their window, whatever
// windowCoupled says, and no more than the limit is ever admitted. The others
// (gcra, tokenBucket, the sliding windows) have no window that credits could belong
// to; for them the node debits a batch by a strict check and spends it, as the
// ThrottleKit contract does.
package tier

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tkcoord/tkcoord/edge"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/policy"
	"github.com/tkcoord/tkcoord/strategy"
)

// An Authority decides one check in the log. The returned instant is that of the
// decision, on the cluster clock.
type Authority func(ctx context.Context, policy, key string, cost int64) (strategy.Decision, clock.Millis, error)

// Config is what a Tier needs. Start from DefaultConfig.
type Config struct {
	// Authority decides what this node cannot, and debits batches.
	Authority Authority
	// Edge describes the node as an edge of its cluster: EdgeID, Exchange, Logger and
	// Monotonic are the node's, the rest has defaults. It fails closed: what becomes
	// of a check that nobody can decide is for the caller to say.
	Edge edge.Config
	// Clock reads the cluster clock as this node knows it.
	Clock func() clock.Millis
	// MaxKeys bounds the keys that do not count on a ledger, of all policies together,
	// in [1, 1<<24]. Each takes about 300 bytes. The one unused for longest makes
	// room for a new one: its credits are lost, and a denial is no longer remembered.
	MaxKeys int
	// LeaseTimeout bounds one debit of a batch. Its reply counts even when nobody
	// waits for it any more.
	LeaseTimeout time.Duration
}

// DefaultConfig returns a configuration that lacks Authority, Clock and what the
// node knows of Edge.
func DefaultConfig() Config {
	e := edge.DefaultConfig()
	e.MaxKeys = 1 << 18
	return Config{Edge: e, MaxKeys: 1 << 18, LeaseTimeout: 5 * time.Second}
}

// Validate reports everything that is out of range.
func (c *Config) Validate() error {
	errs := []error{}
	if err := c.Edge.Validate(); err != nil {
		errs = append(errs, fmt.Errorf("Edge: %w", err))
	}
	if c.Edge.Exchange == nil {
		errs = append(errs, errors.New("Edge.Exchange: missing"))
	}
	if c.Edge.Fail != edge.FailClosed || c.Edge.Shadow {
		errs = append(errs, errors.New("Edge: a node neither fails open nor runs in shadow mode"))
	}
	if c.Authority == nil {
		errs = append(errs, errors.New("Authority: missing"))
	}
	if c.Clock == nil {
		errs = append(errs, errors.New("Clock: missing"))
	}
	if c.MaxKeys < 1 || c.MaxKeys > 1<<24 {
		errs = append(errs, fmt.Errorf("MaxKeys: %d is outside [1, %d]", c.MaxKeys, 1<<24))
	}
	if c.LeaseTimeout < time.Millisecond || c.LeaseTimeout > time.Minute {
		errs = append(errs, fmt.Errorf("LeaseTimeout: %v is outside [%v, %v]", c.LeaseTimeout, time.Millisecond, time.Minute))
	}
	return errors.Join(errs...)
}

// A Tier holds the credits of one node. All methods may be called by any number
// of goroutines at once.
type Tier struct {
	authority Authority
	now       func() clock.Nanos
	cfg       Config
	log       *slog.Logger
	seed      maphash.Seed

	ctx  context.Context // of leases; ends with Close
	stop context.CancelFunc
	work sync.WaitGroup
	ends sync.Once

	edge    atomic.Pointer[edge.Edge] // nil until a ledger is needed
	opening sync.Mutex                // one at a time opens or closes it
	closed  bool                      // guarded by opening

	ledgers books[*ledger]
	rates   books[*book]
	decided atomic.Uint64 // by the log although credits were to
	shards  []shard
	refills chan struct{} // one token for each refill in the background
}

// maxRefills bounds the refills in the background. A key that finds no place for
// its own tries again with its next check.
const maxRefills = 256

// New returns a tier that holds nothing. It talks to nobody before the first check.
// Close ends it.
func New(cfg Config) (*Tier, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("tier: %w", err)
	}
	t := &Tier{
		authority: cfg.Authority, now: cfg.Edge.Monotonic, cfg: cfg, log: cfg.Edge.Logger, seed: maphash.MakeSeed(),
		shards: newShards(cfg.MaxKeys), refills: make(chan struct{}, maxRefills),
	}
	t.ctx, t.stop = context.WithCancel(context.Background())
	return t, nil
}

// Check decides on cost units, in [1, strategy.MaxCost], of a key. A denial is an
// answer; an error says that there is none. Nobody may change the policy that p
// points to, now or later: a changed policy is another one.
func (t *Tier) Check(ctx context.Context, p *policy.Policy, key string, cost int64) (strategy.Decision, error) {
	if cost < 1 || cost > strategy.MaxCost {
		return strategy.Decision{}, fmt.Errorf("cost: got %d, want 1 to %d", cost, int64(strategy.MaxCost))
	}
	if p.Kind == policy.TwoTier && p.Tier.Mode == policy.CachedDeny {
		return t.unlessDenied(ctx, p, key, cost)
	}
	leased := p.Kind == policy.Federated || p.Kind == policy.TwoTier && p.Tier.Mode == policy.Leased
	if !leased {
		return t.strict(ctx, p, key, cost)
	}
	spend := t.fromCredits
	if p.Ledger() {
		spend = t.fromLedger
	}
	d, err := spend(ctx, p, key, cost)
	if errors.Is(err, errUndecided) {
		t.decided.Add(1)
		return t.strict(ctx, p, key, cost)
	}
	return d, err
}

// errUndecided: credits cannot decide this check, for want of room or of time. The
// log can.
var errUndecided = errors.New("not decided by credits")

// strict has the log decide.
func (t *Tier) strict(ctx context.Context, p *policy.Policy, key string, cost int64) (strategy.Decision, error) {
	d, _, err := t.authority(ctx, p.Name, key, cost)
	return d, err
}

// Close gives back what ledgers lent and ends the goroutines of the tier, within
// the edge's CloseTimeout and LeaseTimeout. Later checks are decided by the log. A
// second call does nothing.
func (t *Tier) Close() (err error) {
	t.end(func(e *edge.Edge) { err = e.Close() })
	return err
}

// Abandon is Close for a node that crashes: nothing is given back.
func (t *Tier) Abandon() { t.end((*edge.Edge).Abandon) }

func (t *Tier) end(leave func(*edge.Edge)) {
	t.ends.Do(func() {
		t.opening.Lock()
		t.closed = true
		t.opening.Unlock()
		if e := t.edge.Load(); e != nil {
			leave(e)
		}
		for i := range t.shards { // NB: no debit begins after this, so that Wait sees all
			t.shards[i].close()
		}
		t.stop()
		t.work.Wait()
	})
}

// Stats are what a tier did and holds.
type Stats struct {
	Edge    edge.Stats // zero until a ledger was needed
	Keys    int        // that do not count on a ledger
	Credits int64      // held for them
	Evicted uint64     // keys that made room for others
	Leases  uint64     // batches that were debited
	Refused uint64     // batches that were denied
	Decided uint64     // checks that the log decided although credits were to, for want of room or of time
}

// Stats counts over all keys.
func (t *Tier) Stats() Stats {
	s := Stats{Decided: t.decided.Load()}
	if e := t.edge.Load(); e != nil {
		s.Edge = e.Stats()
	}
	for i := range t.shards {
		t.shards[i].count(&s)
	}
	return s
}
