package main

import (
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/tkcoord/tkcoord/jepsen/report"
	"github.com/tkcoord/tkcoord/jepsen/run"
)

func newCheckCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check DIR...",
		Short: "Judge stored runs again and write their reports anew",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, dirs []string) error {
			failed := 0
			for _, dir := range dirs {
				res, err := run.Check(dir)
				if err != nil {
					return err
				}
				printResult(cmd.OutOrStdout(), res)
				fmt.Fprintf(cmd.OutOrStdout(), "--- %s: %s\n", verdictOf(res), filepath.Join(dir, report.PageFile))
				if !res.OK {
					failed++
				}
			}
			if failed > 0 {
				return errFound
			}
			return nil
		},
	}
}

func verdictOf(r report.Result) string {
	if r.OK {
		return "passed"
	}
	return "FAILED " + strings.Join(r.Failed(), ", ")
}

// shownProblems bounds what is printed of one verdict; the report has more.
const shownProblems = 3

func printResult(w io.Writer, r report.Result) {
	for _, v := range r.Verdicts {
		sign := "ok  "
		if !v.OK {
			sign = "FAIL"
		}
		var stats []string
		for _, s := range v.Stats {
			stats = append(stats, s.Name+" "+s.Value)
		}
		line := strings.Join(stats, "; ")
		if len(line) > 150 {
			line = line[:147] + "..."
		}
		fmt.Fprintf(w, "  %s %-16s %s\n", sign, v.Name, line)
		for i, p := range v.Problems {
			if i == shownProblems {
				fmt.Fprintf(w, "         ... and %d more\n", v.Found-shownProblems)
				break
			}
			fmt.Fprintf(w, "         %s\n", strings.ReplaceAll(p.Text, "\n", "\n         "))
		}
	}
	if !r.OK {
		fmt.Fprintf(w, "  again: %s\n", r.Command)
	}
}

// version is the commit that the programs are built from.
func version() string {
	rev, err := exec.Command("git", "rev-parse", "--short=12", "HEAD").Output()
	if err != nil {
		return "unknown"
	}
	v := strings.TrimSpace(string(rev))
	if err := exec.Command("git", "diff", "--quiet", "HEAD").Run(); err != nil {
		v += " with changes"
	}
	return v
}
