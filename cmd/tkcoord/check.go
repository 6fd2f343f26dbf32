package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/spf13/cobra"
	"github.com/tkcoord/tkcoord/edge"
	"github.com/tkcoord/tkcoord/escrow"
	"google.golang.org/grpc"
)

// maxRepeat bounds the decisions of one command, which are all kept.
const maxRepeat = 1_000_000

func newCheckCommand(a *cli) *cobra.Command {
	n, repeat := int64(1), 1
	cmd := &cobra.Command{
		Use:     "check POLICY KEY",
		GroupID: groupPolicies,
		Short:   "Decide on a request, as an edge with this policy would",
		Long: `Decide on a request, as an edge with this policy would, and show the decision.
What is admitted counts against the limit; what else the edge was granted goes
back when the command ends.

The exit code is 0 if every request was allowed and 3 if one was denied.`,
		Example: `  tkcoord check api user-17
  tkcoord check api user-17 -n 5 --repeat 30
  tkcoord check api user-17 >/dev/null && echo allowed`,
		Args:              wantArgs(2, 2, "POLICY and KEY"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if n < 1 || n > int64(escrow.MaxCredits) {
				return usagef("-n: got %d, want 1 to %d", n, escrow.MaxCredits)
			}
			if repeat < 1 || repeat > maxRepeat {
				return usagef("--repeat: got %d, want 1 to %d", repeat, maxRepeat)
			}
			c, err := a.connect(cmd)
			if err != nil {
				return err
			}
			defer c.Close()
			return a.check(cmd.Context(), c, &checkReport{Policy: args[0], Key: args[1], N: n, Decisions: []decisionReport{}}, repeat)
		},
	}
	cmd.Flags().Int64VarP(&n, "cost", "n", n, "units that a request costs")
	cmd.Flags().IntVar(&repeat, "repeat", repeat, "how many requests to decide on, one after the other")
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

type decisionReport struct {
	Allowed      bool   `json:"allowed"`
	Limit        int64  `json:"limit"`
	Remaining    int64  `json:"remaining"`
	ResetAtMs    int64  `json:"reset_at_ms"`
	ResetAfterMs int64  `json:"reset_after_ms"`
	RetryAfterMs int64  `json:"retry_after_ms"` // 0 if allowed
	WindowMs     int64  `json:"window_ms"`      // 0 for calendar windows
	Source       string `json:"source"`
}

// check opens an edge for one command and shows its decisions, also those before
// a failure.
func (a *cli) check(ctx context.Context, c *client, r *checkReport, repeat int) (err error) {
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
		r.add(d)
	}
	return nil
}

func (r *checkReport) add(d edge.Decision) {
	if d.Allowed {
		r.Allowed++
	} else {
		r.Denied++
	}
	one := decisionReport{
		Allowed: d.Allowed, Limit: d.Limit, Remaining: d.Remaining, ResetAfterMs: d.ResetAfter.Milliseconds(),
		RetryAfterMs: d.RetryAfter.Milliseconds(), WindowMs: d.Window.Milliseconds(), Source: d.Source.String(),
	}
	if !d.ResetAt.IsZero() {
		one.ResetAtMs = d.ResetAt.UnixMilli()
	}
	r.Decisions = append(r.Decisions, one)
}

func (r *checkReport) write(w io.Writer, form string) error {
	if form == asJSON {
		return writeJSON(w, r)
	}
	var t table
	t.row("ALLOWED", "LIMIT", "REMAINING", "RESET", "RESETS IN", "RETRY IN", "SOURCE")
	for _, d := range r.Decisions {
		retry := ""
		if !d.Allowed {
			retry = span(d.RetryAfterMs)
		}
		t.row(yesNo(d.Allowed), d.Limit, d.Remaining, instant(d.ResetAtMs), span(d.ResetAfterMs), retry, d.Source)
	}
	return t.write(w)
}
