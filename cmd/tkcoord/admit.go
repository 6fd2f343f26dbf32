package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/tkcoord/tkcoord/api/throttlekitv1"
)

// beatEvery is how often a slot that is held is kept: it lives for two of these.
const beatEvery = time.Second

// admitFlags are those of admit.
type admitFlags struct {
	hold    time.Duration
	dropped bool
}

// An admitReport is the JSON form of admit.
type admitReport struct {
	decisionReport
	Policy    string `json:"policy"`
	Key       string `json:"key"`
	LeaseID   string `json:"lease_id"` // "" if not admitted
	ExpiresAt int64  `json:"lease_expires_at_ms"`
	Axis      string `json:"binding_axis"` // what denied
	Beats     int    `json:"heartbeats"`
	Released  bool   `json:"released"`
}

func newAdmitCommand(a *cli) *cobra.Command {
	var flags admitFlags
	cmd := &cobra.Command{
		Use:     "admit POLICY [KEY]",
		GroupID: groupPolicies,
		Short:   "Take a slot of a policy with concurrency, hold it, and give it back",
		Long: `Take a slot of a policy with concurrency and, if it has a rate too, a unit of
KEY's; keep the slot for --hold with a heartbeat each second, then give it back.
Ctrl-C gives it back at once.

A slot that is not kept is taken back after two seconds, also when this command
is killed. The exit code is 3 if no slot was to be had.`,
		Example: `  tkcoord admit checkout
  tkcoord admit checkout user-17 --hold 30s
  tkcoord admit checkout --hold 5s --dropped`,
		Args:              wantArgs(1, 2, "POLICY and perhaps KEY"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if flags.hold < 0 {
				return usagef("--hold: got %v, want a duration that is not negative", flags.hold)
			}
			c, err := a.connect(cmd)
			if err != nil {
				return err
			}
			defer c.Close()
			return a.admit(cmd.Context(), c, append(args, "")[:2], flags)
		},
	}
	cmd.Flags().DurationVar(&flags.hold, "hold", 0, "how long to keep the slot")
	cmd.Flags().BoolVar(&flags.dropped, "dropped", false, "say that the work failed when giving the slot back, which lowers the limit")
	return cmd
}

// admit takes a slot, shows it, keeps it and gives it back.
func (a *cli) admit(ctx context.Context, c *client, args []string, f admitFlags) error {
	r := &admitReport{Policy: args[0], Key: args[1]}
	res, err := ask(ctx, c, changes, func(ctx context.Context, l throttlekitv1.RateLimiterClient) (*throttlekitv1.AdmitResponse, error) {
		return l.Admit(ctx, &throttlekitv1.AdmitRequest{Policy: r.Policy, Key: r.Key})
	})
	if err != nil {
		return err
	}
	if r.decisionReport, err = newDecisionReport(res.Decision); err != nil {
		return err
	}
	r.LeaseID, r.ExpiresAt, r.Axis = res.LeaseId, res.LeaseExpiresAt, res.BindingAxis
	if a.opts.output != asJSON {
		if err := r.write(a); err != nil {
			return err
		}
	}
	if r.LeaseID != "" {
		err = r.keep(ctx, c, f)
	}
	switch {
	case a.opts.output == asJSON:
		err = errors.Join(err, writeJSON(a.stdout, r))
	case r.Released:
		err = errors.Join(err, a.print("released\n"))
	}
	if err == nil && !r.Allowed {
		return errNo
	}
	return err
}

func (r *admitReport) write(a *cli) error {
	var t table
	t.row("ADMITTED", "LIMIT", "REMAINING", "RETRY IN", "DENIED BY", "LEASE", "EXPIRES")
	retry := ""
	if !r.Allowed {
		retry = span(r.RetryAfterMs)
	}
	t.row(yesNo(r.Allowed), r.Limit, r.Remaining, retry, r.Axis, r.LeaseID, instant(r.ExpiresAt))
	return t.write(a.stdout)
}

// keep holds the slot for its time, or until ctx ends, and releases it.
func (r *admitReport) keep(ctx context.Context, c *client, f admitFlags) error {
	held := r.beat(ctx, c, f.hold)
	_, err := ask(context.WithoutCancel(ctx), c, repeats, func(ctx context.Context, l throttlekitv1.RateLimiterClient) (*throttlekitv1.ReleaseResponse, error) {
		return l.Release(ctx, &throttlekitv1.ReleaseRequest{LeaseId: r.LeaseID, Dropped: f.dropped})
	})
	if err != nil {
		err = fmt.Errorf("release the slot, which is taken back within two seconds: %w", err)
	}
	r.Released = err == nil && held == nil
	return errors.Join(held, err)
}

var errReclaimed = errors.New("the slot was taken back: no heartbeat arrived for two seconds")

// beat keeps the slot with a heartbeat each second.
func (r *admitReport) beat(ctx context.Context, c *client, d time.Duration) error {
	end := time.NewTimer(d)
	defer end.Stop()
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-end.C:
			return nil
		case <-tick.C:
		}
		res, err := ask(ctx, c, repeats, func(ctx context.Context, l throttlekitv1.RateLimiterClient) (*throttlekitv1.HeartbeatResponse, error) {
			return l.Heartbeat(ctx, &throttlekitv1.HeartbeatRequest{LeaseIds: []string{r.LeaseID}})
		})
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("heartbeat: %w", err)
		case len(res.LiveIds) == 0:
			return errReclaimed
		}
		r.Beats++
		r.ExpiresAt = res.NextDeadline
	}
}
