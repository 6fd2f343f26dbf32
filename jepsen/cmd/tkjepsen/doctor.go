package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/tkcoord/tkcoord/jepsen/host"
	"github.com/tkcoord/tkcoord/jepsen/nemesis"
)

func newDoctorCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Find out what this machine can inject",
		Long: `Doctor tries out each thing that the suite needs of a machine, and says what
works, what does not and why, and which nemeses would be skipped in each mode.
It also removes what runs have left behind that were killed.

It fails with status 1 if no cluster can be run here at all.`,
		Args: cobra.NoArgs,
	}
	form := c.Flags().StringP("output", "o", "table", "`form` of the answer: table or json")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if *form != "table" && *form != "json" {
			return fmt.Errorf("--output: got %q, want table or json", *form)
		}
		reaped, err := host.Reap()
		if err != nil {
			return err
		}
		d := diagnosis{Findings: host.Probe(c.Context()), Removed: reaped}
		d.Skipped = skipped(d.Findings)
		if err := d.print(c.OutOrStdout(), *form); err != nil {
			return err
		}
		return d.verdict()
	}
	return c
}

// A diagnosis is what the doctor says.
type diagnosis struct {
	Findings []host.Finding `json:"findings"`
	// Skipped are the nemeses that cannot run, by mode; a mode that this machine
	// does not have is missing.
	Skipped map[host.Mode][]string `json:"skipped"`
	Removed []string               `json:"removed"` // what earlier runs had left
}

// has reports whether a capability was found.
func has(all []host.Finding, c host.Capability) bool {
	return slices.ContainsFunc(all, func(f host.Finding) bool { return f.Capability == c && f.OK })
}

// modes are what each mode needs of the machine, and what its clusters lack on
// any.
var modes = []struct {
	mode  host.Mode
	needs host.Capability
	lacks []host.Capability
}{
	{host.Loopback, host.CanLoopback, []host.Capability{host.CanPackets, host.CanNetns}},
	{host.Netns, host.CanNetns, []host.Capability{host.CanLoopback}},
}

func skipped(found []host.Finding) map[host.Mode][]string {
	out := make(map[host.Mode][]string)
	for _, m := range modes {
		if !has(found, m.needs) {
			continue
		}
		out[m.mode] = []string{}
		for _, n := range nemesis.All() {
			if slices.ContainsFunc(n.Needs, func(c host.Capability) bool { return slices.Contains(m.lacks, c) || !has(found, c) }) {
				out[m.mode] = append(out[m.mode], n.Name)
			}
		}
	}
	return out
}

func (d *diagnosis) verdict() error {
	if !has(d.Findings, host.CanBuild) || len(d.Skipped) == 0 {
		return errFound
	}
	return nil
}

func (d *diagnosis) print(w io.Writer, form string) error {
	if form == "json" {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(d)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, f := range d.Findings {
		answer := "yes"
		if !f.OK {
			answer = "no: " + f.Why
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", f.Capability, f.For, answer)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, m := range modes {
		names, here := d.Skipped[m.mode]
		switch {
		case !here:
			fmt.Fprintf(w, "\n%s mode: not on this machine\n", m.mode)
		case len(names) == 0:
			fmt.Fprintf(w, "\n%s mode: all %d nemeses\n", m.mode, len(nemesis.All()))
		default:
			fmt.Fprintf(w, "\n%s mode: %d of %d nemeses, without %s\n", m.mode, len(nemesis.All())-len(names), len(nemesis.All()), strings.Join(names, ", "))
		}
	}
	for _, r := range d.Removed {
		fmt.Fprintf(w, "removed %s, left by a run that was killed\n", r)
	}
	return nil
}
