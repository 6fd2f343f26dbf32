package tier

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/policy"
	"github.com/tkcoord/tkcoord/strategy"
	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A cluster is the real state machine with the log replaced by a lock, on the fake
// clock of synctest.
type cluster struct {
	t   *testing.T
	way time.Duration // that a question or an answer takes

	mu                sync.Mutex // guards the rest
	m                 *fsm.Machine
	index             uint64
	exchanges, strict int
	down              error // what it answers instead, if set
}

// inCluster runs f at the start of a minute.
func inCluster(t *testing.T, f func(t *testing.T, c *cluster), policies ...policy.Policy) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{t: t, m: fsm.New()}
		settings := fsm.DefaultSettings()
		settings.Rates = clock.Rates{} // a bubble has one clock
		c.apply(fsm.Genesis{ClusterID: "test", Settings: settings})
		c.apply(fsm.Policies{Put: policies})
		f(t, c)
	})
}

// policies puts policies into force.
func (c *cluster) apply(cmd fsm.Command) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if res, _ := c.commit(cmd); res.Err != nil {
		c.t.Fatalf("%T: %v", cmd, res.Err)
	}
}

// commit appends an entry with one command. mu is held.
func (c *cluster) commit(cmd fsm.Command) (fsm.Result, clock.Millis) {
	var b fsm.Batch
	b.Add(cmd)
	c.index++
	out, err := c.m.Apply(c.index, b.Seal(clock.Millis(time.Now().UnixMilli()), 1), true)
	if err != nil {
		panic(err)
	}
	return out.Results[0], out.Now
}

// ask takes a command there and its result back.
func (c *cluster) ask(ctx context.Context, cmd fsm.Command, count *int) (fsm.Result, clock.Millis, error) {
	time.Sleep(c.way)
	c.mu.Lock()
	if c.down != nil || ctx.Err() != nil {
		defer c.mu.Unlock()
		return fsm.Result{}, 0, errors.Join(c.down, ctx.Err())
	}
	*count++
	res, now := c.commit(cmd)
	c.mu.Unlock()
	time.Sleep(c.way)
	return res, now, res.Err
}

func (c *cluster) check(ctx context.Context, name, key string, cost int64) (strategy.Decision, clock.Millis, error) {
	res, now, err := c.ask(ctx, &fsm.Check{Policy: name, Keys: []string{key}, Cost: cost}, &c.strict)
	if err != nil {
		return strategy.Decision{}, 0, err
	}
	if res.KeyErrs != nil {
		return strategy.Decision{}, 0, res.KeyErrs[0]
	}
	return res.Decisions[0], now, nil
}

func (c *cluster) exchange(ctx context.Context, req *tkcoordv1.ExchangeRequest) (*tkcoordv1.ExchangeResponse, error) {
	cmd := &fsm.Exchange{EdgeID: req.EdgeId, Incarnation: req.Incarnation, Session: escrow.HolderID(req.Session), Seq: req.Seq}
	for _, a := range req.Asks {
		cmd.Asks = append(cmd.Asks, fsm.Ask{
			Policy: a.Policy, Key: a.Key, Window: clock.Millis(a.WindowStartMs), Used: escrow.Credits(a.Used),
			Returned: escrow.Credits(a.Returned), Need: escrow.Credits(a.Need), Want: escrow.Credits(a.Want),
		})
	}
	res, now, err := c.ask(ctx, cmd, &c.exchanges)
	if errors.Is(err, fsm.ErrSession) {
		s, _ := status.New(codes.Aborted, err.Error()).WithDetails(&errdetails.ErrorInfo{Reason: "SESSION_ENDED", Domain: "tkcoord"})
		return nil, s.Err()
	}
	if err != nil {
		return nil, err
	}
	out := &tkcoordv1.ExchangeResponse{Session: uint64(res.Session), ClockMs: int64(now)}
	for i := range res.Answers {
		out.Answers = append(out.Answers, wireAnswer(&res.Answers[i]))
	}
	return out, nil
}

func wireAnswer(a *fsm.Answer) *tkcoordv1.Answer {
	switch {
	case errors.Is(a.Err, fsm.ErrUnknownPolicy):
		return &tkcoordv1.Answer{Problem: &tkcoordv1.Problem{Reason: tkcoordv1.Reason_REASON_UNKNOWN_POLICY, Message: a.Err.Error()}}
	case errors.Is(a.Err, fsm.ErrExhausted):
		return &tkcoordv1.Answer{Problem: &tkcoordv1.Problem{Reason: tkcoordv1.Reason_REASON_EXHAUSTED, Message: a.Err.Error()}}
	case a.Err != nil:
		return &tkcoordv1.Answer{Problem: &tkcoordv1.Problem{Message: a.Err.Error()}}
	}
	return &tkcoordv1.Answer{
		WindowStartMs: int64(a.Window.Start), WindowEndMs: int64(a.Window.End), Granted: int64(a.Granted), TtlMs: int64(a.TTL),
		Limit: int64(a.Limit), Left: int64(a.Left), RetryAfterMs: int64(a.Retry), WindowMs: int64(a.Length),
	}
}

// out returns the credits of a key that are out.
func (c *cluster) out(key string) (n escrow.Credits) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.m.Freeze().Budgets(func(b fsm.BudgetState) bool {
		if b.Key == key {
			n = b.Out
		}
		return true
	})
	return n
}

func (c *cluster) counts() (exchanges, strict int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.exchanges, c.strict
}

func (c *cluster) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.down = err
}

// tier returns the tier of a node, closed with the test.
func (c *cluster) tier(node string, change ...func(*Config)) *Tier {
	c.t.Helper()
	cfg := DefaultConfig()
	cfg.Authority, cfg.Edge.Exchange, cfg.Edge.EdgeID = c.check, c.exchange, node
	cfg.Edge.Logger = slog.New(slog.DiscardHandler)
	cfg.Clock = func() clock.Millis { return clock.Millis(time.Now().UnixMilli()) }
	for _, f := range change {
		f(&cfg)
	}
	t, err := New(cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() {
		if err := t.Close(); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			c.t.Error(err)
		}
	})
	return t
}

// decide checks and fails the test on an error.
func (c *cluster) decide(t *Tier, p policy.Policy, key string, cost int64) strategy.Decision {
	c.t.Helper()
	d, err := t.Check(c.t.Context(), &p, key, cost)
	if err != nil {
		c.t.Fatalf("Check(%q, %d): %v", key, cost, err)
	}
	return d
}

func windows(limit escrow.Credits, length time.Duration) policy.Policy {
	return policy.Policy{
		Name: "p", Strategy: policy.FixedWindow, Limit: limit, MaxKeys: 1000,
		Cadence: escrow.Cadence{Kind: escrow.Fixed, Period: clock.Millis(length.Milliseconds())},
	}
}

// leased is a policy of windows that nodes lease.
func leased(limit escrow.Credits, length time.Duration, tier policy.Tier) policy.Policy {
	p := windows(limit, length)
	p.Kind, p.Tier = policy.TwoTier, tier
	p.Tier.Mode = policy.Leased
	return p
}

func federated(limit escrow.Credits, length time.Duration, batch int) policy.Policy {
	p := windows(limit, length)
	p.Kind, p.Batch = policy.Federated, batch
	return p
}

var errDown = errors.New("no leader")
