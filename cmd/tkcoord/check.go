package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/spf13/cobra"
	"github.com/tkcoord/tkcoord/api/throttlekitv1"
	"github.com/tkcoord/tkcoord/edge"
	"google.golang.org/grpc"
)

// maxRepeat bounds the decisions of one command, which are all kept.
const maxRepeat = 1_000_000

func newCheckCommand(a *cli) *cobra.Command {
	n, repeat, local := int64(1), 1, false
	cmd := &cobra.Command{
		Use:     "check POLICY KEY",
		GroupID: groupPolicies,
		Short:   "Have a request decided, and show the decision",
		Long: `Have a request decided by the cluster, and show the decision. What is allowed
counts against the limit.

With --local this command is an edge, which leases credits and decides by itself,
for policies that edges can have: fixedWindow and quota. What it was granted
beyond what it allowed goes back when it ends.

The exit code is 0 if every request was allowed and 3 if one was denied. A check
that nobody could decide fails, whatever the node's fail mode answered.`,
		Example: `  tkcoord check api user-17
  tkcoord check api user-17 -n 5 --repeat 30
  tkcoord check api user-17 --local --repeat 1000
  tkcoord check api user-17 >/dev/null && echo allowed`,
		Args:              wantArgs(2, 2, "POLICY and KEY"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := wantAmount("-n", n); err != nil {
				return err
			}
			if repeat < 1 || repeat > maxRepeat {
				return usagef("--repeat: got %d, want 1 to %d", repeat, maxRepeat)
			}
			c, err := a.connect(cmd)
			if err != nil {
				return err
			}
			defer c.Close()
			r := &checkReport{Policy: args[0], Key: args[1], N: n, Decisions: []decisionReport{}}
			if local {
				return a.checkLocal(cmd.Context(), c, r, repeat)
			}
			return a.showChecks(r, r.ask(cmd.Context(), c, repeat))
		},
	}
	cmd.Flags().Int64VarP(&n, "cost", "n", n, "units that a request costs")
	cmd.Flags().IntVar(&repeat, "repeat", repeat, "how many requests to decide on, one after the other")
	cmd.Flags().BoolVar(&local, "local", false, "decide as an edge, from leased credits")
	return cmd
}

// A checkReport is the JSON form of check.
type checkReport struct {
	Policy    string           `json:"policy"`
	Key       string           `json:"key"`
	N         int64            `json:"n"`
	Allowed   int              `json:"allowed"`
	Denied    int              `json:"denied"`
	Decisions []decisionReport `json:"decisions"`
}

// ask asks the cluster again and again until a question has no answer.
func (r *checkReport) ask(ctx context.Context, c *client, repeat int) error {
	for range repeat {
		res, err := ask(ctx, c, changes, func(ctx context.Context, l throttlekitv1.RateLimiterClient) (*throttlekitv1.CheckResponse, error) {
			return l.Check(ctx, &throttlekitv1.CheckRequest{Policy: r.Policy, Key: r.Key, Cost: r.N})
		})
		if err != nil {
			return err
		}
		d, err := newDecisionReport(res.Decision)
		if err != nil {
			return err
		}
		r.add(d)
	}
	return nil
}

// showChecks shows decisions, also those before a failure.
func (a *cli) showChecks(r *checkReport, failed error) error {
	if len(r.Decisions) > 0 {
		if err := r.write(a.stdout, a.opts.output); err != nil {
			return err
		}
	}
	if failed == nil && r.Denied > 0 {
		return errNo
	}
	return failed
}

// checkLocal opens an edge for one command and shows its decisions.
func (a *cli) checkLocal(ctx context.Context, c *client, r *checkReport, repeat int) (err error) {
	// NB: an edge takes an absent cluster for granted; a person wants to know.
	if err := c.reach(ctx); err != nil {
		return err
	}
	e, err := edge.Open(ctx, c.edgeConfig())
	if err != nil {
		return err
	}
	failed := r.decide(ctx, e.Limiter(r.Policy), c.timeout, repeat)
	if err := e.Close(); err != nil && failed == nil {
		failed = fmt.Errorf("end the edge: %w", err)
	}
	return a.showChecks(r, failed)
}

// reach connects to the first address that lets it.
func (c *client) reach(ctx context.Context) error {
	_, err := do(ctx, c, repeats, func(context.Context, grpc.ClientConnInterface) (struct{}, error) { return struct{}{}, nil })
	return err
}

// edgeConfig describes an edge that lives for one command: it fails closed.
func (c *client) edgeConfig() edge.Config {
	cfg := edge.DefaultConfig()
	cfg.EdgeID = newThrowaway().id
	cfg.Addresses = c.addrs
	cfg.DialOptions = []grpc.DialOption{grpc.WithTransportCredentials(c.creds)}
	cfg.Patience = c.timeout
	cfg.CloseTimeout = min(cfg.CloseTimeout, c.timeout)
	cfg.Logger = slog.New(slog.DiscardHandler)
	return cfg
}

// decide asks again and again until a question has no answer.
func (r *checkReport) decide(ctx context.Context, l *edge.Limiter, timeout time.Duration, repeat int) error {
	for range repeat {
		limited, cancel := context.WithTimeout(ctx, timeout)
		d, err := l.Check(limited, r.Key, r.N)
		cancel()
		switch {
		case ctx.Err() != nil:
			return errInterrupted
		case errors.Is(err, edge.ErrUnknownPolicy):
			return hint(err, "tkcoord policy get --counters lists the policies")
		case errors.Is(err, context.DeadlineExceeded):
			return hint(fmt.Errorf("no answer in %v", timeout), "tkcoord status shows whether there is a leader")
		case err != nil:
			return err
		}
		r.add(edgeDecision(d))
	}
	return nil
}

func (r *checkReport) add(d decisionReport) {
	if d.Allowed {
		r.Allowed++
	} else {
		r.Denied++
	}
	r.Decisions = append(r.Decisions, d)
}

func edgeDecision(d edge.Decision) decisionReport {
	one := decisionReport{
		Allowed: d.Allowed, Limit: d.Limit, Remaining: d.Remaining, ResetAfterMs: d.ResetAfter.Milliseconds(),
		RetryAfterMs: d.RetryAfter.Milliseconds(), WindowMs: d.Window.Milliseconds(), Source: d.Source.String(),
	}
	if !d.ResetAt.IsZero() {
		one.ResetAtMs = d.ResetAt.UnixMilli()
	}
	return one
}

func (r *checkReport) write(w io.Writer, form string) error {
	if form == asJSON {
		return writeJSON(w, r)
	}
	var t table
	t.row(decisionHead...)
	for i := range r.Decisions {
		t.row(r.Decisions[i].row()...)
	}
	return t.write(w)
}
