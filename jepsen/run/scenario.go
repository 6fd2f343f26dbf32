// Package run carries out runs of the suite: it boots a cluster, puts traffic on
// it, hurts it, heals it, and has what is left judged and reported.
package run

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/tkcoord/tkcoord/jepsen/check"
	"github.com/tkcoord/tkcoord/jepsen/host"
	"github.com/tkcoord/tkcoord/jepsen/nemesis"
	"github.com/tkcoord/tkcoord/jepsen/traffic"
)

// A Scenario is what one run does.
type Scenario struct {
	Name     string
	Workload string
	Nemeses  []string // their names; combinations have plus signs
	Seed     uint64
	Nodes    int
	Edges    int           // SDK edges, beside the direct clients and the operator
	Time     time.Duration // of traffic
	Netns    bool          // network namespaces instead of loopback
	TLS      bool
	// DriftPPM is what the cluster is formed to bear of clocks that run fast or
	// slow. The guard grows with it: at 500 it hides errors of a millisecond.
	DriftPPM int64
	// Compact makes most nodes keep little log and take many snapshots.
	Compact bool
	// Race builds the programs with the race detector.
	Race bool
}

// DefaultScenario returns a run without faults. Name, workload and nemeses are
// the caller's.
func DefaultScenario() Scenario {
	return Scenario{Workload: "hot", Seed: 1, Nodes: 3, Edges: 3, Time: 18 * time.Second, DriftPPM: 500}
}

// Parts of the time of traffic.
const (
	warmTime = 2500 * time.Millisecond
	calmTime = 3500 * time.Millisecond // after the faults
)

// Validate reports all problems at once.
func (s Scenario) Validate() error {
	var errs []error
	if _, err := traffic.Find(s.Workload); err != nil {
		errs = append(errs, err)
	}
	for _, name := range s.Nemeses {
		if _, ok := nemesis.Find(name); !ok {
			errs = append(errs, fmt.Errorf("nemesis %q is not known, see tkjepsen list", name))
		}
	}
	if s.Nodes < 1 || s.Nodes > 9 {
		errs = append(errs, fmt.Errorf("%d nodes, want 1 to 9", s.Nodes))
	}
	if s.Edges < 1 || s.Edges > 20 {
		errs = append(errs, fmt.Errorf("%d edges, want 1 to 20", s.Edges))
	}
	if least := warmTime + calmTime + time.Second; s.Time < least || s.Time > time.Hour {
		errs = append(errs, fmt.Errorf("%v of traffic, want %v to 1h", s.Time, least))
	}
	if s.DriftPPM < 0 || s.DriftPPM > 300_000 {
		errs = append(errs, fmt.Errorf("drift %d ppm, want 0 to 300000", s.DriftPPM))
	}
	return errors.Join(errs...)
}

// Flags returns the flags of tkjepsen run that do the same again.
func (s Scenario) Flags() []string {
	flags := []string{
		"--workload", s.Workload, "--seed", fmt.Sprint(s.Seed), "--nodes", fmt.Sprint(s.Nodes), "--edges", fmt.Sprint(s.Edges),
		"--time", s.Time.String(), "--drift-ppm", fmt.Sprint(s.DriftPPM),
	}
	if len(s.Nemeses) > 0 {
		flags = append(flags, "--nemesis", strings.Join(s.Nemeses, ","))
	}
	for _, f := range []struct {
		on   bool
		flag string
	}{{s.Netns, "--netns"}, {s.TLS, "--tls"}, {s.Compact, "--compact"}, {s.Race, "--race"}} {
		if f.on {
			flags = append(flags, f.flag)
		}
	}
	return flags
}

// Command returns the command line that does the same again.
func (s Scenario) Command() string {
	return "go run ./jepsen/cmd/tkjepsen run " + strings.Join(s.Flags(), " ")
}

// needs are what the run must have seen, for what it does.
func (s Scenario) needs(w traffic.Workload) check.Needs {
	n := w.Needs
	switch { // what is dropped by all nodes is bridged by snapshots
	case slices.ContainsFunc(s.Nemeses, func(n string) bool { return strings.Contains(n, "snapshot-storm") }):
		n.Covered = 0.1
	case s.Compact:
		n.Covered = 0.2
	}
	share := float64(s.Time) / float64(DefaultScenario().Time)
	for _, v := range []*int{&n.Exchanges, &n.Windows, &n.Full, &n.Repeats, &n.Changes, &n.Linear, &n.Public, &n.PublicDenied, &n.PublicLinear, &n.Local, &n.Slots, &n.Shared} {
		*v = int(float64(*v) * min(1, share))
	}
	return n
}

// Mix draws a scenario from a seed: any workload, two nemeses, now and then five
// nodes, TLS or short logs.
func Mix(seed uint64) Scenario {
	rng := rand.New(rand.NewPCG(seed, 7))
	s := DefaultScenario()
	s.Name, s.Seed = fmt.Sprintf("mix-%d", seed), seed
	all := traffic.Workloads()
	s.Workload = all[rng.IntN(len(all))].Name
	for _, n := range nemesis.Draw(seed, loopbackNemeses(), 3, 2) {
		s.Nemeses = append(s.Nemeses, n.Name)
	}
	if rng.IntN(4) == 0 {
		s.Nodes = 5
	}
	s.TLS, s.Compact = rng.IntN(3) == 0, rng.IntN(3) == 0
	if rng.IntN(2) == 0 {
		s.DriftPPM = 20_000
	}
	return s
}

// loopbackNemeses are those that hosts on loopback can be given.
func loopbackNemeses() []nemesis.Nemesis {
	return slices.DeleteFunc(nemesis.All(), func(n nemesis.Nemesis) bool { return slices.Contains(n.Needs, host.CanPackets) })
}

// CI lists the scenarios of the gate: every family of faults once, each with the
// workload that it is most likely to break.
func CI() []Scenario {
	make := func(name, workload string, edit func(*Scenario), nemeses ...string) Scenario {
		s := DefaultScenario()
		s.Name, s.Workload, s.Nemeses = name, workload, nemeses
		if edit != nil {
			edit(&s)
		}
		return s
	}
	drift := func(s *Scenario) { s.DriftPPM = 20_000 }
	return []Scenario{
		make("crash", "hot", func(s *Scenario) { s.Compact = true }, "kill-leader", "kill-all"),
		make("pause", "hot", nil, "pause-leader-long", "edge-pause-long"),
		make("partition", "boundaries", nil, "partition-leader", "partition-deaf", "partition-clients"),
		make("bridge", "zipf", func(s *Scenario) { s.Nodes = 5 }, "partition-ring", "partition-bridge", "kill-minority"),
		make("clocks", "boundaries", drift, "clock-drift", "clock-bump+leader-transfer", "clock-step"),
		make("slow", "returns", nil, "link-jitter", "store-slow-leader", "cpu-leader"),
		make("operators", "churn", func(s *Scenario) { s.TLS = true }, "restart-rolling", "leader-transfer"),
		make("limits", "limits", nil, "kill-minority", "edge-crash"),
		make("snapshots", "zipf", func(s *Scenario) { s.Compact = true }, "snapshot-storm"),
		make("strict", "strict", nil, "kill-leader", "partition-leader"),
		make("slots", "slots", drift, "pause-leader-long", "clock-drift"),
		make("mixed", "mixed", nil, "restart-rolling"),
		make("packets", "boundaries", func(s *Scenario) { s.Netns = true }, "link-loss", "link-reorder+partition-mute", "link-duplicate"),
	}
}
