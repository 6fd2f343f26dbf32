// Package api holds the doors of a node: the gRPC services, how they translate
// the wire into commands and results back, how a follower passes a call on to
// the leader, and the one table of error codes.
package api

import (
	"context"
	"errors"
	"log/slog"

	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/transport"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Domain is that of every ErrorInfo detail.
const Domain = "tkcoord"

// Reasons of an ErrorInfo, for programs. The text of a status is for people.
const (
	ReasonSessionEnded  = "SESSION_ENDED"
	ReasonEdgeReplaced  = "EDGE_REPLACED"
	ReasonExhausted     = "EXHAUSTED"
	ReasonUnknownPolicy = "UNKNOWN_POLICY"
	ReasonVersion       = "POLICY_VERSION"
	ReasonNotLeader     = "NOT_LEADER"
	ReasonNotServing    = "NOT_SERVING"
	ReasonOverloaded    = "OVERLOADED"
	ReasonTooLarge      = "TOO_LARGE"
	ReasonUnknown       = "OUTCOME_UNKNOWN"
	ReasonNotHandedOver = "NOT_HANDED_OVER"
	ReasonInvalid       = "INVALID"
	ReasonUnsupported   = "UNSUPPORTED"
)

// codeOf maps errors to codes. The first match wins, so an outcome that is
// unknown comes before the context error it wraps.
var codeOf = []struct {
	err    error
	code   codes.Code
	reason string
}{
	{transport.ErrOutcomeUnknown, codes.Unknown, ReasonUnknown},  // it may still commit: ask again, totals make that safe
	{transport.ErrNotLeader, codes.Unavailable, ReasonNotLeader}, // nothing was proposed: retry elsewhere
	{transport.ErrOverloaded, codes.ResourceExhausted, ReasonOverloaded},
	{transport.ErrTooLarge, codes.InvalidArgument, ReasonTooLarge},
	{context.DeadlineExceeded, codes.DeadlineExceeded, ""}, // nothing was proposed
	{context.Canceled, codes.Canceled, ""},
	{transport.ErrNotProposed, codes.Unavailable, ReasonNotLeader},
	{errNotServing, codes.Unavailable, ReasonNotServing},
	{fsm.ErrReplaced, codes.Aborted, ReasonEdgeReplaced},
	{fsm.ErrSession, codes.Aborted, ReasonSessionEnded},
	{fsm.ErrExhausted, codes.ResourceExhausted, ReasonExhausted},
	{fsm.ErrVersion, codes.FailedPrecondition, ReasonVersion},
	{fsm.ErrUnknownPolicy, codes.NotFound, ReasonUnknownPolicy},
	{transport.ErrOldVoter, codes.FailedPrecondition, ReasonVersion},
	{transport.ErrUnknownMember, codes.NotFound, ""},
	{transport.ErrNotHandedOver, codes.Unavailable, ReasonNotHandedOver},
	{transport.ErrQuorum, codes.FailedPrecondition, ""},
}

// errNotServing: this node has an alarm against it, or is shutting down.
var errNotServing = errors.New("this node does not serve")

// toStatus translates an error for the wire; nil stays nil. leader is the
// address to try instead, "" if none is known. An error without a code becomes
// Internal: its text stays in the log.
func toStatus(err error, leader string, log *slog.Logger) error {
	if err == nil {
		return nil
	}
	if _, ok := status.FromError(err); ok {
		return err // from the leader, or made for the wire already
	}
	if field, ok := errors.AsType[*fsm.FieldError](err); ok {
		return detailed(codes.InvalidArgument, err.Error(),
			&errdetails.ErrorInfo{Reason: ReasonInvalid, Domain: Domain},
			&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: field.Field, Description: err.Error()}}})
	}
	for _, c := range codeOf {
		if !errors.Is(err, c.err) {
			continue
		}
		info := &errdetails.ErrorInfo{Reason: c.reason, Domain: Domain}
		if c.code == codes.Unavailable && leader != "" {
			info.Metadata = map[string]string{"leader": leader}
		}
		return detailed(c.code, err.Error(), info)
	}
	log.Error("request failed", "err", err)
	return status.Error(codes.Internal, "internal error, see the node's log")
}
