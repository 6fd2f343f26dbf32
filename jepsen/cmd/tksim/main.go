// Command tksim runs whole clusters and their edges on virtual time, from seeds,
// and checks the promises of docs/guarantees.md. See docs/simulation.md.
package main

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func main() {
	// A run holds little and throws much away.
	debug.SetGCPercent(400)
	err := newRootCommand().Execute()
	if err != nil && !errors.Is(err, errFound) {
		fmt.Fprintln(os.Stderr, "tksim:", err)
	}
	os.Exit(exitCode(err))
}

// errFound ends a command that has already said what is wrong.
var errFound = errors.New("a promise was broken")

// exitCode is 0 for nil, 1 if a promise was broken, 2 if the command failed.
func exitCode(err error) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errFound):
		return 1
	default:
		return 2
	}
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "tksim",
		Short: "run clusters on virtual time, from seeds",
		Long: `tksim runs the state machine, the clock source and the leases of tkcoord on a
modelled log, network, disk and clock, in one goroutine and on virtual time. One
seed is one run: the same seed does the same thing again.

Exit status: 0 if all promises were kept, 1 if one was broken, 2 if the command
failed.`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.AddCommand(newRunCommand(), newSoakCommand())
	return root
}
