package api

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/tkcoord/tkcoord/api/throttlekitv1"
	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/strategy"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Fleet serves throttlekit.v1.Fleet. Who may call it is decided before.
type Fleet struct {
	throttlekitv1.UnimplementedFleetServer
	door *door
	log  *slog.Logger
}

// Reserve takes up to wants units out of a budget for good.
func (f *Fleet) Reserve(ctx context.Context, req *throttlekitv1.ReserveRequest) (*throttlekitv1.ReserveResponse, error) {
	key := req.GetCaller().GetDomain()
	if key == "" {
		key = req.GetPolicy()
	}
	op := &tkcoordv1.Operation{
		Kind: tkcoordv1.OperationKind_OPERATION_KIND_RESERVE, Policy: req.GetPolicy(), Keys: []string{key},
		Amount: min(positive(req.GetWants()), strategy.MaxCost),
	}
	if err := f.precheck(op, req.GetAxis()); err != nil {
		return nil, err
	}
	out, err := f.door.run(ctx, op)
	if err != nil {
		return nil, publicStatus(err, f.log)
	}
	return &throttlekitv1.ReserveResponse{Lease: lease(out)}, nil
}

// precheck refuses what the leader need not be asked for. What it could not know,
// a policy that is new to this node, the leader refuses.
func (f *Fleet) precheck(op *tkcoordv1.Operation, axis throttlekitv1.Axis) error {
	_, no := f.door.catalog.now.Load().require(op)
	switch {
	case axis == throttlekitv1.Axis_AXIS_CONCURRENCY && no != nil && f.door.node.Ready() != nil:
		return publicStatus(errNotServing, f.log) // the replica may not have heard of the policy
	case axis == throttlekitv1.Axis_AXIS_CONCURRENCY && no != nil:
		return no // the contract wants to hear that first
	case axis == throttlekitv1.Axis_AXIS_CONCURRENCY:
		return detailed(codes.Unimplemented, "fleet: the concurrency axis is not leasable; take slots with Admit",
			&errdetails.ErrorInfo{Reason: ReasonUnsupported, Domain: Domain})
	case len(op.Keys[0]) > fsm.MaxKeyLen && no != nil:
		return no
	case len(op.Keys[0]) > fsm.MaxKeyLen:
		return publicStatus(&fsm.FieldError{Field: "caller.domain", Value: fmt.Sprintf("%d bytes", len(op.Keys[0])), Want: fmt.Sprintf("at most %d", fsm.MaxKeyLen)}, f.log)
	}
	return nil
}

// lease describes what was granted. Times are those of the cluster clock.
func lease(out *tkcoordv1.Outcome) *throttlekitv1.Lease {
	left := out.WindowEndMs - out.ClockMs
	l := &throttlekitv1.Lease{
		Capacity: out.Granted, SafeCapacity: out.Granted, ExpiryMs: out.WindowEndMs,
		RefreshIntervalMs: max(1, left), Limit: out.Limit,
	}
	if out.Granted == 0 {
		l.RetryAfterMs = max(0, left)
	}
	return l
}

// errNoFleet is the answer while no policy is federated: the service is not there.
var errNoFleet = status.Error(codes.Unimplemented, "unknown service "+throttlekitv1.Fleet_ServiceDesc.ServiceName)
