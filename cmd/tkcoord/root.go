package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

// A cli is one run of the program: its streams and the global flags.
type cli struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	opts           options
	started        bool // the command line was understood and the command runs
}

// run executes one command line and returns the exit code, see the codes for
// their meaning. Everything that can fail is said in one line on stderr.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &cli{stdin: stdin, stdout: stdout, stderr: stderr, opts: defaultOptions()}
	root := newRootCommand(a)
	root.SetArgs(append([]string{}, args...)) // NB: nil would mean those of the process
	cmd, err := root.ExecuteContextC(ctx)
	return a.report(cmd, err)
}

// Groups of the root's commands, in the order of its help.
const (
	groupCluster  = "cluster"
	groupPolicies = "policies"
	groupNodes    = "nodes"
)

// commands returns the root's commands. A new one is added here.
func commands(a *cli) []*cobra.Command {
	return []*cobra.Command{
		newDevCommand(a),
		newServeCommand(a),
		newBenchCommand(a),
		newStatusCommand(a),
		newTopCommand(a),
		newMemberCommand(a),
		newDigestCommand(a),
		newPolicyCommand(a),
		newLeaseCommand(a),
		newCheckCommand(a),
		newPeekCommand(a),
		newForecastCommand(a),
		newDebitCommand(a),
		newAdmitCommand(a),
		newReserveCommand(a),
		newCertCommand(a),
	}
}

func newRootCommand(a *cli) *cobra.Command {
	root := &cobra.Command{
		Use:   "tkcoord",
		Short: "a replicated coordinator for rate budgets",
		Long: `tkcoord grants leases on rate budgets to edges, from a cluster that replicates
its state with Raft.

Commands ask the node at --addr; with several addresses the first that answers.
Each global flag can be set in the environment instead: --tls-dir is
TKCOORD_TLS_DIR. A flag wins over the environment.

Exit codes: 0 done, 1 failed, 2 the command line is wrong, 3 the answer is no
(of check, peek, debit, admit, reserve, lease, and of policy plan
--detailed-exitcode).`,
		Example: `  tkcoord status
  tkcoord policy apply -f limits.yaml --addr 10.0.0.1,10.0.0.2,10.0.0.3
  tkcoord check api user-17`,
		Version:          buildVersion(),
		SilenceErrors:    true,
		SilenceUsage:     true,
		Args:             unknownCommand,
		RunE:             showHelp,
		PersistentPreRun: func(*cobra.Command, []string) { a.started = true },
	}
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetVersionTemplate("tkcoord {{.Version}}\n")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddGroup(
		&cobra.Group{ID: groupNodes, Title: "Run nodes:"},
		&cobra.Group{ID: groupCluster, Title: "Look after a cluster:"},
		&cobra.Group{ID: groupPolicies, Title: "Set limits and try them:"},
	)
	a.opts.register(root)
	root.AddCommand(commands(a)...)
	return root
}

// newGroupCommand returns a command that only has commands of its own.
func newGroupCommand(use, short string, subs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: unknownCommand, RunE: showHelp}
	cmd.AddCommand(subs...)
	return cmd
}

func showHelp(cmd *cobra.Command, _ []string) error { return cmd.Help() }

// unknownCommand refuses the arguments of a command that only has commands.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return usagef("unknown command %q: did you mean %s?", args[0], strings.Join(near, " or "))
	}
	return usagef("unknown command %q", args[0])
}

// wantArgs checks the number of arguments; most < 0 is any. names shows them as
// in the command's Use.
func wantArgs(least, most int, names string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch n := len(args); {
		case n >= least && (most < 0 || n <= most):
			return nil
		case most == 0:
			return usagef("got %q, want no arguments", strings.Join(args, " "))
		case n == 0:
			return usagef("want %s, got no arguments", names)
		default:
			return usagef("want %s, got %q", names, strings.Join(args, " "))
		}
	}
}

// buildVersion is the version of the module that this program was built from.
func buildVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "unknown"
	}
	return info.Main.Version
}

// report says what went wrong, if anything, and returns the exit code.
func (a *cli) report(cmd *cobra.Command, err error) int {
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, errNo):
		return exitNo
	}
	_, wrong := errors.AsType[usageError](err)
	wrong = wrong || !a.started
	text := oneLine(err.Error())
	if wrong {
		text += " (see " + cmd.CommandPath() + " --help)"
	}
	where := cmd.Root().Name()
	if path, ok := strings.CutPrefix(cmd.CommandPath(), where+" "); ok {
		where += ": " + path
	}
	fmt.Fprintf(a.stderr, "%s: %s\n", where, text)
	if wrong {
		return exitUsage
	}
	return exitFailed
}
