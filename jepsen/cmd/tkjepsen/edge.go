package main

import (
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/tkcoord/tkcoord/jepsen/traffic"
)

// newEdgeCommand is one client of a run, in a process of its own.
func newEdgeCommand() *cobra.Command {
	var spec string
	var life int
	c := &cobra.Command{
		Use:    "edge",
		Short:  "Be one client of a run",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM)
			defer stop()
			s, err := traffic.ReadSpec(spec, life)
			if err != nil {
				return err
			}
			log := slog.New(slog.NewTextHandler(os.Stderr, nil)).With("client", s.Client)
			return traffic.Run(ctx, s, log, func() { fmt.Fprintf(cmd.OutOrStdout(), "ready client=%s\n", s.Client) })
		},
	}
	c.Flags().StringVar(&spec, "spec", "", "`file` that says what to do")
	c.Flags().IntVar(&life, "life", 0, "how `often` the process was started before")
	return c
}
