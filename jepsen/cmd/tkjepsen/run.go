package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/tkcoord/tkcoord/jepsen/host"
	"github.com/tkcoord/tkcoord/jepsen/report"
	"github.com/tkcoord/tkcoord/jepsen/run"
)

// runFlags are those of the commands that do runs.
type runFlags struct {
	scenario run.Scenario
	ci       bool
	out      string
	node     string
	bug      string
	keep     bool
}

func newRunCommand() *cobra.Command {
	return newRunCommandWith(&runFlags{scenario: run.DefaultScenario()})
}

// newRunCommandWith returns the command with its flags in f, which has the
// defaults.
func newRunCommandWith(f *runFlags) *cobra.Command {
	c := &cobra.Command{
		Use:   "run",
		Short: "Run a cluster under traffic and faults, and judge what happened",
		Long: `Run builds tkcoord, starts a cluster of real processes, puts traffic on it,
hurts it, heals it, and judges the run by what the clients recorded, by the
committed log and by the nodes' logs. The directory of the run keeps all of it,
with a report in report.html.

Without flags it draws workload, faults and setup from a new seed, which the
report and the last line name. --ci does the selection of the gate instead, one
scenario after the other.

Exit status: 0 if all verdicts are good, 1 if one is not, 2 if a run could not be
done.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.run(cmd)
		},
	}
	s := &f.scenario
	c.Flags().BoolVar(&f.ci, "ci", false, "do the selection of the gate, in under 8 minutes")
	c.Flags().Uint64Var(&s.Seed, "seed", 0, "`seed` of what is drawn; 0 draws one")
	c.Flags().StringVar(&s.Workload, "workload", s.Workload, "`name` of the workload, see tkjepsen list")
	c.Flags().StringSliceVar(&s.Nemeses, "nemesis", nil, "`names` of nemeses, taken in turns; a plus sign combines two")
	c.Flags().DurationVar(&s.Time, "time", s.Time, "`duration` of the traffic")
	c.Flags().IntVar(&s.Nodes, "nodes", s.Nodes, "`number` of nodes")
	c.Flags().IntVar(&s.Edges, "edges", s.Edges, "`number` of edges with the SDK")
	c.Flags().Int64Var(&s.DriftPPM, "drift-ppm", s.DriftPPM, "`rate` by which clocks may be off, in millionths")
	c.Flags().BoolVar(&s.Netns, "netns", false, "hosts are network namespaces: needs root, and packets can be mistreated")
	c.Flags().BoolVar(&s.TLS, "tls", false, "secure all connections")
	c.Flags().BoolVar(&s.Compact, "compact", false, "most nodes keep little log and take many snapshots")
	c.Flags().BoolVar(&s.Race, "race", false, "build the programs with the race detector")
	c.Flags().StringVar(&f.out, "out", "", "`directory` for runs (default: a new temporary one)")
	c.Flags().BoolVar(&f.keep, "keep", false, "keep the nodes' data also if the run passes")
	c.Flags().StringVar(&f.node, "node-binary", "", "tkcoord built with -tags faults; `file` instead of building it")
	c.Flags().StringVar(&f.bug, "bug", "", "`name` of the bug that the programs are built with")
	c.Flags().StringVar(&s.Name, "name", "", "`name` of the run and its directory")
	_ = c.Flags().MarkHidden("node-binary") // fails only for a flag that is not defined
	_ = c.Flags().MarkHidden("bug")
	return c
}

func (f *runFlags) run(cmd *cobra.Command) error {
	scenarios, err := f.scenarios(cmd)
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if f.out == "" {
		if f.out, err = os.MkdirTemp("", "tkjepsen-"); err != nil {
			return err
		}
	}
	if removed, err := host.Reap(); err != nil {
		return fmt.Errorf("clean up after earlier runs: %w", err)
	} else if len(removed) > 0 {
		fmt.Fprintf(out, "removed what earlier runs left behind: %s\n", strings.Join(removed, ", "))
	}
	programs, err := f.programs(cmd.Context(), out)
	if err != nil {
		return err
	}
	failed := 0
	var summary []string
	for _, s := range scenarios {
		if why := lacks(cmd.Context(), s); why != "" && f.ci {
			fmt.Fprintf(out, "\n=== %s\n--- skipped: %s\n", s.Name, why)
			continue
		}
		res, line, err := f.one(cmd.Context(), out, s, programs)
		if err != nil {
			return err
		}
		summary = append(summary, line)
		if !res.OK {
			failed++
		}
	}
	if len(scenarios) > 1 {
		fmt.Fprintf(out, "\n%s\n", strings.Join(summary, "\n"))
	}
	if failed > 0 {
		fmt.Fprintf(out, "\n%d of %d runs failed\n", failed, len(scenarios))
		return errFound
	}
	return nil
}

// lacks returns why this machine cannot do a scenario, "" if it can.
func lacks(ctx context.Context, s run.Scenario) string {
	if !s.Netns {
		return ""
	}
	for _, f := range host.Probe(ctx) {
		if f.Capability == host.CanNetns && !f.OK {
			return f.Why
		}
	}
	return ""
}

// scenarios are those that the flags ask for.
func (f *runFlags) scenarios(cmd *cobra.Command) ([]run.Scenario, error) {
	if f.scenario.Seed == 0 {
		f.scenario.Seed = uint64(time.Now().UnixNano()) % 1_000_000_000
	}
	if f.ci {
		all := run.CI()
		for i := range all {
			all[i].Seed, all[i].Race = f.scenario.Seed, f.scenario.Race
		}
		return all, nil
	}
	s := f.scenario
	if !cmd.Flags().Changed("workload") && !cmd.Flags().Changed("nemesis") {
		mix := run.Mix(s.Seed)
		for _, flag := range []struct {
			name string
			keep func()
		}{
			{"time", func() { mix.Time = s.Time }}, {"nodes", func() { mix.Nodes = s.Nodes }}, {"edges", func() { mix.Edges = s.Edges }},
			{"drift-ppm", func() { mix.DriftPPM = s.DriftPPM }}, {"tls", func() { mix.TLS = s.TLS }}, {"compact", func() { mix.Compact = s.Compact }},
		} {
			if cmd.Flags().Changed(flag.name) {
				flag.keep()
			}
		}
		mix.Netns, mix.Race = s.Netns, s.Race
		s = mix
	}
	if s.Name == "" {
		s.Name = s.Workload
		if len(s.Nemeses) > 0 {
			s.Name += "-" + strings.Join(s.Nemeses, "-")
		}
	}
	return []run.Scenario{s}, s.Validate()
}

// programs are built unless one was given. Clients are this very program.
func (f *runFlags) programs(ctx context.Context, out io.Writer) (run.Programs, error) {
	self, err := os.Executable()
	if err != nil || f.node != "" {
		return run.Programs{Node: f.node, Client: self}, err
	}
	began := time.Now()
	node := filepath.Join(f.out, "bin", "tkcoord")
	fmt.Fprintln(out, "building tkcoord with its seams")
	err = host.Build(ctx, host.BuildOptions{Package: host.Program, Race: f.scenario.Race, Out: node})
	fmt.Fprintf(out, "built in %.1fs\n", time.Since(began).Seconds())
	return run.Programs{Node: node, Client: self}, err
}

// one does one run and returns its result, and a line about it.
func (f *runFlags) one(ctx context.Context, out io.Writer, s run.Scenario, p run.Programs) (report.Result, string, error) {
	began := time.Now()
	fmt.Fprintf(out, "\n=== %s: %s with %s\n", s.Name, s.Workload, orNone(s.Nemeses))
	dir := filepath.Join(f.out, s.Name)
	res, err := run.Run(ctx, s, run.Options{
		Dir: dir, Node: p.Node, Client: p.Client, Version: version(), Bug: f.bug, KeepData: f.keep, Progress: out,
	})
	if err != nil {
		return res, "", err
	}
	printResult(out, res)
	line := fmt.Sprintf("%s in %.1fs: %s", verdictOf(res), time.Since(began).Seconds(), filepath.Join(dir, report.PageFile))
	fmt.Fprintf(out, "--- %s\n", line)
	return res, fmt.Sprintf("%-12s %s", s.Name, line), nil
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "no faults"
	}
	return strings.Join(names, ", ")
}
