package main

import (
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/tkcoord/tkcoord/jepsen/nemesis"
)

func newListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the nemeses",
		Long: `List shows every nemesis with what it does. Names joined by plus signs are a
combination: kill-leader+link-delay.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			t := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
			for _, n := range nemesis.All() {
				fmt.Fprintf(t, "%s\t%s", n.Name, n.About)
				for _, need := range n.Needs {
					fmt.Fprintf(t, " (needs %s)", need)
				}
				fmt.Fprintln(t)
			}
			return t.Flush()
		},
	}
}
