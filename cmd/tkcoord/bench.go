package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/tkcoord/tkcoord/cmd/tkcoord/internal/bench"
)

// benchOptions are the flags of bench.
type benchOptions struct {
	cfg  bench.Config
	json string
	etcd string
}

func newBenchCommand(a *cli) *cobra.Command {
	o := benchOptions{etcd: "auto", cfg: bench.Config{Nodes: 3, Duration: 5 * time.Second, Rounds: 3, Kills: 50, Holders: 100_000}}
	cmd := &cobra.Command{
		Use:     "bench",
		Short:   "Measure a cluster of real node processes on this machine",
		GroupID: groupNodes,
		Args:    wantArgs(0, 0, ""),
		Long: `Starts a cluster of node processes on loopback with data in a temporary
directory, puts load on it and prints a table: budget grants with 100 budgets per
exchange, single-budget exchanges, checks of the public contract one by one, in
batches of 100 keys and of a leased policy, exchanges with few and with many known
holders, and the time until something new is granted after the leader is killed.
Where etcd is installed, as many etcd processes do one durable put per grant in the
same run, in turns, so that the ratio is the result.

Every grant is replicated and synced. Nothing but this machine is touched.`,
		Example: `  tkcoord bench
  tkcoord bench --only grants,exchanges,etcd --duration 10s --json bench.json
  tkcoord bench --only checks,checkmany,leased
  tkcoord bench --only failover --kills 10`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.validate(); err != nil {
				return usageError{err}
			}
			return runBench(cmd.Context(), a, &o)
		},
	}
	f := cmd.Flags()
	f.DurationVar(&o.cfg.Duration, "duration", o.cfg.Duration, "how long each measurement runs in each round")
	f.IntVar(&o.cfg.Rounds, "rounds", o.cfg.Rounds, "`rounds` of the measurements; the median counts")
	f.IntVar(&o.cfg.Nodes, "nodes", o.cfg.Nodes, "`number` of nodes")
	f.IntVar(&o.cfg.Kills, "kills", o.cfg.Kills, "how often the leader is killed")
	f.IntVar(&o.cfg.Holders, "holders", o.cfg.Holders, "known holders in the larger measurement")
	f.StringSliceVar(&o.cfg.Only, "only", nil, "`measurements` to make: "+strings.Join(bench.Measurements, ", "))
	f.StringVar(&o.etcd, "etcd", o.etcd, "`path` of the etcd program; auto looks for it, off leaves it out")
	f.StringVar(&o.json, "json", "", "`file` to write the report to as JSON")
	return cmd
}

func (o *benchOptions) validate() error {
	var errs []error
	want := func(ok bool, flag string, value any, text string) {
		if !ok {
			errs = append(errs, fmt.Errorf("--%s: got %v, want %s", flag, value, text))
		}
	}
	c := &o.cfg
	want(c.Duration >= 100*time.Millisecond && c.Duration <= 10*time.Minute, "duration", c.Duration, "100ms to 10m")
	want(c.Rounds >= 1 && c.Rounds <= 100, "rounds", c.Rounds, "1 to 100")
	want(c.Nodes == 1 || c.Nodes == 3 || c.Nodes == 5, "nodes", c.Nodes, "1, 3 or 5")
	want(c.Kills >= 1 && c.Kills <= 1000, "kills", c.Kills, "1 to 1000")
	want(c.Holders > 100 && c.Holders <= 200_000, "holders", c.Holders, "101 to 200000")
	for _, m := range c.Only {
		want(slices.Contains(bench.Measurements, m), "only", m, "some of "+strings.Join(bench.Measurements, ", "))
	}
	return errors.Join(errs...)
}

func runBench(ctx context.Context, a *cli, o *benchOptions) (err error) {
	if o.cfg.Binary, err = os.Executable(); err != nil {
		return err
	}
	if o.cfg.Etcd, err = findEtcd(o.etcd); err != nil {
		return err
	}
	if o.cfg.Dir, err = os.MkdirTemp("", "tkcoord-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(o.cfg.Dir)) }()
	o.cfg.Progress = a.stderr
	report, err := bench.Run(ctx, o.cfg)
	if err != nil {
		return err
	}
	if o.json != "" {
		f, err := os.Create(o.json)
		if err != nil {
			return err
		}
		if err := errors.Join(report.WriteJSON(f), f.Close()); err != nil {
			return err
		}
	}
	if a.opts.output == asJSON {
		return report.WriteJSON(a.stdout)
	}
	return report.WriteTable(a.stdout)
}

// findEtcd returns the path of etcd, "" if it is left out or, with auto, not
// installed.
func findEtcd(path string) (string, error) {
	switch path {
	case "off":
		return "", nil
	case "auto":
		found, err := exec.LookPath("etcd")
		if err != nil {
			return "", nil
		}
		return found, nil
	}
	return path, exec.Command(path, "--version").Run()
}
