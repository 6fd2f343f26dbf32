package main

import (
	"context"
	"errors"
	"os"

	"github.com/spf13/cobra"
	"github.com/tkcoord/tkcoord/api/throttlekitv1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// reserveFlags are those of reserve.
type reserveFlags struct {
	want   int64
	domain string
	secret string
}

// A reserveReport is the JSON form of reserve.
type reserveReport struct {
	Policy         string `json:"policy"`
	Domain         string `json:"domain"`
	Wants          int64  `json:"wants"`
	Capacity       int64  `json:"capacity"`
	ExpiryMs       int64  `json:"expiry_ms"`
	RefreshAfterMs int64  `json:"refresh_interval_ms"`
	RetryAfterMs   int64  `json:"retry_after_ms"`
	Limit          int64  `json:"limit"`
}

func newReserveCommand(a *cli) *cobra.Command {
	f := reserveFlags{want: 1}
	cmd := &cobra.Command{
		Use:     "reserve POLICY",
		GroupID: groupPolicies,
		Short:   "Take units of a federated policy for good",
		Long: `Take up to --want units out of the current window of a federated policy, as a
client that decides by itself would. What is not spent by the end of the window
is lost: nothing can be given back.

Nodes serve this to callers on their own machine or, where they have a secret, to
those who show it. The exit code is 3 if nothing was left.`,
		Example: `  tkcoord reserve global --want 64
  TKCOORD_FLEET_SECRET=... tkcoord reserve global --domain tenant-3 --want 64 --addr 10.0.0.1`,
		Args:              wantArgs(1, 1, "POLICY"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := wantAmount("--want", f.want); err != nil {
				return err
			}
			for _, name := range []string{envName("fleet-secret"), contractEnv["fleet-secret"]} {
				if f.secret == "" {
					f.secret = os.Getenv(name)
				}
			}
			c, err := a.connect(cmd)
			if err != nil {
				return err
			}
			defer c.Close()
			return a.reserve(cmd.Context(), c, args[0], f)
		},
	}
	cmd.Flags().Int64Var(&f.want, "want", f.want, "units to ask for")
	cmd.Flags().StringVar(&f.domain, "domain", "", "`key` of the budget; without one it is the policy's name")
	cmd.Flags().StringVar(&f.secret, "fleet-secret", "", "`secret` to show; better set in "+envName("fleet-secret")+" or "+contractEnv["fleet-secret"])
	return cmd
}

func (a *cli) reserve(ctx context.Context, c *client, policy string, f reserveFlags) error {
	if f.secret != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "x-fleet-secret", f.secret)
	}
	res, err := do(ctx, c, changes, func(ctx context.Context, conn grpc.ClientConnInterface) (*throttlekitv1.ReserveResponse, error) {
		res, err := throttlekitv1.NewFleetClient(conn).Reserve(ctx, &throttlekitv1.ReserveRequest{
			Policy: policy, Wants: f.want, Caller: &throttlekitv1.Caller{Domain: f.domain},
		})
		if notThere(err) {
			return &throttlekitv1.ReserveResponse{}, nil
		}
		return res, err
	})
	switch {
	case err != nil:
		return err
	case res.Lease == nil:
		return hint(errors.New("no policy of the cluster is federated"), "tkcoord policy get shows them")
	}
	l := res.Lease
	r := reserveReport{
		Policy: policy, Domain: f.domain, Wants: f.want, Capacity: l.Capacity, ExpiryMs: l.ExpiryMs,
		RefreshAfterMs: l.RefreshIntervalMs, RetryAfterMs: l.RetryAfterMs, Limit: l.Limit,
	}
	if a.opts.output == asJSON {
		err = writeJSON(a.stdout, r)
	} else {
		var t table
		t.row("GRANTED", "WANTED", "LIMIT", "EXPIRES", "EXPIRES IN", "RETRY IN")
		retry := ""
		if r.Capacity == 0 {
			retry = span(r.RetryAfterMs)
		}
		t.row(r.Capacity, r.Wants, r.Limit, instant(r.ExpiryMs), span(r.RefreshAfterMs), retry)
		err = t.write(a.stdout)
	}
	if err == nil && r.Capacity == 0 {
		return errNo
	}
	return err
}
