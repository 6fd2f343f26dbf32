package api

import (
	"context"

	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/strategy"
)

// UseTier has t decide the checks that a node may decide by itself. Call it before
// Run. Without it the leader decides all of them.
func (s *Server) UseTier(t localTier) { s.checks.tier = t }

// Exchange settles what this node holds as an edge of its own cluster. It is the
// call Edge/Exchange without a connection: here if this node leads, else at the
// leader. Its errors are statuses.
func (s *Server) Exchange(ctx context.Context, req *tkcoordv1.ExchangeRequest) (*tkcoordv1.ExchangeResponse, error) {
	return s.edges.Exchange(ctx, req)
}

// CheckStrict has the leader decide one check, with a cost in [1,
// strategy.MaxCost], and returns the instant of its decision on the cluster clock. It
// waits for a leader as a client's check does. It is what a node debits batches with
// that do not count on a ledger.
func (s *Server) CheckStrict(ctx context.Context, policy, key string, cost int64) (strategy.Decision, clock.Millis, error) {
	out, err := s.checks.door.run(ctx, &tkcoordv1.Operation{
		Kind: tkcoordv1.OperationKind_OPERATION_KIND_CHECK, Policy: policy, Keys: []string{key}, Amount: cost,
	})
	if err != nil {
		return strategy.Decision{}, 0, err
	}
	return fromWire(out.Decisions[0]), clock.Millis(out.ClockMs), nil
}
