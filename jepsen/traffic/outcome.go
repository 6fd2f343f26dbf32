package traffic

import (
	"time"

	"github.com/tkcoord/tkcoord/api"
	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/jepsen/history"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
)

// quickConnect makes connections that come back soon after a fault and never ask
// again by themselves.
func quickConnect() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 500 * time.Millisecond},
			MinConnectTimeout: time.Second,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 2 * time.Second, PermitWithoutStream: true}),
		grpc.WithDisableRetry(),
		grpc.WithDisableServiceConfig(),
	}
}

// outcome classifies how a call ended, by the contract of the doors: a refusal
// that a node explains had no effect, and everything else may have had one.
func outcome(err error) history.Outcome {
	if err == nil {
		return history.OK
	}
	reason, _ := api.Reason(err)
	switch status.Code(err) {
	case codes.InvalidArgument, codes.Aborted, codes.ResourceExhausted, codes.FailedPrecondition, codes.NotFound:
		return history.Fail
	case codes.Unavailable:
		if reason == api.ReasonNotLeader || reason == api.ReasonNotServing {
			return history.Fail
		}
	}
	return history.Info
}

// exchangeCall puts a request into the words of a record.
func exchangeCall(w *history.Writer, req *tkcoordv1.ExchangeRequest, target string) history.Call {
	x := &history.Exchange{Edge: req.EdgeId, Incarnation: req.Incarnation, Session: req.Session, Seq: req.Seq}
	for _, a := range req.Asks {
		x.Asks = append(x.Asks, history.Ask{
			Key: w.Key(a.Policy, a.Key), Window: escrow.Millis(a.WindowStartMs), Used: escrow.Credits(a.Used),
			Returned: escrow.Credits(a.Returned), Need: escrow.Credits(a.Need), Want: escrow.Credits(a.Want),
		})
	}
	return history.Call{Kind: history.KindExchange, Target: target, Exchange: x}
}

// exchangeReturn does the same for what came of it.
func exchangeReturn(op int64, at history.Time, res *tkcoordv1.ExchangeResponse, err error) history.Return {
	r := history.Return{Op: op, At: at, Outcome: outcome(err)}
	if err != nil {
		r.Error = err.Error()
		return r
	}
	r.Reply = &history.Reply{Session: res.Session, Index: res.Index, Clock: escrow.Millis(res.ClockMs)}
	for _, a := range res.Answers {
		if p := a.GetProblem(); p != nil {
			r.Reply.Answers = append(r.Reply.Answers, history.Answer{Problem: p.Reason.String()})
			continue
		}
		r.Reply.Answers = append(r.Reply.Answers, history.Answer{
			Start: escrow.Millis(a.WindowStartMs), End: escrow.Millis(a.WindowEndMs), Granted: escrow.Credits(a.Granted), TTL: escrow.Millis(a.TtlMs),
			Limit: escrow.Credits(a.Limit), Left: escrow.Credits(a.Left), Retry: escrow.Millis(a.RetryAfterMs),
		})
	}
	return r
}
