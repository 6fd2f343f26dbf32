package api

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/tkcoord/tkcoord/api/throttlekitv1"
	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/monitor"
	"github.com/tkcoord/tkcoord/policy"
	"github.com/tkcoord/tkcoord/strategy"
	"github.com/tkcoord/tkcoord/transport"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// A FailMode says how Check and CheckMany answer when nobody can decide: while no
// leader is reached, or when it fell silent.
type FailMode string

const (
	FailClosed FailMode = "closed" // deny: no limit is ever exceeded
	FailOpen   FailMode = "open"   // allow: what nobody counts is not limited
)

// A localTier decides checks of policies of the kinds TwoTier, in the modes
// cached-deny and leased, and Federated at this node.
type localTier interface {
	Check(ctx context.Context, p *policy.Policy, key string, cost int64) (strategy.Decision, error)
}

// RateLimiter serves throttlekit.v1.RateLimiter.
type RateLimiter struct {
	throttlekitv1.UnimplementedRateLimiterServer
	door      *door
	tier      localTier // nil: the leader decides all checks
	fail      FailMode
	undecided func(keys int) // is told how many keys the fail mode answered for
	record    *Recorder
	log       *slog.Logger
}

// Check takes cost units for a key, or takes nothing and denies.
func (r *RateLimiter) Check(ctx context.Context, req *throttlekitv1.CheckRequest) (*throttlekitv1.CheckResponse, error) {
	op := &tkcoordv1.Operation{
		Kind: tkcoordv1.OperationKind_OPERATION_KIND_CHECK, Policy: req.GetPolicy(), Keys: []string{req.GetKey()}, Amount: positive(req.GetCost()),
	}
	all, err := r.check(ctx, op)
	if err != nil {
		return nil, err
	}
	return &throttlekitv1.CheckResponse{Decision: all[0]}, nil
}

// CheckMany checks keys in their order, each for itself, at one instant.
func (r *RateLimiter) CheckMany(ctx context.Context, req *throttlekitv1.CheckManyRequest) (*throttlekitv1.CheckManyResponse, error) {
	op := &tkcoordv1.Operation{
		Kind: tkcoordv1.OperationKind_OPERATION_KIND_CHECK_MANY, Policy: req.GetPolicy(), Keys: req.GetKeys(), Amount: positive(req.GetCost()),
	}
	all, err := r.check(ctx, op)
	if err != nil {
		return nil, err
	}
	return &throttlekitv1.CheckManyResponse{Decisions: all}, nil
}

// check returns a decision for each key of op.
func (r *RateLimiter) check(ctx context.Context, op *tkcoordv1.Operation) ([]*throttlekitv1.Decision, error) {
	begin := time.Now()
	if err := r.validate(op); err != nil {
		return nil, err
	}
	e := r.door.catalog.find(op.Policy)
	all, err := r.decide(ctx, e, op)
	if err != nil {
		return r.failed(ctx, e, op, err)
	}
	if e == nil { // it was new to this node
		e = r.door.catalog.find(op.Policy)
	}
	r.recordChecks(ctx, e, op, all, time.Since(begin))
	return all, nil
}

// decide has a check decided, here if its policy lets nodes decide.
func (r *RateLimiter) decide(ctx context.Context, e *entry, op *tkcoordv1.Operation) ([]*throttlekitv1.Decision, error) {
	switch known := e != nil && supports(&e.Policy, op.Kind); {
	case known && (impossible(op) || len(op.Keys) == 0):
		return deny(e, op).Decisions, nil
	case r.tier == nil || !known || !local(&e.Policy) || r.door.node.Serving() != nil:
		out, err := r.door.run(ctx, op)
		return out.GetDecisions(), err
	}
	ctx, cancel, _ := patience(ctx)
	defer cancel()
	return checkHere(ctx, r.tier, &e.Policy, op.Keys, op.Amount)
}

// local reports whether a policy lets nodes decide checks by themselves.
func local(p *policy.Policy) bool {
	return p.Kind == policy.TwoTier && p.Tier.Mode != policy.Strict || p.Kind == policy.Federated
}

// failed answers a check that nobody decided as the fail mode says. Some errors
// are answers nevertheless, and are passed on.
func (r *RateLimiter) failed(ctx context.Context, e *entry, op *tkcoordv1.Operation, err error) ([]*throttlekitv1.Decision, error) {
	public := r.status(err)
	switch status.Code(public) {
	case codes.NotFound, codes.Unimplemented, codes.InvalidArgument:
		return nil, public
	}
	if reason, _ := Reason(public); reason == ReasonExhausted {
		return nil, public
	}
	if e == nil || !supports(&e.Policy, op.Kind) || errors.Is(ctx.Err(), context.Canceled) {
		return nil, public // there is no policy to make an answer of, or nobody to hear it
	}
	r.undecided(len(op.Keys))
	r.log.Debug("check answered by the fail mode", "policy", op.Policy, "fail", string(r.fail), "err", err)
	return repeated(len(op.Keys), e.undecided(r.fail == FailOpen)), nil
}

func (r *RateLimiter) recordChecks(ctx context.Context, e *entry, op *tkcoordv1.Operation, all []*throttlekitv1.Decision, took time.Duration) {
	if r.record == nil || e == nil || len(all) == 0 {
		return
	}
	took /= time.Duration(len(all))
	for i, d := range all {
		r.record.Decision(ctx, op.Policy, e.Strategy, op.Keys[i], op.Amount, fromWire(d), took)
	}
}

// Peek answers as a check of one unit would, and takes nothing.
func (r *RateLimiter) Peek(ctx context.Context, req *throttlekitv1.PeekRequest) (*throttlekitv1.PeekResponse, error) {
	out, err := r.run(ctx, &tkcoordv1.Operation{
		Kind: tkcoordv1.OperationKind_OPERATION_KIND_PEEK, Policy: req.GetPolicy(), Keys: []string{req.GetKey()}, Amount: 1,
	})
	if err != nil {
		return nil, err
	}
	return &throttlekitv1.PeekResponse{Decision: out.Decisions[0]}, nil
}

// Forecast says when there will be more.
func (r *RateLimiter) Forecast(ctx context.Context, req *throttlekitv1.ForecastRequest) (*throttlekitv1.ForecastResponse, error) {
	out, err := r.run(ctx, &tkcoordv1.Operation{
		Kind: tkcoordv1.OperationKind_OPERATION_KIND_FORECAST, Policy: req.GetPolicy(), Keys: []string{req.GetKey()}, Amount: positive(req.GetCost()),
	})
	if err != nil {
		return nil, err
	}
	return &throttlekitv1.ForecastResponse{Forecast: out.Forecast}, nil
}

// Debit counts tokens that were used.
func (r *RateLimiter) Debit(ctx context.Context, req *throttlekitv1.DebitRequest) (*throttlekitv1.DebitResponse, error) {
	out, err := r.run(ctx, &tkcoordv1.Operation{
		Kind: tkcoordv1.OperationKind_OPERATION_KIND_DEBIT, Policy: req.GetPolicy(), Keys: []string{req.GetKey()}, Amount: positive(req.GetTokens()),
	})
	if err != nil {
		return nil, err
	}
	return &throttlekitv1.DebitResponse{Decision: out.Decisions[0]}, nil
}

// Admit takes a slot and a unit of the rate, both or neither. Cost, hold and value
// have no effect on any policy that there is.
func (r *RateLimiter) Admit(ctx context.Context, req *throttlekitv1.AdmitRequest) (*throttlekitv1.AdmitResponse, error) {
	begin := time.Now()
	nonce := make([]byte, 16)
	_, _ = rand.Read(nonce) // never fails
	out, err := r.run(ctx, &tkcoordv1.Operation{
		Kind: tkcoordv1.OperationKind_OPERATION_KIND_ADMIT, Policy: req.GetPolicy(), Keys: []string{req.GetKey()}, Amount: 1, Nonce: nonce,
	})
	if err != nil {
		return nil, err
	}
	if e := r.door.catalog.find(req.GetPolicy()); e != nil {
		r.record.Admission(ctx, monitor.Admission{
			Policy: e.Name, Strategy: string(e.Strategy), Key: req.GetKey(), Cost: 1,
			Decision: fromWire(out.Decisions[0]), Lane: monitor.LaneOf(out.Axis), Took: time.Since(begin),
		})
	}
	return &throttlekitv1.AdmitResponse{
		Decision: out.Decisions[0], LeaseId: out.LeaseId, LeaseExpiresAt: out.LeaseExpiresAt, BindingAxis: out.Axis,
	}, nil
}

// Release gives a slot back.
func (r *RateLimiter) Release(ctx context.Context, req *throttlekitv1.ReleaseRequest) (*throttlekitv1.ReleaseResponse, error) {
	if !nameable(req.GetLeaseId()) {
		return &throttlekitv1.ReleaseResponse{}, nil
	}
	_, err := r.run(ctx, &tkcoordv1.Operation{
		Kind: tkcoordv1.OperationKind_OPERATION_KIND_RELEASE, Keys: []string{req.GetLeaseId()}, Dropped: req.GetDropped(),
	})
	if err != nil {
		return nil, err
	}
	return &throttlekitv1.ReleaseResponse{}, nil
}

// Heartbeat keeps slots for some time more.
func (r *RateLimiter) Heartbeat(ctx context.Context, req *throttlekitv1.HeartbeatRequest) (*throttlekitv1.HeartbeatResponse, error) {
	ids := req.GetLeaseIds()
	if len(ids) > fsm.MaxLeaseIDs {
		return nil, r.status(tooMany("lease_ids", len(ids), fsm.MaxLeaseIDs))
	}
	op := &tkcoordv1.Operation{Kind: tkcoordv1.OperationKind_OPERATION_KIND_HEARTBEAT, Keys: make([]string, 0, len(ids))}
	for _, id := range ids {
		if nameable(id) {
			op.Keys = append(op.Keys, id)
		}
	}
	out, err := r.run(ctx, op)
	if err != nil {
		return nil, err
	}
	res := &throttlekitv1.HeartbeatResponse{LiveIds: out.Live, ReclaimedIds: out.Reclaimed, NextDeadline: out.NextDeadline}
	if len(op.Keys) < len(ids) { // what names no slot is reclaimed, too, in the order in which it was sent
		res.ReclaimedIds = reclaimed(ids, out.Live)
	}
	return res, nil
}

// nameable reports whether an id can be that of a slot. Others need not be looked
// for.
func nameable(id string) bool { return id != "" && len(id) <= fsm.MaxLeaseIDLen }

// reclaimed returns the ids that are not live. An id is live wherever it is.
func reclaimed(ids, live []string) (all []string) {
	held := make(map[string]bool, len(live))
	for _, id := range live {
		held[id] = true
	}
	for _, id := range ids {
		if !held[id] {
			all = append(all, id)
		}
	}
	return all
}

// run carries out an operation and puts its error into the words of the contract.
func (r *RateLimiter) run(ctx context.Context, op *tkcoordv1.Operation) (*tkcoordv1.Outcome, error) {
	if err := r.validate(op); err != nil {
		return nil, err
	}
	out, err := r.door.run(ctx, op)
	if err != nil {
		return nil, r.status(err)
	}
	return out, nil
}

// positive is the contract's default: what is not positive is 1.
func positive(n int64) int64 { return max(n, 1) }

// validate refuses what would be dear to pass on. Of a policy that is not here the
// contract wants to hear that first.
func (r *RateLimiter) validate(op *tkcoordv1.Operation) error {
	err := bounded(op)
	if err == nil && len(op.Policy) <= policy.MaxNameLen {
		return nil
	}
	if _, no := r.door.catalog.now.Load().require(op); no != nil {
		return no
	}
	return r.status(err)
}

func bounded(op *tkcoordv1.Operation) error {
	if len(op.Keys) > fsm.MaxCheckKeys {
		return tooMany("keys", len(op.Keys), fsm.MaxCheckKeys)
	}
	bytes := 0
	for i, key := range op.Keys {
		bytes += len(key)
		if len(key) > fsm.MaxKeyLen {
			field := "key"
			if op.Kind == tkcoordv1.OperationKind_OPERATION_KIND_CHECK_MANY {
				field = fmt.Sprintf("keys[%d]", i)
			}
			return &fsm.FieldError{Field: field, Value: fmt.Sprintf("%d bytes", len(key)), Want: fmt.Sprintf("at most %d", fsm.MaxKeyLen)}
		}
	}
	if bytes > fsm.MaxEntryBytes { // it would not fit into a log entry, nor perhaps into a request to the leader
		return &fsm.FieldError{Field: "keys", Value: fmt.Sprintf("%d bytes in all", bytes), Want: fmt.Sprintf("at most %d", fsm.MaxEntryBytes)}
	}
	return nil
}

func tooMany(field string, n, most int) error {
	return &fsm.FieldError{Field: field, Value: fmt.Sprintf("%d of them", n), Want: fmt.Sprintf("at most %d", most)}
}

func (r *RateLimiter) status(err error) error { return publicStatus(err, r.log) }

// publicStatus translates an error for clients of the public contract. They know
// UNAVAILABLE as the one code that is about the service and not about their
// question, so it is the code of everything that keeps the cluster from answering.
func publicStatus(err error, log *slog.Logger) error {
	for _, u := range []struct {
		err    error
		reason string
	}{
		{transport.ErrOutcomeUnknown, ReasonUnknown},
		{transport.ErrNotLeader, ReasonNotLeader},
		{transport.ErrNotProposed, ReasonNotLeader},
		{transport.ErrOverloaded, ReasonOverloaded},
	} {
		if errors.Is(err, u.err) {
			return detailed(codes.Unavailable, err.Error(), &errdetails.ErrorInfo{Reason: u.reason, Domain: Domain})
		}
	}
	return toStatus(err, "", log)
}
