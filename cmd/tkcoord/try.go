package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/tkcoord/tkcoord/api"
	"github.com/tkcoord/tkcoord/api/throttlekitv1"
	"github.com/tkcoord/tkcoord/escrow"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Commands that try a policy through the public door, as a client of the contract
// would: check, peek, forecast, debit, admit, reserve.

// A decisionReport is a decision in JSON.
type decisionReport struct {
	Allowed      bool   `json:"allowed"`
	Limit        int64  `json:"limit"`
	Remaining    int64  `json:"remaining"`
	ResetAtMs    int64  `json:"reset_at_ms"`
	ResetAfterMs int64  `json:"reset_after_ms"`
	RetryAfterMs int64  `json:"retry_after_ms"` // 0 if allowed
	WindowMs     int64  `json:"window_ms"`      // of check --local; 0 for calendar windows
	Source       string `json:"source"`
}

// fromCluster is the source of decisions that the cluster made.
const fromCluster = "cluster"

// newDecisionReport describes a decision of the public door. It reports
// errUndecided for one that nobody made: its reset_at is 0.
func newDecisionReport(d *throttlekitv1.Decision) (decisionReport, error) {
	r := decisionReport{
		Allowed: d.GetAllowed(), Limit: d.GetLimit(), Remaining: d.GetRemaining(), ResetAtMs: d.GetResetAt(),
		RetryAfterMs: d.GetRetryAfterMs(), Source: fromCluster,
	}
	if r.ResetAtMs == 0 {
		verb := "denies"
		if r.Allowed {
			verb = "allows"
		}
		return r, hint(fmt.Errorf("%w; the node %s then", errUndecided, verb), "tkcoord status shows whether there is a leader")
	}
	r.ResetAfterMs = max(0, r.ResetAtMs-time.Now().UnixMilli())
	return r, nil
}

var errUndecided = errors.New("nobody could decide")

// decisionHead and row show a decision in a table.
var decisionHead = []any{"ALLOWED", "LIMIT", "REMAINING", "RESET", "RESETS IN", "RETRY IN", "SOURCE"}

func (d *decisionReport) row() []any {
	retry := ""
	if !d.Allowed {
		retry = span(d.RetryAfterMs)
	}
	return []any{yesNo(d.Allowed), d.Limit, d.Remaining, instant(d.ResetAtMs), span(d.ResetAfterMs), retry, d.Source}
}

// showDecision shows one decision, and returns errNo for a denial.
func (a *cli) showDecision(d decisionReport) error {
	var err error
	if a.opts.output == asJSON {
		err = writeJSON(a.stdout, d)
	} else {
		var t table
		t.row(decisionHead...)
		t.row(d.row()...)
		err = t.write(a.stdout)
	}
	if err == nil && !d.Allowed {
		return errNo
	}
	return err
}

// ask makes a call of the public door.
func ask[R any](ctx context.Context, c *client, e effect, f func(context.Context, throttlekitv1.RateLimiterClient) (R, error)) (R, error) {
	return do(ctx, c, e, func(ctx context.Context, conn grpc.ClientConnInterface) (R, error) {
		return f(ctx, throttlekitv1.NewRateLimiterClient(conn))
	})
}

// tryCommand makes a command that asks about one policy and key.
func tryCommand(a *cli, use, short, long, example string, run func(ctx context.Context, c *client, policy, key string) error) *cobra.Command {
	return &cobra.Command{
		Use: use, GroupID: groupPolicies, Short: short, Long: long, Example: example,
		Args:              wantArgs(2, 2, "POLICY and KEY"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect(cmd)
			if err != nil {
				return err
			}
			defer c.Close()
			return run(cmd.Context(), c, args[0], args[1])
		},
	}
}

// wantAmount checks how much is asked for.
func wantAmount(flag string, n int64) error {
	if n < 1 || n > int64(escrow.MaxCredits) {
		return usagef("%s: got %d, want 1 to %d", flag, n, escrow.MaxCredits)
	}
	return nil
}

func newPeekCommand(a *cli) *cobra.Command {
	return tryCommand(a, "peek POLICY KEY", "Show what is left for a key, and take nothing",
		`Show whether a request for one unit would be allowed now, and how many units are
left, without taking any.

The exit code is 0 if it would be allowed and 3 if not.`,
		`  tkcoord peek api user-17
  tkcoord peek api user-17 -o json`,
		func(ctx context.Context, c *client, policy, key string) error {
			res, err := ask(ctx, c, repeats, func(ctx context.Context, l throttlekitv1.RateLimiterClient) (*throttlekitv1.PeekResponse, error) {
				return l.Peek(ctx, &throttlekitv1.PeekRequest{Policy: policy, Key: key})
			})
			if err != nil {
				return err
			}
			d, err := newDecisionReport(res.Decision)
			if err != nil {
				return err
			}
			return a.showDecision(d)
		})
}

// A forecastReport is the JSON form of forecast.
type forecastReport struct {
	Policy            string `json:"policy"`
	Key               string `json:"key"`
	N                 int64  `json:"n"`
	SpendableNow      int64  `json:"spendable_now"`
	NextReplenishAtMs int64  `json:"next_replenish_at_ms"`
	FullAtMs          int64  `json:"full_at_ms"`
}

func newForecastCommand(a *cli) *cobra.Command {
	n := int64(1)
	cmd := tryCommand(a, "forecast POLICY KEY", "Show when there will be more for a key",
		`Show how many requests of a cost would be allowed now, one after the other, when
at least one unit more is there, and when all of it is.`,
		`  tkcoord forecast api user-17
  tkcoord forecast api user-17 -n 5`,
		func(ctx context.Context, c *client, policy, key string) error {
			if err := wantAmount("-n", n); err != nil {
				return err
			}
			res, err := ask(ctx, c, repeats, func(ctx context.Context, l throttlekitv1.RateLimiterClient) (*throttlekitv1.ForecastResponse, error) {
				return l.Forecast(ctx, &throttlekitv1.ForecastRequest{Policy: policy, Key: key, Cost: n})
			})
			if err != nil {
				return err
			}
			f := res.GetForecast()
			r := forecastReport{Policy: policy, Key: key, N: n, SpendableNow: f.GetSpendableNow(), NextReplenishAtMs: f.GetNextReplenishAt(), FullAtMs: f.GetFullAt()}
			if a.opts.output == asJSON {
				return writeJSON(a.stdout, r)
			}
			var t table
			t.row("SPENDABLE NOW", "MORE AT", "FULL AT")
			t.row(r.SpendableNow, instant(r.NextReplenishAtMs), instant(r.FullAtMs))
			return t.write(a.stdout)
		})
	cmd.Flags().Int64VarP(&n, "cost", "n", n, "units that a request costs")
	return cmd
}

func newDebitCommand(a *cli) *cobra.Command {
	n := int64(1)
	cmd := tryCommand(a, "debit POLICY KEY", "Count tokens that were used against a budget",
		`Count tokens that were used against the budget of a policy with tokenBudget or
fleetBudget. A debit is allowed while any budget is left, and the one that
crosses the limit is counted in full.

The exit code is 0 if it was counted and 3 if the budget was used up before.`,
		`  tkcoord debit tokens tenant-3 -n 1500
  tkcoord debit tokens tenant-3 -n 1500 >/dev/null || echo "budget is used up"`,
		func(ctx context.Context, c *client, policy, key string) error {
			if err := wantAmount("-n", n); err != nil {
				return err
			}
			res, err := ask(ctx, c, changes, func(ctx context.Context, l throttlekitv1.RateLimiterClient) (*throttlekitv1.DebitResponse, error) {
				return l.Debit(ctx, &throttlekitv1.DebitRequest{Policy: policy, Key: key, Tokens: n})
			})
			if err != nil {
				return err
			}
			d, err := newDecisionReport(res.Decision)
			if err != nil {
				return err
			}
			return a.showDecision(d)
		})
	cmd.Flags().Int64VarP(&n, "tokens", "n", n, "tokens that were used")
	return cmd
}

// notThere reports whether an answer means that a service is not served.
func notThere(err error) bool {
	reason, _ := api.Reason(err)
	return status.Code(err) == codes.Unimplemented && reason == ""
}
