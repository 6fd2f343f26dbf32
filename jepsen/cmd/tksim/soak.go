package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

func newSoakCommand() *cobra.Command {
	j := &job{seed: 1, hours: 0.1, edges: 100}
	var seeds uint64
	c := &cobra.Command{
		Use:   "soak",
		Short: "run many seeds, one after the other, until a promise is broken",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return j.soak(c.OutOrStdout(), seeds) },
	}
	c.Flags().Uint64Var(&j.seed, "from", j.seed, "first seed")
	c.Flags().Uint64Var(&seeds, "seeds", 100, "how many")
	j.flags(c)
	return c
}

func (j *job) soak(out io.Writer, seeds uint64) error {
	for i := range seeds {
		o, err := j.options()
		if err != nil {
			return err
		}
		o.Seed = j.seed + i
		r, err := j.measured(out, o)
		if err != nil {
			return err
		}
		if err := j.judge(out, r); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(out, "%d seeds of %v h with %d edges: every promise was kept\n", seeds, j.hours, j.edges)
	return err
}
