// Command tkmodel explores the real code and models of protocols; see package cli.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"github.com/tkcoord/tkcoord/jepsen/model/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := cli.Command().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "tkmodel:", err)
	}
	os.Exit(cli.ExitCode(err))
}
