//go:build !faults

package main

import (
	"github.com/spf13/pflag"
	"github.com/tkcoord/tkcoord/transport"
)

// A program built without the faults tag has no seams for the fault suite.

type faultOptions struct{}

func registerFaults(*pflag.FlagSet, *serveOptions) {}

func injectFaults(o *serveOptions, _ *transport.NodeConfig) error {
	_ = o.faultOptions // empty here
	return nil
}
