// Package host runs the processes of a test cluster: real tkcoord nodes with
// real disks, and edges. It starts, kills, pauses and starves them, connects
// them through a network that can be mistreated, and knows which of them ended
// without having been told to.
//
// A Cluster owns all of it. What it makes lies in its directory, or ends with
// the harness's process, or is found again by Reap.
package host

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/tkcoord/tkcoord/jepsen/netfault"
)

// Config describes a cluster. DefaultConfig fills what has a default.
type Config struct {
	Dir    string // of the run; made if need be
	RunID  string // see NewRunID
	Binary string // tkcoord, built by Build
	Mode   Mode
	Seed   uint64 // of what happens to packets

	Nodes int // n1, n2, ...
	Edges int // e1, e2, ...

	// What the cluster is formed with. The faults are measured by it: a long
	// pause is longer than MaxLease, a clock drifts by up to DriftPPM.
	Heartbeat   time.Duration
	Tick        time.Duration
	MaxLease    time.Duration
	SessionIdle time.Duration // at least twice MaxLease
	DriftPPM    int64
	Policies    string // file; empty for none
	TLS         bool   // between all: nodes, edges and the harness

	// Flags are added to every node's command line and win over the above, as in
	// --snapshot-threshold=64.
	Flags []string
	Env   []string // of every node

	// Ended is told when a process has ended, by a fault or by itself; may be nil.
	Ended func(Exit)
	Log   *slog.Logger
}

// DefaultConfig returns three nodes on loopback, with times as short as a small
// machine can hold without faults. Dir, RunID and Binary are missing.
func DefaultConfig() Config {
	return Config{
		Mode: Loopback, Nodes: 3, Edges: 0,
		Heartbeat: 300 * time.Millisecond, Tick: 100 * time.Millisecond,
		MaxLease: 2 * time.Second, SessionIdle: 10 * time.Second, DriftPPM: 500,
		Log: slog.New(slog.DiscardHandler),
	}
}

// The most hosts that have addresses, and that tkcoord forms a cluster of.
const (
	maxNodes = 9
	maxEdges = 100
)

// Validate reports all problems at once. What only a node can judge is left to
// it.
func (c Config) Validate() error {
	var errs []error
	for _, p := range []struct {
		wrong bool
		text  string
	}{
		{c.Dir == "", "no directory"},
		{c.RunID == "", "no run id"},
		{c.Binary == "", "no program"},
		{c.Mode != Loopback && c.Mode != Netns, fmt.Sprintf("mode %q, want %q or %q", c.Mode, Loopback, Netns)},
		{c.Nodes < 1 || c.Nodes > maxNodes, fmt.Sprintf("%d nodes, want 1 to %d", c.Nodes, maxNodes)},
		{c.Edges < 0 || c.Edges > maxEdges, fmt.Sprintf("%d edges, want 0 to %d", c.Edges, maxEdges)},
		{c.Log == nil, "no logger"},
	} {
		if p.wrong {
			errs = append(errs, errors.New(p.text))
		}
	}
	return errors.Join(errs...)
}

func (c Config) network(t *netfault.Table) (network, error) {
	if c.Mode == Netns {
		return openNetns(t, c.Seed)
	}
	return openLoopback(t, c.Seed), nil
}
