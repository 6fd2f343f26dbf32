package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/tkcoord/tkcoord/jepsen/report"
	"github.com/tkcoord/tkcoord/jepsen/run"
)

// plantedFlags are those of the command planted.
type plantedFlags struct {
	all     bool
	rotate  int
	seed    uint64
	out     string
	verbose bool
}

func newPlantedCommand() *cobra.Command {
	f := plantedFlags{rotate: 2, seed: uint64(time.Now().Unix() / 86_400)}
	c := &cobra.Command{
		Use:   "planted [NAME...]",
		Short: "Build tkcoord with known bugs, and make sure that the suite finds them",
		Long: `Planted builds tkcoord and the suite with one bug at a time and does the run that
must find it. A bug that is not found is a hole in the suite: the command then
fails with status 1.

Without names it takes some in turn, others each day.`,
		RunE: func(cmd *cobra.Command, names []string) error {
			plants, err := f.choose(names)
			if err != nil {
				return err
			}
			return f.run(cmd.Context(), cmd.OutOrStdout(), plants)
		},
	}
	c.Flags().BoolVar(&f.all, "all", false, "take all of them")
	c.Flags().IntVar(&f.rotate, "rotate", f.rotate, "`number` of bugs to take in turn")
	c.Flags().Uint64Var(&f.seed, "seed", f.seed, "`number` that says whose turn it is")
	c.Flags().StringVar(&f.out, "out", "", "`directory` for builds and runs (default: a new temporary one)")
	c.Flags().BoolVarP(&f.verbose, "verbose", "v", false, "show what the runs say")
	return c
}

// choose returns the bugs that are asked for.
func (f *plantedFlags) choose(names []string) ([]run.Plant, error) {
	all := run.Plants()
	switch {
	case len(names) > 0:
		var chosen []run.Plant
		for _, name := range names {
			found := false
			for _, p := range all {
				if string(p.Bug) == name {
					chosen, found = append(chosen, p), true
				}
			}
			if !found {
				return nil, fmt.Errorf("bug %q is not known, see tkjepsen list", name)
			}
		}
		return chosen, nil
	case f.all:
		return all, nil
	case f.rotate < 1 || f.rotate > len(all):
		return nil, fmt.Errorf("--rotate: got %d, want 1 to %d", f.rotate, len(all))
	}
	var chosen []run.Plant
	for i := range f.rotate {
		chosen = append(chosen, all[(int(f.seed%uint64(len(all)))*f.rotate+i)%len(all)])
	}
	return chosen, nil
}

func (f *plantedFlags) run(ctx context.Context, out io.Writer, plants []run.Plant) (err error) {
	if f.out == "" {
		if f.out, err = os.MkdirTemp("", "tkjepsen-planted-"); err != nil {
			return err
		}
	}
	missed := 0
	for _, p := range plants {
		began := time.Now()
		fmt.Fprintf(out, "%-14s %s\n", p.Bug, p.About)
		res, err := f.plant(ctx, out, p)
		if err != nil {
			return fmt.Errorf("%s: %w", p.Bug, err)
		}
		took := time.Since(began).Seconds()
		if !p.Caught(res) {
			missed++
			fmt.Fprintf(out, "%-14s NOT FOUND in %.0fs: %s, want %s to fail\n", p.Bug, took, verdictOf(res), strings.Join(p.Verdicts, " or "))
			continue
		}
		fmt.Fprintf(out, "%-14s found in %.0fs by %s\n", p.Bug, took, strings.Join(res.Failed(), ", "))
	}
	if missed > 0 {
		fmt.Fprintf(out, "\n%d of %d planted bugs were not found\n", missed, len(plants))
		return errFound
	}
	return nil
}

// plant builds the programs with a bug and has them do the run.
func (f *plantedFlags) plant(ctx context.Context, out io.Writer, p run.Plant) (report.Result, error) {
	dir := filepath.Join(f.out, string(p.Bug))
	programs, err := run.BuildPlanted(ctx, filepath.Join(dir, "bin"), p.Bug)
	if err != nil {
		return report.Result{}, err
	}
	s := p.Scenario
	args := append(s.Flags(), "--name", s.Name, "--node-binary", programs.Node, "--bug", string(p.Bug), "--out", dir)
	cmd := exec.CommandContext(ctx, programs.Client, append([]string{"run"}, args...)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	log, err := os.Create(filepath.Join(dir, "run.log"))
	if err != nil {
		return report.Result{}, err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if f.verbose {
		cmd.Stdout = io.MultiWriter(log, out)
	}
	err = cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == 1 {
		err = nil // a verdict failed: that is what is wanted
	}
	if err != nil {
		return report.Result{}, fmt.Errorf("%w; see %s", err, log.Name())
	}
	data, err := os.ReadFile(filepath.Join(dir, s.Name, report.ResultFile))
	if err != nil {
		return report.Result{}, err
	}
	var res report.Result
	return res, json.Unmarshal(data, &res)
}
