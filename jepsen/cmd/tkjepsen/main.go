// Command tkjepsen runs real clusters, breaks them on purpose, and judges what
// they did.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := newRootCommand().ExecuteContext(ctx)
	stop()
	if err != nil && !errors.Is(err, errFound) {
		fmt.Fprintln(os.Stderr, "tkjepsen:", err)
	}
	os.Exit(exitCode(err))
}

// errFound ends a command that has already said what is wrong.
var errFound = errors.New("something is wrong")

// exitCode is 0 for nil, 1 if a command did its work and found something wrong,
// 2 if it could not do it.
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

// commands returns the root's commands. A new one is added here.
func commands() []*cobra.Command {
	return []*cobra.Command{newRunCommand(), newCheckCommand(), newPlantedCommand(), newDoctorCommand(), newListCommand(), newEdgeCommand()}
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "tkjepsen",
		Short: "break tkcoord clusters on purpose, and judge what they did",
		Long: `tkjepsen runs clusters of real tkcoord processes with real disks, hurts them in
every way that this machine allows, and checks what clients saw.

Exit status: 0 if all is well, 1 if something was found to be wrong, 2 if the
command failed.`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.AddCommand(commands()...)
	return root
}
