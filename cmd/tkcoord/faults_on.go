//go:build faults

package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/pflag"
	"github.com/tkcoord/tkcoord/jepsen/seam"
	"github.com/tkcoord/tkcoord/transport"
)

// A program built with the faults tag is one that the fault suite runs: its
// clocks and its log store can be made to fail from outside. It is not for use.

type faultOptions struct {
	faults string // file that the suite writes
}

func registerFaults(f *pflag.FlagSet, o *serveOptions) {
	f.StringVar(&o.faults, "fault-file", "", "`file` that says how this node's clocks and log store fail")
	_ = f.MarkHidden("fault-file") // fails only for a flag that is not defined
}

// injectFaults lets the fault file stand between the node and its clocks and
// store. A file that turns out wrong ends the process: a fault that was asked
// for and not injected would count as survived.
func injectFaults(o *serveOptions, n *transport.NodeConfig) error {
	if o.faults == "" {
		return nil
	}
	s, err := seam.Open(o.faults)
	if err != nil {
		return fmt.Errorf("--fault-file: %w", err)
	}
	n.Clocks = transport.Clocks{Monotonic: s.Monotonic, Wall: s.Wall}
	n.Delay = s.Delay
	go func() { // for the life of the process
		if err := s.Run(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, "tkcoord:", err)
			os.Exit(exitFailed)
		}
	}()
	return nil
}
