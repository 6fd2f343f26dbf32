package tier

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/tkcoord/tkcoord/edge"
	"github.com/tkcoord/tkcoord/policy"
	"github.com/tkcoord/tkcoord/strategy"
)

// A ledger is a policy that counts on one, as this node spends from it.
type ledger struct {
	*edge.Limiter
}

// fromLedger decides from the credits of the node's edge. What the edge cannot
// take or did not settle, the log decides: it counts on the same ledger.
func (t *Tier) fromLedger(ctx context.Context, p *policy.Policy, key string, cost int64) (strategy.Decision, error) {
	if cost > int64(p.Limit) { // no grant ever suffices
		return strategy.Decision{}, errUndecided
	}
	l, err := t.ledgers.of(p, t.openLedger)
	if err != nil {
		return strategy.Decision{}, fmt.Errorf("%w: %w", errUndecided, err)
	}
	d, err := l.Check(ctx, key, cost)
	switch {
	case err == nil && (d.Allowed || d.Left == 0):
		return reply(p, &d), nil
	case errors.Is(err, edge.ErrUnavailable) && p.Kind == policy.Federated:
		return t.cutOff(p, &d), nil
	case err != nil && ctx.Err() != nil:
		return strategy.Decision{}, err
	}
	// Too many keys for the edge, a key that it does not take, a bound of the
	// ledger, or a denial at the turn of a window, when credits came too late.
	return strategy.Decision{}, errUndecided
}

// reply puts an edge's decision into the words of the contract: what remains is
// what this node holds.
func reply(p *policy.Policy, d *edge.Decision) strategy.Decision {
	r := strategy.Decision{Allowed: d.Allowed, Limit: int64(p.Limit), Remaining: d.Held, ResetAt: d.ResetAt.UnixMilli()}
	if d.Allowed {
		return r
	}
	if p.Kind != policy.Federated {
		r.Remaining = d.Left // of the ledger, that is 0
	}
	r.RetryAfter = max(1, ceilMillis(d.ResetAfter))
	return r
}

// cutOff is the denial of a federated policy while no coordinator answers: there
// it is no error.
func (t *Tier) cutOff(p *policy.Policy, d *edge.Decision) strategy.Decision {
	now := t.cfg.Clock()
	end := p.Cadence.At(now).End
	return strategy.Decision{Limit: int64(p.Limit), Remaining: d.Held, ResetAt: int64(end), RetryAfter: max(1, int64(end-now))}
}

func ceilMillis(d time.Duration) int64 {
	return int64(math.Ceil(float64(d) / float64(time.Millisecond)))
}

// openLedger returns the limiter of a policy with its batch.
func (t *Tier) openLedger(p *policy.Policy) (*ledger, error) {
	e, err := t.openEdge()
	if err != nil {
		return nil, err
	}
	b := edge.Batch{
		Size: int64(p.Tier.Batch), LowWater: int64(min(p.Tier.LowWater, strategy.MaxCost)),
		ReturnIdle: time.Duration(p.Tier.ReturnIdleAfter) * time.Millisecond,
	}
	if p.Kind == policy.Federated {
		b = edge.Batch{Size: int64(p.Batch)}
	}
	l := e.Limiter(p.Name)
	return &ledger{l}, l.SetBatch(b)
}

// openEdge returns the node's edge, opened when it is first needed.
func (t *Tier) openEdge() (*edge.Edge, error) {
	if e := t.edge.Load(); e != nil {
		return e, nil
	}
	t.opening.Lock()
	defer t.opening.Unlock()
	if t.closed {
		return nil, edge.ErrClosed
	}
	if e := t.edge.Load(); e != nil {
		return e, nil
	}
	ready, cancel := context.WithCancel(t.ctx)
	cancel() // not waiting for the first exchange, which the first question joins
	e, err := edge.Open(ready, t.cfg.Edge)
	if err != nil {
		return nil, err
	}
	t.edge.Store(e)
	return e, nil
}
