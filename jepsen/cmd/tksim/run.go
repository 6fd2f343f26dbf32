package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/tkcoord/tkcoord/jepsen/sim"
)

// rules names what can be switched off with --break.
var rules = []struct {
	name string
	set  func(*sim.Rules)
}{
	{"guard", func(r *sim.Rules) { r.NoGuard = true }},
	{"read-before-sending", func(r *sim.Rules) { r.ReadAfterReply = true }},
	{"stamp-after-seal", func(r *sim.Rules) { r.StampBeforeSeal = true }},
	{"own-clock", func(r *sim.Rules) { r.WallClockLeader = true }},
	{"stretch", func(r *sim.Rules) { r.NoStretch = true }},
}

func ruleNames() string {
	var names []string
	for _, r := range rules {
		names = append(names, r.name)
	}
	return strings.Join(names, ", ")
}

// A job is what the flags ask for.
type job struct {
	seed   uint64
	hours  float64
	edges  int
	broken string
	trace  string
}

func (j *job) flags(c *cobra.Command) {
	c.Flags().Float64Var(&j.hours, "hours", j.hours, "virtual hours of a run")
	c.Flags().IntVar(&j.edges, "edges", j.edges, "edges, at least 1")
	c.Flags().StringVar(&j.broken, "break", "", "a rule to switch off, to see that it is found: "+ruleNames())
}

// options checks the flags.
func (j *job) options() (sim.Options, error) {
	o := sim.Options{Seed: j.seed, Edges: j.edges, Span: time.Duration(j.hours * float64(time.Hour))}
	if j.edges < 1 || j.edges > 1_000_000 || j.hours <= 0 || j.hours > 1e6 {
		return o, fmt.Errorf("--edges %d --hours %v: want 1 to 1000000 edges and more than 0 up to 1000000 hours", j.edges, j.hours)
	}
	found := j.broken == ""
	for _, r := range rules {
		if r.name == j.broken {
			r.set(&o.Broken)
			found = true
		}
	}
	if !found {
		return o, fmt.Errorf("--break %q: want one of %s", j.broken, ruleNames())
	}
	return o, nil
}

// replay is the command that does the same again.
func (j *job) replay(seed uint64) string {
	s := fmt.Sprintf("go run ./jepsen/cmd/tksim run --seed %d --hours %s --edges %d", seed, strconv.FormatFloat(j.hours, 'g', -1, 64), j.edges)
	if j.broken != "" {
		s += " --break " + j.broken
	}
	return s
}

func newRunCommand() *cobra.Command {
	j := &job{seed: 1, hours: 1, edges: 1000}
	c := &cobra.Command{
		Use:   "run",
		Short: "run one seed",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return j.run(c.OutOrStdout()) },
	}
	c.Flags().Uint64Var(&j.seed, "seed", j.seed, "seed of the run")
	c.Flags().StringVar(&j.trace, "trace", "", "file that takes everything that happens, as text")
	j.flags(c)
	return c
}

func (j *job) run(out io.Writer) (err error) {
	o, err := j.options()
	if err != nil {
		return err
	}
	if j.trace != "" {
		f, err := os.Create(j.trace)
		if err != nil {
			return fmt.Errorf("trace: %w", err)
		}
		b := bufio.NewWriterSize(f, 1<<20)
		o.Trace = b
		r, err := j.measured(out, o)
		return errors.Join(err, b.Flush(), f.Close(), j.judge(out, r))
	}
	r, err := j.measured(out, o)
	return errors.Join(err, j.judge(out, r))
}

// measured runs a seed and prints what it did and how fast.
func (j *job) measured(out io.Writer, o sim.Options) (sim.Result, error) {
	start := cpuTime()
	minutes := 0
	o.Progress = func(r sim.Result) {
		if minutes++; minutes%10 == 0 {
			fmt.Fprintln(out, line(r, cpuTime()-start))
		}
	}
	r := sim.Run(o)
	_, err := fmt.Fprintln(out, line(r, cpuTime()-start))
	return r, err
}

func line(r sim.Result, cpu time.Duration) string {
	return fmt.Sprintf("seed %d: %v, %d entries, %d exchanges, %d admissions, %d faults, %d leaders, %d restores, %d steps, %d digests, %d calms; trace %016x; %.1f simulated seconds per CPU second",
		r.Seed, r.Span.Round(time.Second), r.Entries, r.Exchanges, r.Admissions, r.Faults, r.Leaders, r.Restores, r.Steps, r.Digests, r.Calms, r.Hash, r.Span.Seconds()/max(cpu.Seconds(), 1e-9))
}

// judge prints a violation and how to see it again.
func (j *job) judge(out io.Writer, r sim.Result) error {
	v := r.Violation
	if v == nil {
		return nil
	}
	fmt.Fprintf(out, "\nVIOLATION at %v, seed %d: %s\n\nwhat happened before (ns, kind, who, numbers):\n", v.At, r.Seed, v.What)
	for _, l := range v.Tail {
		fmt.Fprintln(out, l)
	}
	fmt.Fprintf(out, "\nreplay: %s\n", j.replay(r.Seed))
	return errFound
}
