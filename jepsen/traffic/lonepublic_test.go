package traffic

import (
	"context"
	"math/rand/v2"
	"strconv"

	"github.com/tkcoord/tkcoord/api"
	"github.com/tkcoord/tkcoord/api/throttlekitv1"
	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/strategy"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// lonePublic and loneFleet are the public contract of a lone coordinator.
type lonePublic struct {
	throttlekitv1.UnimplementedRateLimiterServer
	l *lone
}

type loneFleet struct {
	throttlekitv1.UnimplementedFleetServer
	l *lone
}

// public carries out a command and tells its index.
func (l *lone) public(ctx context.Context, cmd fsm.Command) (fsm.Result, error) {
	r, out, err := l.entry(cmd)
	if err == nil {
		err = r.Err
	}
	if err == nil {
		err = tell(ctx, out.Index, out.Now)
	}
	return r, err
}

func tell(ctx context.Context, index uint64, now clock.Millis) error {
	return grpc.SetHeader(ctx, metadata.Pairs(api.IndexHeader, strconv.FormatUint(index, 10), api.ClockHeader, strconv.FormatInt(int64(now), 10)))
}

func onWire(all []strategy.Decision) (out []*throttlekitv1.Decision) {
	for _, d := range all {
		out = append(out, &throttlekitv1.Decision{Allowed: d.Allowed, Limit: d.Limit, Remaining: d.Remaining, ResetAt: d.ResetAt, RetryAfterMs: d.RetryAfter})
	}
	return out
}

func (p lonePublic) Check(ctx context.Context, req *throttlekitv1.CheckRequest) (*throttlekitv1.CheckResponse, error) {
	r, err := p.l.public(ctx, &fsm.Check{Policy: req.Policy, Keys: []string{req.Key}, Cost: req.Cost})
	if err != nil {
		return nil, err
	}
	return &throttlekitv1.CheckResponse{Decision: onWire(r.Decisions)[0]}, nil
}

func (p lonePublic) CheckMany(ctx context.Context, req *throttlekitv1.CheckManyRequest) (*throttlekitv1.CheckManyResponse, error) {
	r, err := p.l.public(ctx, &fsm.Check{Policy: req.Policy, Keys: req.Keys, Cost: req.Cost})
	return &throttlekitv1.CheckManyResponse{Decisions: onWire(r.Decisions)}, err
}

func (p lonePublic) Peek(ctx context.Context, req *throttlekitv1.PeekRequest) (*throttlekitv1.PeekResponse, error) {
	p.l.mu.Lock()
	defer p.l.mu.Unlock()
	d, err := p.l.machine.Peek(req.Policy, req.Key, p.l.machine.Now())
	if err != nil {
		return nil, err
	}
	return &throttlekitv1.PeekResponse{Decision: onWire([]strategy.Decision{d})[0]}, tell(ctx, p.l.machine.Index(), p.l.machine.Now())
}

func (p lonePublic) Debit(ctx context.Context, req *throttlekitv1.DebitRequest) (*throttlekitv1.DebitResponse, error) {
	r, err := p.l.public(ctx, &fsm.Debit{Policy: req.Policy, Key: req.Key, Tokens: req.Tokens})
	if err != nil {
		return nil, err
	}
	return &throttlekitv1.DebitResponse{Decision: onWire(r.Decisions)[0]}, nil
}

func (p lonePublic) Admit(ctx context.Context, req *throttlekitv1.AdmitRequest) (*throttlekitv1.AdmitResponse, error) {
	cmd := &fsm.Admit{Policy: req.Policy, Key: req.Key}
	for i := range cmd.Nonce {
		cmd.Nonce[i] = byte(rand.Uint32())
	}
	r, err := p.l.public(ctx, cmd)
	if err != nil {
		return nil, err
	}
	a := r.Admission
	return &throttlekitv1.AdmitResponse{
		Decision: onWire([]strategy.Decision{a.Decision})[0], LeaseId: a.LeaseID, LeaseExpiresAt: int64(a.ExpiresAt), BindingAxis: a.Axis,
	}, nil
}

func (p lonePublic) Release(ctx context.Context, req *throttlekitv1.ReleaseRequest) (*throttlekitv1.ReleaseResponse, error) {
	_, err := p.l.public(ctx, &fsm.Release{LeaseID: req.LeaseId, Dropped: req.Dropped})
	return &throttlekitv1.ReleaseResponse{}, err
}

func (p lonePublic) Heartbeat(ctx context.Context, req *throttlekitv1.HeartbeatRequest) (*throttlekitv1.HeartbeatResponse, error) {
	r, err := p.l.public(ctx, &fsm.Heartbeat{LeaseIDs: req.LeaseIds})
	if err != nil {
		return nil, err
	}
	return &throttlekitv1.HeartbeatResponse{LiveIds: r.Beat.Live, ReclaimedIds: r.Beat.Reclaimed, NextDeadline: int64(r.Beat.NextDeadline)}, nil
}

func (f loneFleet) Reserve(ctx context.Context, req *throttlekitv1.ReserveRequest) (*throttlekitv1.ReserveResponse, error) {
	r, err := f.l.public(ctx, &fsm.Reserve{Policy: req.Policy, Key: req.Caller.Domain, Wants: req.Wants})
	if err != nil {
		return nil, err
	}
	return &throttlekitv1.ReserveResponse{Lease: &throttlekitv1.Lease{
		Capacity: int64(r.Reserved.Granted), Limit: int64(r.Reserved.Limit), ExpiryMs: int64(r.Reserved.Window.End),
	}}, nil
}
