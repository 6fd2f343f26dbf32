package main

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/tkcoord/tkcoord/policy"
)

// planFlags are those of the commands that compare a file with the cluster.
type planFlags struct {
	file          string
	prune, strict bool
}

func (f *planFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&f.file, "file", "f", "", "policy `file`, - for stdin")
	cmd.Flags().BoolVar(&f.prune, "prune", false, "delete the policies that are not in the file")
	registerStrict(cmd.Flags(), "strict", &f.strict)
	_ = cmd.MarkFlagFilename("file", "yaml", "yml", "json")
}

// registerStrict adds the flag that makes warnings about a policy file problems.
func registerStrict(f *pflag.FlagSet, name string, strict *bool) {
	f.BoolVar(strict, name, false, "refuse keys of the policy file that are unknown or have no effect, as in files of version 2")
}

func newPolicyPlanCommand(a *cli) *cobra.Command {
	var flags planFlags
	var detailed bool
	cmd := &cobra.Command{
		Use:   "plan -f FILE",
		Short: "Show what applying a policy file would change, and change nothing",
		Long: `Show what applying a policy file would change, and change nothing.

Keys of the file that are unknown or have no effect are warned about. In files of
version 2, or with --strict, they are problems, and the file is refused.

With --detailed-exitcode the exit code is 0 if there is nothing to change and 3
if there is, for scripts; without it both are 0.`,
		Example: `  tkcoord policy plan -f limits.yaml
  tkcoord policy plan -f limits.yaml --prune --detailed-exitcode`,
		Args:              wantArgs(0, 0, ""),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect(cmd)
			if err != nil {
				return err
			}
			defer c.Close()
			p, err := a.plan(cmd.Context(), c, flags)
			if err != nil {
				return err
			}
			if err := a.show(p); err != nil {
				return err
			}
			if detailed && p.changes() {
				return errNo
			}
			return nil
		},
	}
	flags.register(cmd)
	cmd.Flags().BoolVar(&detailed, "detailed-exitcode", false, "exit with 3 if something would change")
	return cmd
}

// A plan is what a change does to the policies of one version. Its JSON form is
// stable.
type plan struct {
	Version uint64          `json:"version"` // that the changes are about
	Changes []policy.Change `json:"changes"`
	Applied bool            `json:"applied"`
	// NewVersion is that of the policies once the plan was applied, else 0.
	NewVersion uint64 `json:"new_version"`
}

// plan reads a file and compares it with the cluster.
func (a *cli) plan(ctx context.Context, c *client, flags planFlags) (*plan, error) {
	wanted, err := a.readPolicies(ctx, flags.file, flags.strict)
	if err != nil {
		return nil, err
	}
	return newPlan(ctx, c, func(current []policy.Policy) []policy.Change {
		return policy.Plan(current, wanted, flags.prune)
	})
}

// newPlan asks for the policies in force and plans on them.
func newPlan(ctx context.Context, c *client, changes func(current []policy.Policy) []policy.Change) (*plan, error) {
	res, err := getPolicies(ctx, c)
	if err != nil {
		return nil, err
	}
	current, err := fromWire(res)
	if err != nil {
		return nil, err
	}
	return &plan{Version: res.Version, Changes: slices.AppendSeq([]policy.Change{}, slices.Values(changes(current)))}, nil
}

// changes reports whether the plan changes anything.
func (p *plan) changes() bool {
	return slices.ContainsFunc(p.Changes, func(c policy.Change) bool { return c.Kind != policy.Unchanged })
}

// show writes a plan to stdout in the form asked for.
func (a *cli) show(p *plan) error {
	if a.opts.output == asJSON {
		return writeJSON(a.stdout, p)
	}
	return p.write(a.stdout)
}

// write shows the plan to a person. Policies that stay as they are do not
// appear, they are only counted.
func (p *plan) write(w io.Writer) error {
	kept := 0
	var err error
	for _, c := range p.Changes {
		switch {
		case c.Kind != policy.Unchanged:
			_, err = fmt.Fprint(w, c)
		case len(c.Notes) > 0: // not in the file
			kept++
		}
		if err != nil {
			return fmt.Errorf("write the plan: %w", err)
		}
	}
	text := policy.Summary(p.Changes)
	if kept > 0 {
		text += fmt.Sprintf(", %d of them not in the file (--prune deletes them)", kept)
	}
	if _, err = fmt.Fprintf(w, "policies at version %d: %s\n", p.Version, text); err != nil {
		return fmt.Errorf("write the plan: %w", err)
	}
	return nil
}
