// Package cli is the command line of the explorer: it runs the real code and the
// models of the reference at any size, replays counterexamples, breaks the rules
// of the real code one by one, and compares state counts with the known ones.
package cli

import (
	"errors"

	"github.com/spf13/cobra"
)

// How a command can fail although it was understood. Exit codes are in ExitCode.
var (
	ErrViolated   = errors.New("an invariant is violated")
	ErrMismatch   = errors.New("the numbers differ from the known ones")
	ErrIncomplete = errors.New("a limit ended the exploration: nothing is proved")
)

// ExitCode returns 0 for nil, 1 if a model or a table was found wrong, 3 if a
// limit came first, and 2 for everything else.
func ExitCode(err error) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, ErrViolated), errors.Is(err, ErrMismatch):
		return 1
	case errors.Is(err, ErrIncomplete):
		return 3
	}
	return 2
}

// Command returns the command tkmodel. Results go to its standard output,
// progress to its standard error; errors are returned and not printed.
func Command() *cobra.Command {
	c := &cobra.Command{
		Use:   "tkmodel",
		Short: "Explore every state of the real code and of the reference's protocols",
		Long: `Tkmodel visits every state that a small model of a protocol can reach, checks
its invariants in each, and counts. A violation is shown by a shortest run that
leads to it.

Exit status: 0 if everything holds, 1 if an invariant is violated or a number
differs from the known one, 3 if a limit ended the exploration before either was
certain, 2 if the command failed.`,
		Example: `  tkmodel run real --ci
  tkmodel run doors --ci
  tkmodel rules --transcripts
  tkmodel run leasing --nodes 2 --limit 4 --batch 2 --variant carryover
  tkmodel run handoff --nodes 2 --limit 4 --k 2 --rule suffix
  tkmodel tables --short`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	c.AddCommand(runCommand(), replayCommand(), tablesCommand(), rulesCommand())
	return c
}

// perSystem returns a command with one subcommand for each system.
func perSystem(parent *cobra.Command, build func(system) *cobra.Command) *cobra.Command {
	for _, s := range systems() {
		parent.AddCommand(build(s))
	}
	return parent
}
