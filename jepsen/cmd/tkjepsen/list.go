package main

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/tkcoord/tkcoord/jepsen/nemesis"
	"github.com/tkcoord/tkcoord/jepsen/run"
	"github.com/tkcoord/tkcoord/jepsen/traffic"
)

func newListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List workloads, scenarios of the gate, planted bugs and nemeses",
		Long: `List shows what there is with what it does. Names of nemeses joined by plus signs
are a combination: kill-leader+link-delay.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			t := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
			for _, w := range traffic.Workloads() {
				fmt.Fprintf(t, "workload\t%s\t%s\n", w.Name, w.About)
			}
			for _, s := range run.CI() {
				fmt.Fprintf(t, "scenario\t%s\t%s with %s\n", s.Name, s.Workload, strings.Join(s.Nemeses, ", "))
			}
			for _, p := range run.Plants() {
				fmt.Fprintf(t, "bug\t%s\t%s\n", p.Bug, p.About)
			}
			for _, n := range nemesis.All() {
				fmt.Fprintf(t, "nemesis\t%s\t%s", n.Name, n.About)
				for _, need := range n.Needs {
					fmt.Fprintf(t, " (needs %s)", need)
				}
				fmt.Fprintln(t)
			}
			return t.Flush()
		},
	}
}
