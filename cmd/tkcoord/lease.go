package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"google.golang.org/grpc"
)

// leaseFlags are those of lease.
type leaseFlags struct {
	want, need int64
	giveBack   bool
	hold       time.Duration
}

func newLeaseCommand(a *cli) *cobra.Command {
	var flags leaseFlags
	cmd := &cobra.Command{
		Use:     "lease POLICY KEY --want N",
		GroupID: groupPolicies,
		Short:   "Take a lease on a budget, as an edge would",
		Long: `Take a lease on a budget, as an edge would, and show what was granted.

The command is an edge of its own that ends with it. What it was granted is
spent for this window, unless it is given back: at once with --return, after a
while with --hold.

A grant may be less than --want, since something is left for others when little
remains; it reaches --need if it can at all. The exit code is 3 if it does not.`,
		Example: `  tkcoord lease api user-17 --want 100
  tkcoord lease api user-17 --want 100 --need 100 --return
  tkcoord lease api user-17 --want 100 --hold 10s`,
		Args:              wantArgs(2, 2, "POLICY and KEY"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := flags.validate(cmd); err != nil {
				return err
			}
			c, err := a.connect(cmd)
			if err != nil {
				return err
			}
			defer c.Close()
			return a.lease(cmd.Context(), c, args[0], args[1], flags)
		},
	}
	cmd.Flags().Int64Var(&flags.want, "want", 0, "credits to ask for")
	cmd.Flags().Int64Var(&flags.need, "need", 1, "credits without which the lease is of no use, at most --want")
	cmd.Flags().BoolVar(&flags.giveBack, "return", false, "give the credits back at once, or after --hold")
	cmd.Flags().DurationVar(&flags.hold, "hold", 0, "keep the credits for this long, then give them back")
	return cmd
}

func (f leaseFlags) validate(cmd *cobra.Command) error {
	var errs []error
	switch {
	case !cmd.Flags().Changed("want"):
		errs = append(errs, errors.New("--want is missing: how many credits?"))
	case f.want < 1:
		errs = append(errs, fmt.Errorf("--want: got %d, want 1 or more", f.want))
	case f.need < 0 || f.need > f.want:
		errs = append(errs, fmt.Errorf("--need: got %d, want 0 to --want (%d)", f.need, f.want))
	}
	if f.hold < 0 {
		errs = append(errs, fmt.Errorf("--hold: got %v, want a duration that is not negative", f.hold))
	}
	if err := errors.Join(errs...); err != nil {
		return usageError{err}
	}
	return nil
}

// A throwaway is an edge that lives for one command.
type throwaway struct {
	id          string
	incarnation uint64
	session     uint64
	seq         uint64
}

func newThrowaway() *throwaway {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	n := binary.LittleEndian.Uint64(b[:]) | 1
	return &throwaway{id: fmt.Sprintf("tkcoord-%016x", n), incarnation: n}
}

// exchange settles one budget.
func (t *throwaway) exchange(ctx context.Context, c *client, ask *tkcoordv1.Ask) (*tkcoordv1.ExchangeResponse, *tkcoordv1.Answer, error) {
	t.seq++
	req := &tkcoordv1.ExchangeRequest{EdgeId: t.id, Incarnation: t.incarnation, Session: t.session, Seq: t.seq, Asks: []*tkcoordv1.Ask{ask}}
	res, err := do(ctx, c, repeats, func(ctx context.Context, conn grpc.ClientConnInterface) (*tkcoordv1.ExchangeResponse, error) {
		return tkcoordv1.NewEdgeClient(conn).Exchange(ctx, req)
	})
	if err != nil {
		return nil, nil, err
	}
	if n := len(res.Answers); n != 1 {
		return nil, nil, fmt.Errorf("the node gave %d answers to one question", n)
	}
	t.session = res.Session
	if p := res.Answers[0].Problem; p != nil {
		return nil, nil, refusal(p)
	}
	return res, res.Answers[0], nil
}

// refusal turns the refusal of an ask into an error.
func refusal(p *tkcoordv1.Problem) error {
	err := errors.New(p.Message)
	if p.Reason == tkcoordv1.Reason_REASON_UNKNOWN_POLICY {
		return hint(err, "tkcoord policy get --counters lists the policies")
	}
	return err
}

// lease takes a lease, shows it and gives it back if asked to.
func (a *cli) lease(ctx context.Context, c *client, policy, key string, f leaseFlags) error {
	edge := newThrowaway()
	res, ans, err := edge.exchange(ctx, c, &tkcoordv1.Ask{Policy: policy, Key: key, Need: f.need, Want: f.want})
	if err != nil {
		return err
	}
	r := newLeaseReport(edge, res, ans)
	r.Policy, r.Key, r.Need, r.Want = policy, key, f.need, f.want
	giveBack := ans.Granted > 0 && (f.giveBack || f.hold > 0)
	if a.opts.output != asJSON {
		if err := r.write(a.stdout); err != nil {
			return err
		}
	}
	if giveBack {
		after, err := hold(ctx, c, edge, r, f.hold)
		if err != nil {
			return fmt.Errorf("give back %d credits: %w", r.Granted, err)
		}
		r.Returned, r.LeftAfter = r.Granted, &after.Left
		if after.WindowStartMs != r.WindowStartMs {
			r.Returned = 0 // the window ended: there is nothing to give back to
		}
	}
	switch {
	case a.opts.output == asJSON:
		err = writeJSON(a.stdout, r)
	case giveBack:
		t := table{least: facts}
		t.row("returned", fmt.Sprintf("%d, %d left", r.Returned, *r.LeftAfter))
		err = t.write(a.stdout)
	}
	if err == nil && r.Granted < r.Need {
		return errNo
	}
	return err
}

// hold waits and gives everything back, at once when ctx ends.
func hold(ctx context.Context, c *client, edge *throwaway, r *leaseReport, d time.Duration) (*tkcoordv1.Answer, error) {
	if d > 0 {
		select {
		case <-ctx.Done():
		case <-time.After(d):
		}
	}
	_, ans, err := edge.exchange(context.WithoutCancel(ctx), c, &tkcoordv1.Ask{
		Policy: r.Policy, Key: r.Key, WindowStartMs: r.WindowStartMs, Returned: r.Granted,
	})
	return ans, err
}
