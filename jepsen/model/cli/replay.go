package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/tkcoord/tkcoord/jepsen/model"
)

func replayCommand() *cobra.Command {
	return perSystem(&cobra.Command{
		Use:   "replay",
		Short: "Execute a counterexample again",
		Long: `Replay executes a path that run has printed, and shows each state. It fails with
status 1 if the path still breaks an invariant, and succeeds if it no longer
does.`,
		Example: `  tkmodel replay leasing --variant carryover --tighten 1 \
    --path 0:16777216,16777217,33554432,0,1,16777216,16777217,1,0`,
	}, replaySystem)
}

func replaySystem(s system) *cobra.Command {
	c := &cobra.Command{
		Use:   s.name,
		Short: s.short,
		Long:  s.long,
		Args:  cobra.NoArgs,
	}
	build := s.define(c)
	text := c.Flags().String("path", "", "initial state and actions, as run prints them")
	form := defineFormat(c)
	_ = c.MarkFlagRequired("path") // fails only for a flag that is not defined
	c.RunE = func(c *cobra.Command, _ []string) error {
		m, err := build()
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		p, err := model.ParsePath(*text)
		if err != nil {
			return err
		}
		t, err := m.Replay(p)
		if err != nil && !errors.Is(err, model.ErrNoViolation) {
			return err
		}
		return printTrace(c, t, *form)
	}
	return c
}

func printTrace(c *cobra.Command, t *model.Trace, f format) error {
	var err error
	if f == asJSON {
		err = printJSON(c.OutOrStdout(), t)
	} else {
		_, err = fmt.Fprint(c.OutOrStdout(), t)
	}
	if err == nil && t.Err != nil {
		err = ErrViolated
	}
	return err
}
