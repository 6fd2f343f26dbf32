package traffic

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/tkcoord/tkcoord/api"
	"github.com/tkcoord/tkcoord/api/throttlekitv1"
	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/jepsen/history"
	"github.com/tkcoord/tkcoord/strategy"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// PublicLoad is what clients of the public contract do, through all nodes, each
// call once: a call whose outcome is unknown is left at that. They share all keys.
type PublicLoad struct {
	Clients int `json:"clients"` // that check, debit and reserve
	Rate    int `json:"rate"`    // calls per second and client
	Keys    int `json:"keys"`    // of each policy
	// Calls says what they do, each as often as it is listed.
	Calls []PublicCall `json:"calls,omitempty"`

	Holders int `json:"holders"` // of slots
	// Guards are the policies that they take slots of.
	Guards []string `json:"guards,omitempty"`
}

// A PublicCall is one kind of call: of an amount from 1 to Most.
type PublicCall struct {
	Method history.Method `json:"method"`
	Policy string         `json:"policy"`
	Most   int64          `json:"most"`
}

func runPublic(ctx context.Context, r *running) error {
	var doors []publicDoor
	for _, a := range r.Addresses {
		conn, err := r.dial(a)
		if err != nil {
			return err
		}
		defer func(c *grpc.ClientConn) { _ = c.Close() }(conn) // nothing is under way
		doors = append(doors, publicDoor{a, throttlekitv1.NewRateLimiterClient(conn), throttlekitv1.NewFleetClient(conn)})
	}
	r.started()
	var work sync.WaitGroup
	for i := range r.Public.Clients + r.Public.Holders {
		c := &caller{running: r, doors: doors, lane: i, random: rand.New(rand.NewPCG(r.Seed, uint64(3000+i)))}
		if i < r.Public.Clients {
			work.Go(func() { c.work(ctx) })
		} else {
			work.Go(func() { c.holdSlots(ctx) })
		}
	}
	work.Wait()
	return nil
}

// A publicDoor is one node.
type publicDoor struct {
	address string
	limiter throttlekitv1.RateLimiterClient
	fleet   throttlekitv1.FleetClient
}

// A caller makes one call at a time.
type caller struct {
	*running
	doors  []publicDoor
	lane   int
	random *rand.Rand
}

func (c *caller) work(ctx context.Context) {
	t := time.NewTicker(time.Second / time.Duration(c.Public.Rate))
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		what := c.Public.Calls[c.random.IntN(len(c.Public.Calls))]
		call := history.Public{Method: what.Method, Policy: what.Policy, Amount: 1 + c.random.Int64N(what.Most)}
		for n := 1; n > 0; n-- {
			if call.Keys = append(call.Keys, keyName(c.random.IntN(c.Public.Keys))); len(call.Keys) == 1 && what.Method == history.CheckMany {
				n += c.random.IntN(3)
			}
		}
		c.call(call)
	}
}

// call makes a call through some node and records it. The reply is nil unless the
// cluster answered.
func (c *caller) call(call history.Public) *history.PublicReply {
	// NB: a call that has begun is finished when the program ends.
	ctx, cancel := context.WithTimeout(context.Background(), askTime)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, api.IndexHeader, "1")
	d := c.doors[c.random.IntN(len(c.doors))]
	op := c.record.Call(history.Call{Kind: history.KindPublic, Lane: c.lane, Target: d.address, Public: &call})
	var header metadata.MD
	reply, err := d.call(ctx, &call, grpc.Header(&header))
	ret := history.Return{Op: op, At: history.Now(), Outcome: publicOutcome(call.Method, err)}
	switch {
	case err != nil:
		ret.Error, reply = err.Error(), nil
	case !decided(header, reply):
		ret.Outcome, ret.Error, reply = history.Info, "the node made up an answer", nil
	default:
		ret.Public = reply
	}
	c.record.Return(ret)
	return reply
}

// publicOutcome classifies how a call ended. What nodes repeat by themselves may
// have had an effect although they say that nobody leads.
func publicOutcome(m history.Method, err error) history.Outcome {
	o := outcome(err)
	if o == history.Fail && (m == history.Release || m == history.Heartbeat) {
		return history.Info
	}
	return o
}

// decided takes over the entry that decided, and reports whether somebody did: an
// answer that a node made up has no instant in it.
func decided(header metadata.MD, r *history.PublicReply) bool {
	index, now := header.Get(api.IndexHeader), header.Get(api.ClockHeader)
	if len(index) == 0 && len(r.Decisions) == 1 && r.Decisions[0].ResetAt != 0 {
		r.Local = true
		return true
	}
	if len(index) != 1 || len(now) != 1 {
		return false
	}
	var err, cerr error
	var ms int64
	r.Index, err = strconv.ParseUint(index[0], 10, 64)
	ms, cerr = strconv.ParseInt(now[0], 10, 64)
	r.Clock = escrow.Millis(ms)
	return err == nil && cerr == nil
}

func (d *publicDoor) call(ctx context.Context, call *history.Public, opt grpc.CallOption) (*history.PublicReply, error) {
	r := &history.PublicReply{}
	key := ""
	if len(call.Keys) > 0 {
		key = call.Keys[0]
	}
	switch call.Method {
	case history.Check:
		res, err := d.limiter.Check(ctx, &throttlekitv1.CheckRequest{Policy: call.Policy, Key: key, Cost: call.Amount}, opt)
		return withDecisions(r, res.GetDecision()), err
	case history.CheckMany:
		res, err := d.limiter.CheckMany(ctx, &throttlekitv1.CheckManyRequest{Policy: call.Policy, Keys: call.Keys, Cost: call.Amount}, opt)
		return withDecisions(r, res.GetDecisions()...), err
	case history.Peek:
		res, err := d.limiter.Peek(ctx, &throttlekitv1.PeekRequest{Policy: call.Policy, Key: key}, opt)
		return withDecisions(r, res.GetDecision()), err
	case history.Debit:
		res, err := d.limiter.Debit(ctx, &throttlekitv1.DebitRequest{Policy: call.Policy, Key: key, Tokens: call.Amount}, opt)
		return withDecisions(r, res.GetDecision()), err
	case history.Reserve:
		res, err := d.fleet.Reserve(ctx, &throttlekitv1.ReserveRequest{Policy: call.Policy, Caller: &throttlekitv1.Caller{Domain: key}, Wants: call.Amount}, opt)
		l := res.GetLease()
		r.Granted, r.Limit, r.End = escrow.Credits(l.GetCapacity()), escrow.Credits(l.GetLimit()), escrow.Millis(l.GetExpiryMs())
		return r, err
	case history.Admit:
		res, err := d.limiter.Admit(ctx, &throttlekitv1.AdmitRequest{Policy: call.Policy, Key: key}, opt)
		r.Lease, r.Expires, r.Axis = res.GetLeaseId(), escrow.Millis(res.GetLeaseExpiresAt()), res.GetBindingAxis()
		return withDecisions(r, res.GetDecision()), err
	case history.Release:
		_, err := d.limiter.Release(ctx, &throttlekitv1.ReleaseRequest{LeaseId: key, Dropped: call.Dropped}, opt)
		return r, err
	case history.Heartbeat:
		res, err := d.limiter.Heartbeat(ctx, &throttlekitv1.HeartbeatRequest{LeaseIds: call.Keys}, opt)
		r.Live, r.Reclaimed, r.Expires = res.GetLiveIds(), res.GetReclaimedIds(), escrow.Millis(res.GetNextDeadline())
		return r, err
	}
	return nil, fmt.Errorf("nobody calls %s", call.Method)
}

func withDecisions(r *history.PublicReply, all ...*throttlekitv1.Decision) *history.PublicReply {
	for _, d := range all {
		r.Decisions = append(r.Decisions, strategy.Decision{
			Allowed: d.GetAllowed(), Limit: d.GetLimit(), Remaining: d.GetRemaining(), ResetAt: d.GetResetAt(), RetryAfter: d.GetRetryAfterMs(),
		})
	}
	return r
}
