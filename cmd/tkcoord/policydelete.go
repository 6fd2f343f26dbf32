package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/tkcoord/tkcoord/policy"
)

func newPolicyDeleteCommand(a *cli) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "delete NAME...",
		Short: "Delete policies",
		Long: `Delete policies, all of those named or none.

The plan is shown first. On a terminal it has to be confirmed, unless --yes is
given.`,
		Example: `  tkcoord policy delete api
  tkcoord policy delete api uploads --yes`,
		Args:              wantArgs(1, -1, "NAME..."),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, names []string) error {
			c, err := a.connect(cmd)
			if err != nil {
				return err
			}
			defer c.Close()
			p, err := planDelete(cmd.Context(), c, names)
			if err != nil {
				return err
			}
			return a.apply(cmd.Context(), c, p, yes)
		},
	}
	registerYes(cmd, &yes)
	return cmd
}

func planDelete(ctx context.Context, c *client, names []string) (*plan, error) {
	missing := slices.Clone(names)
	p, err := newPlan(ctx, c, func(current []policy.Policy) []policy.Change {
		var stay []policy.Policy
		for _, p := range current {
			if slices.Contains(names, p.Name) {
				missing = slices.DeleteFunc(missing, func(n string) bool { return n == p.Name })
			} else {
				stay = append(stay, p)
			}
		}
		return policy.Plan(current, stay, true)
	})
	if err != nil {
		return nil, err
	}
	if len(missing) > 0 {
		return nil, hint(fmt.Errorf("no policy is named %s", strings.Join(quoted(missing), " or ")), "tkcoord policy get --counters lists the policies")
	}
	return p, nil
}

func quoted(names []string) []string {
	q := make([]string, len(names))
	for i, n := range names {
		q[i] = fmt.Sprintf("%q", n)
	}
	return q
}
