package edge

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/policy"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// A cluster is the real state machine behind a door: what a cluster does, with
// the log replaced by a lock.
type cluster struct {
	stamp func() clock.Millis // read by the leader for each entry

	mu        sync.Mutex // guards the rest
	m         *fsm.Machine
	index     uint64
	exchanges int
	asked     map[string]int // exchanges that asked about a key
	down      error          // what exchanges fail with
}

func newCluster(tb testing.TB, stamp func() clock.Millis, settings fsm.Settings, policies ...policy.Policy) *cluster {
	tb.Helper()
	c := &cluster{stamp: stamp, m: fsm.New(), asked: make(map[string]int)}
	c.apply(tb, fsm.Genesis{ClusterID: "test", Settings: settings})
	c.apply(tb, fsm.Policies{Put: policies})
	return c
}

// perWindow is a policy of limit per window of a fixed length.
func perWindow(name string, limit escrow.Credits, length time.Duration) policy.Policy {
	return policy.Policy{
		Name: name, Strategy: policy.FixedWindow, Limit: limit, MaxKeys: policy.DefaultMaxKeys,
		Cadence: escrow.Cadence{Kind: escrow.Fixed, Period: clock.Millis(length.Milliseconds())},
	}
}

// apply commits one command and fails the test if it is refused.
func (c *cluster) apply(tb testing.TB, cmd fsm.Command) {
	tb.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if res, _ := c.commit(cmd); res.Err != nil {
		tb.Fatalf("%T: %v", cmd, res.Err)
	}
}

// commit appends an entry with one command. mu is held.
func (c *cluster) commit(cmd fsm.Command) (fsm.Result, clock.Millis) {
	var b fsm.Batch
	b.Add(cmd)
	c.index++
	out, err := c.m.Apply(c.index, b.Seal(c.stamp(), 1), true)
	if err != nil {
		panic(err)
	}
	return out.Results[0], out.Now
}

// exchange is what the Edge door does.
func (c *cluster) exchange(ctx context.Context, req *tkcoordv1.ExchangeRequest) (*tkcoordv1.ExchangeResponse, error) {
	if err := ctx.Err(); err != nil {
		return nil, status.FromContextError(err).Err()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.down != nil {
		return nil, c.down
	}
	cmd := &fsm.Exchange{EdgeID: req.EdgeId, Incarnation: req.Incarnation, Session: escrow.HolderID(req.Session), Seq: req.Seq}
	for _, a := range req.Asks {
		ask := fsm.Ask{
			Policy: a.Policy, Key: a.Key, Window: clock.Millis(a.WindowStartMs),
			Used: escrow.Credits(a.Used), Returned: escrow.Credits(a.Returned),
			Need: escrow.Credits(a.Need), Want: escrow.Credits(a.Want),
		}
		if err := ask.Validate(); err != nil {
			panic(err) // the edge must not send what is out of range
		}
		cmd.Asks = append(cmd.Asks, ask)
		c.asked[a.Key]++
	}
	if err := cmd.Validate(); err != nil {
		panic(err)
	}
	c.exchanges++
	res, now := c.commit(cmd)
	if res.Err != nil {
		return nil, c.status(res.Err)
	}
	out := &tkcoordv1.ExchangeResponse{Session: uint64(res.Session), ClockMs: int64(now), Index: c.index, PolicyVersion: c.m.PolicyVersion()}
	rates := c.m.Settings().Rates
	out.DriftPpm, out.SlewPpm = uint32(rates.Drift), uint32(rates.Slew)
	for i := range res.Answers {
		out.Answers = append(out.Answers, wireAnswer(&res.Answers[i]))
	}
	return out, nil
}

func (c *cluster) status(err error) error {
	code, reason := codes.ResourceExhausted, "EXHAUSTED"
	switch {
	case errors.Is(err, fsm.ErrReplaced):
		code, reason = codes.Aborted, reasonEdgeReplaced
	case errors.Is(err, fsm.ErrSession):
		code, reason = codes.Aborted, reasonSessionEnded
	}
	s, _ := status.New(code, err.Error()).WithDetails(&errdetails.ErrorInfo{Reason: reason, Domain: domain})
	return s.Err()
}

func wireAnswer(a *fsm.Answer) *tkcoordv1.Answer {
	for _, p := range []struct {
		err    error
		reason tkcoordv1.Reason
	}{
		{fsm.ErrUnknownPolicy, tkcoordv1.Reason_REASON_UNKNOWN_POLICY},
		{escrow.ErrOverspent, tkcoordv1.Reason_REASON_OVERSPENT},
		{escrow.ErrBackwards, tkcoordv1.Reason_REASON_BACKWARDS},
		{fsm.ErrFutureWindow, tkcoordv1.Reason_REASON_FUTURE_WINDOW},
		{fsm.ErrExhausted, tkcoordv1.Reason_REASON_EXHAUSTED},
		{fsm.ErrUnsupported, tkcoordv1.Reason_REASON_UNSUPPORTED},
	} {
		if errors.Is(a.Err, p.err) {
			return &tkcoordv1.Answer{Problem: &tkcoordv1.Problem{Reason: p.reason, Message: a.Err.Error()}}
		}
	}
	if a.Err != nil {
		panic(a.Err)
	}
	return &tkcoordv1.Answer{
		WindowStartMs: int64(a.Window.Start), WindowEndMs: int64(a.Window.End), Granted: int64(a.Granted), TtlMs: int64(a.TTL),
		Limit: int64(a.Limit), Left: int64(a.Left), RetryAfterMs: int64(a.Retry), WindowMs: int64(a.Length),
	}
}

// budget returns the state of one budget, zero if it has none.
func (c *cluster) budget(pol, key string) (found fsm.BudgetState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.m.Freeze().Budgets(func(b fsm.BudgetState) bool {
		if b.Policy == pol && b.Key == key {
			found = b
		}
		return found.Policy == ""
	})
	return found
}

func (c *cluster) count(key string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked[key]
}

// fail makes exchanges fail with err, nil for not at all.
func (c *cluster) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.down = err
}

var errDown = status.Error(codes.Unavailable, "no leader")

// quietConfig is the default configuration for tests.
func quietConfig() Config {
	cfg := DefaultConfig()
	cfg.Addresses = []string{"unused"}
	cfg.EdgeID = "edge-1"
	cfg.Logger = slog.New(slog.DiscardHandler)
	return cfg
}

// connect opens an edge on an exchange function and closes it with the test.
func connect(tb testing.TB, cfg Config, exchange func(context.Context, *tkcoordv1.ExchangeRequest) (*tkcoordv1.ExchangeResponse, error)) *Edge {
	tb.Helper()
	cfg.Addresses, cfg.Exchange = nil, exchange
	e, err := Open(tb.Context(), cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = e.Close() })
	return e
}
