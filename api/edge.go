package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/transport"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// Edge serves tkcoord.v1.Edge.
type Edge struct {
	tkcoordv1.UnimplementedEdgeServer
	node    *transport.Node
	forward *Forwarder
	traces  *tracing // nil: none
	log     *slog.Logger
	drain   <-chan struct{} // closed when the node begins to shut down
}

// LeaderHeader is the response metadata that names the leader's gRPC address.
const LeaderHeader = "tkcoord-leader"

// Exchange settles many budgets of one edge, see the service's definition.
func (e *Edge) Exchange(ctx context.Context, req *tkcoordv1.ExchangeRequest) (*tkcoordv1.ExchangeResponse, error) {
	if err := e.node.Serving(); err != nil {
		return nil, toStatus(fmt.Errorf("%w: %w", errNotServing, err), e.leader(), e.log)
	}
	cmd, places, answers, err := exchangeCommand(req)
	if err != nil {
		return nil, toStatus(err, "", e.log)
	}
	begun := time.Now()
	applied, err := e.node.Propose(ctx, cmd)
	if !errors.Is(err, transport.ErrNotLeader) { // else it is passed on
		e.traces.proposal(ctx, begun, &applied, err)
	}
	if errors.Is(err, transport.ErrNotLeader) {
		res, ferr := e.forward.Exchange(ctx, req)
		if ferr == nil || !errors.Is(ferr, errNoLeader) {
			e.sayLeader(ctx)
			return res, toStatus(ferr, e.leader(), e.log)
		}
	}
	if err == nil {
		err = applied.Err
	}
	if errors.Is(err, transport.ErrTooLarge) {
		err = fmt.Errorf("asks: %w", err)
	}
	if err != nil {
		return nil, toStatus(err, e.leader(), e.log)
	}
	for i := range applied.Answers {
		answers[places[i]] = wireAnswer(&applied.Answers[i])
	}
	e.sayLeader(ctx)
	res := &tkcoordv1.ExchangeResponse{
		Session: uint64(applied.Session), Answers: answers, ClockMs: int64(applied.Now), Index: applied.Index,
	}
	e.node.Replica().Query(func(m *fsm.Machine) {
		res.PolicyVersion = m.PolicyVersion()
		rates := m.Settings().Rates
		res.DriftPpm, res.SlewPpm = uint32(rates.Drift), uint32(rates.Slew)
	})
	return res, nil
}

// sayLeader tells the edge whom to ask next time, which saves a hop.
func (e *Edge) sayLeader(ctx context.Context) {
	if at := e.leader(); at != "" {
		_ = grpc.SetHeader(ctx, metadata.Pairs(LeaderHeader, at)) // only a hint
	}
}

func (e *Edge) policyVersion() (v uint64) {
	e.node.Replica().Query(func(m *fsm.Machine) { v = m.PolicyVersion() })
	return v
}

func (e *Edge) leader() string {
	l, _ := e.node.Leader()
	return l.Address
}

// exchangeCommand translates a request. Asks that are out of range are answered
// at once and left out of the command; places says which ask each of the
// command's came from.
func exchangeCommand(req *tkcoordv1.ExchangeRequest) (cmd *fsm.Exchange, places []int, answers []*tkcoordv1.Answer, err error) {
	cmd = &fsm.Exchange{
		EdgeID: req.EdgeId, Incarnation: req.Incarnation, Session: escrow.HolderID(req.Session), Seq: req.Seq,
		Asks: make([]fsm.Ask, 0, min(len(req.Asks), fsm.MaxAsks)),
	}
	if len(req.Asks) > fsm.MaxAsks {
		return nil, nil, nil, &fsm.FieldError{Field: "asks", Value: fmt.Sprintf("%d of them", len(req.Asks)), Want: fmt.Sprintf("at most %d", fsm.MaxAsks)}
	}
	if err := cmd.Validate(); err != nil {
		return nil, nil, nil, err
	}
	places = make([]int, 0, len(req.Asks))
	answers = make([]*tkcoordv1.Answer, len(req.Asks))
	for i, a := range req.Asks {
		ask := fsm.Ask{
			Policy: a.GetPolicy(), Key: a.GetKey(), Window: clock.Millis(a.GetWindowStartMs()),
			Used: escrow.Credits(a.GetUsed()), Returned: escrow.Credits(a.GetReturned()),
			Need: escrow.Credits(a.GetNeed()), Want: escrow.Credits(a.GetWant()),
		}
		if err := ask.Validate(); err != nil {
			answers[i] = &tkcoordv1.Answer{Problem: problem(err)}
			continue
		}
		cmd.Asks = append(cmd.Asks, ask)
		places = append(places, i)
	}
	return cmd, places, answers, nil
}

func wireAnswer(a *fsm.Answer) *tkcoordv1.Answer {
	if a.Err != nil {
		return &tkcoordv1.Answer{Problem: problem(a.Err)}
	}
	return &tkcoordv1.Answer{
		WindowStartMs: int64(a.Window.Start), WindowEndMs: int64(a.Window.End), Granted: int64(a.Granted),
		TtlMs: int64(a.TTL), Limit: int64(a.Limit), Left: int64(a.Left), RetryAfterMs: int64(a.Retry), WindowMs: int64(a.Length),
	}
}

// problemOf maps the refusals of a single ask. A field is named where the error
// is not one that names its own.
var problemOf = []struct {
	err    error
	reason tkcoordv1.Reason
	field  string
}{
	{fsm.ErrUnknownPolicy, tkcoordv1.Reason_REASON_UNKNOWN_POLICY, "policy"},
	{escrow.ErrOverspent, tkcoordv1.Reason_REASON_OVERSPENT, "used"},
	{escrow.ErrBackwards, tkcoordv1.Reason_REASON_BACKWARDS, "used"},
	{fsm.ErrFutureWindow, tkcoordv1.Reason_REASON_FUTURE_WINDOW, "window_start_ms"},
	{fsm.ErrExhausted, tkcoordv1.Reason_REASON_EXHAUSTED, "key"},
	{fsm.ErrUnsupported, tkcoordv1.Reason_REASON_UNSUPPORTED, "policy"},
}

func problem(err error) *tkcoordv1.Problem {
	if field, ok := errors.AsType[*fsm.FieldError](err); ok {
		return &tkcoordv1.Problem{Reason: tkcoordv1.Reason_REASON_INVALID, Field: field.Field, Message: err.Error()}
	}
	for _, p := range problemOf {
		if errors.Is(err, p.err) {
			return &tkcoordv1.Problem{Reason: p.reason, Field: p.field, Message: err.Error()}
		}
	}
	return &tkcoordv1.Problem{Reason: tkcoordv1.Reason_REASON_UNSPECIFIED, Message: err.Error()}
}

// Watch streams the leader and changes of the policies.
func (e *Edge) Watch(_ *tkcoordv1.WatchRequest, stream grpc.ServerStreamingServer[tkcoordv1.WatchResponse]) error {
	var told *tkcoordv1.WatchResponse
	for {
		// NB: the channels are taken before the state is read, so that no change
		// falls between.
		policies, leader := e.node.Replica().Changed(), e.node.LeaderChanged()
		if next := e.news(told); next != nil {
			if err := stream.Send(next); err != nil {
				return err
			}
			told = next
		}
		select {
		case <-policies:
		case <-leader:
		case <-stream.Context().Done():
			return nil
		case <-e.drain:
			return toStatus(fmt.Errorf("%w: it is shutting down", errNotServing), e.leader(), e.log)
		}
	}
}

// maxChanged bounds the names in one message; more become "all of them".
const maxChanged = 1000

// news returns what changed since the message told, nil if nothing did.
func (e *Edge) news(told *tkcoordv1.WatchResponse) *tkcoordv1.WatchResponse {
	next := &tkcoordv1.WatchResponse{Leader: wireLeader(e.node)}
	if told == nil {
		next.PolicyVersion = e.policyVersion()
		return next
	}
	version, names, known := e.node.Replica().ChangedSince(told.PolicyVersion)
	next.PolicyVersion = version
	if known && len(names) <= maxChanged {
		next.ChangedPolicies = names
	}
	if version == told.PolicyVersion && next.Leader.GetAddress() == told.Leader.GetAddress() && next.Leader.GetTerm() == told.Leader.GetTerm() {
		return nil
	}
	return next
}

func wireLeader(n *transport.Node) *tkcoordv1.Leader {
	l, ok := n.Leader()
	if !ok {
		return nil
	}
	return &tkcoordv1.Leader{NodeId: l.ID, Address: l.Address, Term: l.Term}
}
