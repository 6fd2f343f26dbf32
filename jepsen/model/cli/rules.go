package cli

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/tkcoord/tkcoord/jepsen/model"
	"github.com/tkcoord/tkcoord/jepsen/model/doors"
	"github.com/tkcoord/tkcoord/jepsen/model/real"
)

func rulesCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "rules",
		Short: "Break each rule of the real code and show that it shows",
		Long: `Rules explores, for each rule that the guarantees rest on, a small world without
it, which must break a promise, and the same world with it, which must not. It
fails with status 1 if either is not so.`,
		Example: "  tkmodel rules --transcripts",
		Args:    cobra.NoArgs,
	}
	transcripts := c.Flags().Bool("transcripts", false, "print the counterexamples as well")
	e := defineExploring(c)
	form := defineFormat(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		ctx, cancel, opt := e.options(c)
		defer cancel()
		opt.Symmetry = true
		var rows []refuted
		for _, r := range refutations() {
			row, err := r.refute(ctx, opt)
			if err != nil {
				return err
			}
			rows = append(rows, row)
		}
		if err := printRefuted(c.OutOrStdout(), rows, *form, *transcripts); err != nil {
			return err
		}
		return verdictOf(rows)
	}
	return c
}

// A refutation is a rule and a world with it and without.
type refutation struct {
	rule           string
	broken, intact model.Runner
}

// refutations lists those of all worlds of real code.
func refutations() []refutation {
	var all []refutation
	for _, r := range real.Refutations() {
		broken := r.Broken()
		all = append(all, refutation{string(r.Rule), model.Bind(&broken), model.Bind(&r.Intact)})
	}
	for _, r := range doors.Refutations() {
		broken := r.Broken()
		all = append(all, refutation{string(r.Rule), model.Bind(&broken), model.Bind(&r.Intact)})
	}
	return all
}

// A refuted row tells what became of a rule.
type refuted struct {
	Rule   string        `json:"rule"`
	Trace  *model.Trace  `json:"trace,omitempty"` // nil if breaking the rule broke nothing
	Broken *model.Result `json:"broken"`
	Intact *model.Result `json:"intact"`
}

func (r refutation) refute(ctx context.Context, opt model.Options) (refuted, error) {
	row := refuted{Rule: r.rule}
	var err error
	if row.Broken, err = r.broken.Explore(ctx, opt); err != nil {
		return row, fmt.Errorf("without %s: %w", r.rule, err)
	}
	row.Trace = row.Broken.Violation
	if row.Intact, err = r.intact.Explore(ctx, opt); err != nil {
		return row, fmt.Errorf("with %s: %w", r.rule, err)
	}
	return row, nil
}

func verdictOf(rows []refuted) error {
	bad := 0
	for _, r := range rows {
		if !r.Intact.Complete() && r.Intact.Violation == nil {
			return fmt.Errorf("%s: %w", r.Rule, ErrIncomplete)
		}
		if r.Trace == nil || r.Intact.Violation != nil {
			bad++
		}
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d rules: %w", bad, len(rows), ErrMismatch)
	}
	return nil
}

func printRefuted(out io.Writer, rows []refuted, f format, transcripts bool) error {
	if f == asJSON {
		return printJSON(out, rows)
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "rule\tsteps\tbreaks\tstates with the rule\t")
	for _, r := range rows {
		if r.Trace == nil {
			fmt.Fprintf(t, "%s\t-\tNOT REFUTED\t%d\t\n", r.Rule, r.Intact.Distinct)
			continue
		}
		mark := ""
		if r.Intact.Violation != nil {
			mark = "BROKEN AS WELL"
		}
		fmt.Fprintf(t, "%s\t%d\t%s\t%d\t%s\n", r.Rule, len(r.Trace.Path.Actions), r.Trace.Violation, r.Intact.Distinct, mark)
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	for _, r := range rows {
		if transcripts && r.Trace != nil {
			if _, err := fmt.Fprintf(out, "\nwithout %s:\n%v", r.Rule, r.Trace); err != nil {
				return fmt.Errorf("print: %w", err)
			}
		}
	}
	return nil
}
