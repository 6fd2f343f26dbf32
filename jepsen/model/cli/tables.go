package cli

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/tkcoord/tkcoord/jepsen/model"
	"github.com/tkcoord/tkcoord/jepsen/model/reference"
)

func tablesCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "tables",
		Short: "Compare every known state count",
		Long: `Tables explores every configuration whose state counts are known and prints what
was found beside them. It fails with status 1 if a number differs.`,
		Example: "  tkmodel tables --short\n  tkmodel tables -o json",
		Args:    cobra.NoArgs,
	}
	short := c.Flags().Bool("short", false, "leave out rows of more than 100,000 states")
	e := defineExploring(c)
	form := defineFormat(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		ctx, cancel, opt := e.options(c)
		defer cancel()
		rows, err := compareAll(ctx, opt, *short)
		if err != nil {
			return err
		}
		if err := printRows(c.OutOrStdout(), rows, *form); err != nil {
			return err
		}
		return verdict(rows)
	}
	return c
}

// A compared row is one of reference.Tables with what was found.
type compared struct {
	System  string           `json:"system"`
	Size    string           `json:"size"`
	Rules   string           `json:"rules"`
	Source  reference.Source `json:"source"`
	Cells   []reference.Cell `json:"cells"`
	Stop    model.Stop       `json:"stop"`
	Elapsed time.Duration    `json:"elapsed_ns"`
	OK      bool             `json:"ok"`
}

func compareAll(ctx context.Context, opt model.Options, short bool) ([]compared, error) {
	var rows []compared
	for _, row := range reference.Tables() {
		if short && row.Heavy {
			continue
		}
		res, err := row.Explore(ctx, opt)
		if err != nil {
			return nil, err
		}
		c := compared{
			System: row.System, Size: row.Size, Rules: row.Rules, Source: row.Source,
			Cells: row.Compare(res), Stop: res.Stop, Elapsed: res.Elapsed, OK: res.Complete(),
		}
		for _, cell := range c.Cells {
			c.OK = c.OK && cell.OK()
		}
		rows = append(rows, c)
	}
	return rows, nil
}

// verdict returns nil if every number was found as it is known.
func verdict(rows []compared) error {
	bad := 0
	for _, r := range rows {
		if r.Stop != model.StopExhausted {
			return fmt.Errorf("%s %s %s: %w", r.System, r.Size, r.Rules, ErrIncomplete)
		}
		if !r.OK {
			bad++
		}
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d rows: %w", bad, len(rows), ErrMismatch)
	}
	return nil
}

// columns are the numbers that rows may have, in order.
var columns = []string{"distinct", "generated", "depth", "max admitted", "max share", "max inflight"}

func printRows(w io.Writer, rows []compared, f format) error {
	if f == asJSON {
		return printJSON(w, rows)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(t, "found/known\t\t")
	for _, name := range columns {
		fmt.Fprint(t, "\t", name)
	}
	fmt.Fprintln(t, "\ttime\tsource\t")
	for _, r := range rows {
		fmt.Fprintf(t, "%s\t%s\t%s", r.System, r.Size, r.Rules)
		for _, name := range columns {
			fmt.Fprint(t, "\t", r.cell(name))
		}
		mark := ""
		if !r.OK {
			mark = "DIFFERS"
		}
		fmt.Fprintf(t, "\t%v\t%s\t%s\n", r.Elapsed.Round(time.Millisecond), r.Source, mark)
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

// cell writes one number of the row as found and as known, or nothing if it is
// not known.
func (r compared) cell(name string) string {
	for _, c := range r.Cells {
		if c.Name == name {
			return fmt.Sprintf("%d/%d", c.Got, c.Want)
		}
	}
	return ""
}
