package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/tkcoord/tkcoord/jepsen/model"
)

func runCommand() *cobra.Command {
	return perSystem(&cobra.Command{
		Use:   "run",
		Short: "Explore a system at a given size",
		Example: `  tkmodel run leasing --nodes 5 --limit 10 --batch 2 --return
  tkmodel run heartbeat --nodes 3 --limit 6 --target demand
  tkmodel run handoff --nodes 3 --limit 4 --symmetry -o json`,
	}, runSystem)
}

func runSystem(s system) *cobra.Command {
	c := &cobra.Command{
		Use:     s.name,
		Short:   s.short,
		Long:    s.long,
		Example: "  tkmodel run " + s.name + " " + s.example,
		Args:    cobra.NoArgs,
	}
	build := s.define(c)
	e := defineExploring(c)
	e.opt.Symmetry = s.symmetry
	e.defineLimits(c)
	form := defineFormat(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		m, err := build()
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		ctx, cancel, opt := e.options(c)
		defer cancel()
		res, err := m.Explore(ctx, opt)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		r := run{System: s.name + s.settings(c), Result: res, Rate: res.Rate()}
		r.home = c.Parent().Parent().CommandPath()
		if err := r.print(c.OutOrStdout(), *form); err != nil {
			return err
		}
		return r.verdict()
	}
	return c
}

// A run is what the command prints about an exploration.
type run struct {
	System string        `json:"system"`
	Result *model.Result `json:"result"`
	Rate   float64       `json:"states_per_second"`

	home string // the command that run and replay belong to
}

// verdict returns nil if the system was found correct.
func (r run) verdict() error {
	switch {
	case r.Result.Violation != nil:
		return ErrViolated
	case !r.Result.Complete():
		return ErrIncomplete
	}
	return nil
}

func (r run) print(w io.Writer, f format) error {
	if f == asJSON {
		return printJSON(w, r)
	}
	res := r.Result
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(name, form string, args ...any) { fmt.Fprintf(t, name+"\t"+form+"\n", args...) }
	line("system", "%s", r.System)
	line("distinct", "%d", res.Distinct)
	line("generated", "%d", res.Generated)
	line("depth", "%d", res.Depth)
	for _, c := range res.Max {
		line("max "+c.Name, "%d", c.Value)
	}
	line("taken", "%s", counts(res.Taken))
	line("terminal", "%d", res.Terminal)
	line("time", "%v, %.0f states/s", res.Elapsed.Round(time.Millisecond), r.Rate)
	line("memory", "%.1f bytes for a visited state", float64(res.Memory)/float64(res.Distinct))
	line("stopped", "%s", res.Stop)
	line("violations", "%d", res.Violations)
	if err := t.Flush(); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	if res.Violation == nil {
		return nil
	}
	_, err := fmt.Fprintf(w, "\n%v\nagain: %s replay %s --path %v\n", res.Violation, r.home, r.System, res.Violation.Path)
	return err
}

// counts writes counts in one line, "Serve 24, Lease 11".
func counts(list []model.Count) string {
	var words []string
	for _, c := range list {
		words = append(words, fmt.Sprintf("%s %d", c.Name, c.Value))
	}
	return strings.Join(words, ", ")
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
