package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/tkcoord/tkcoord/api"
	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"github.com/tkcoord/tkcoord/policy"
	"google.golang.org/grpc"
)

func newPolicyApplyCommand(a *cli) *cobra.Command {
	var flags planFlags
	var yes bool
	cmd := &cobra.Command{
		Use:   "apply -f FILE",
		Short: "Make the policies of a cluster those of a file",
		Long: `Make the policies of a cluster those of a file, all or nothing.

The plan is shown first. On a terminal it has to be confirmed, unless --yes is
given. If the policies change between the plan and its application, nothing is
applied. Policies that are not in the file stay, unless --prune is given.

Keys of the file that are unknown or have no effect are warned about. In files of
version 2, or with --strict, they are problems, and nothing is applied.`,
		Example: `  tkcoord policy apply -f limits.yaml
  tkcoord policy apply -f limits.yaml --prune --yes
  tkcoord policy apply -f .throttlekit.yaml --strict
  generate-limits | tkcoord policy apply -f -`,
		Args:              wantArgs(0, 0, ""),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if flags.file == "-" && !yes && a.interactive() {
				return usagef("-f - takes stdin, where the confirmation would come from: add --yes")
			}
			c, err := a.connect(cmd)
			if err != nil {
				return err
			}
			defer c.Close()
			p, err := a.plan(cmd.Context(), c, flags)
			if err != nil {
				return err
			}
			return a.apply(cmd.Context(), c, p, yes)
		},
	}
	flags.register(cmd)
	registerYes(cmd, &yes)
	return cmd
}

func registerYes(cmd *cobra.Command, yes *bool) {
	cmd.Flags().BoolVarP(yes, "yes", "y", false, "do not ask for confirmation")
}

// apply shows a plan, has it confirmed where a person can, and applies it.
func (a *cli) apply(ctx context.Context, c *client, p *plan, yes bool) error {
	ask := !yes && p.changes() && a.interactive()
	quiet := a.opts.output == asJSON
	if !quiet {
		if err := p.write(a.stdout); err != nil {
			return err
		}
	} else if ask {
		if err := p.write(a.stderr); err != nil {
			return err
		}
	}
	if ask {
		if err := a.confirm(ctx, "Apply this?"); err != nil {
			return err
		}
	}
	if p.changes() {
		if err := p.send(ctx, c); err != nil {
			return err
		}
	}
	switch {
	case quiet:
		return writeJSON(a.stdout, p)
	case p.Applied:
		return a.print("applied: the policies are at version %d\n", p.NewVersion)
	default:
		return a.print("nothing to change\n")
	}
}

// send has the cluster apply a plan on the version that it was made for.
func (p *plan) send(ctx context.Context, c *client) error {
	req := p.request()
	res, err := do(ctx, c, changes, func(ctx context.Context, conn grpc.ClientConnInterface) (*tkcoordv1.ApplyPoliciesResponse, error) {
		return tkcoordv1.NewAdminClient(conn).ApplyPolicies(ctx, req)
	})
	switch {
	case errors.Is(err, errChanged):
		return hint(fmt.Errorf("nothing was applied: %w", err), "the plan was made on version %d: run the command again for a new one", p.Version)
	case errors.Is(err, errUnknownOutcome):
		return hint(err, "run the command again: it applies what is missing")
	case err != nil:
		return fmt.Errorf("nothing was applied: %w", err)
	}
	p.Applied, p.NewVersion = true, res.Version
	return nil
}

func (p *plan) request() *tkcoordv1.ApplyPoliciesRequest {
	// NB: version 0, before the first policy, expects nothing in particular.
	req := &tkcoordv1.ApplyPoliciesRequest{ExpectVersion: p.Version}
	for _, c := range p.Changes {
		switch c.Kind {
		case policy.Add, policy.Update:
			req.Put = append(req.Put, api.PolicyToWire(c.New))
		case policy.Delete:
			req.Delete = append(req.Delete, c.Name)
		case policy.Unchanged:
		}
	}
	return req
}
