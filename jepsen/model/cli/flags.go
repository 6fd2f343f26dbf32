package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"github.com/tkcoord/tkcoord/jepsen/model"
)

// exploring are the flags of every command that explores.
type exploring struct {
	opt     model.Options
	timeout time.Duration
	quiet   bool
}

// defineExploring adds the flags to a command.
func defineExploring(c *cobra.Command) *exploring {
	e := &exploring{opt: model.DefaultOptions()}
	f := c.Flags()
	f.IntVar(&e.opt.Workers, "workers", e.opt.Workers, "goroutines; results do not depend on it")
	f.BoolVar(&e.opt.Verify, "verify", false, "decode every new state again and compare")
	f.DurationVar(&e.timeout, "timeout", 10*time.Minute, "stop after this time")
	f.BoolVarP(&e.quiet, "quiet", "q", false, "no progress on standard error")
	return e
}

// defineLimits adds the flags that change what is counted.
func (e *exploring) defineLimits(c *cobra.Command) {
	f := c.Flags()
	f.BoolVar(&e.opt.Continue, "all", false, "count everything, also beyond the first violation")
	f.BoolVar(&e.opt.Symmetry, "symmetry", e.opt.Symmetry, "visit one of all states that differ in the order of processes only")
	f.Uint64Var(&e.opt.MaxStates, "max-states", e.opt.MaxStates, "stop at so many distinct states")
	f.IntVar(&e.opt.MaxDepth, "max-depth", e.opt.MaxDepth, "stop at this depth, initial states having 1")
}

// options returns what the flags say, and a context that ends when they say so.
func (e *exploring) options(c *cobra.Command) (context.Context, context.CancelFunc, model.Options) {
	opt := e.opt
	if !e.quiet {
		opt.Progress = func(p model.Progress) { printProgress(c.ErrOrStderr(), p) }
	}
	ctx, cancel := context.WithTimeout(c.Context(), e.timeout)
	return ctx, cancel, opt
}

func printProgress(w io.Writer, p model.Progress) {
	fmt.Fprintf(w, "%8.1fs  depth %d  distinct %d  generated %d  frontier %d  %.0f/s\n",
		p.Elapsed.Seconds(), p.Depth, p.Distinct, p.Generated, p.Frontier, p.Rate)
}

// A format is the form of what is printed.
type format string

const (
	asTable format = "table"
	asJSON  format = "json"
)

var errFormat = errors.New("neither table nor json")

// defineFormat adds the flag -o to a command.
func defineFormat(c *cobra.Command) *format {
	f := asTable
	c.Flags().VarP(&f, "output", "o", "form of the output, table or json")
	return &f
}

func (f *format) String() string { return string(*f) }
func (f *format) Type() string   { return "format" }

// Set reads the form from the command line.
func (f *format) Set(text string) error {
	switch format(text) {
	case asTable, asJSON:
		*f = format(text)
		return nil
	}
	return errFormat
}
