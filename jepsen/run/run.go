package run

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/jepsen/check"
	"github.com/tkcoord/tkcoord/jepsen/history"
	"github.com/tkcoord/tkcoord/jepsen/host"
	"github.com/tkcoord/tkcoord/jepsen/nemesis"
	"github.com/tkcoord/tkcoord/jepsen/raftlog"
	"github.com/tkcoord/tkcoord/jepsen/report"
	"github.com/tkcoord/tkcoord/jepsen/traffic"
	"github.com/tkcoord/tkcoord/policy"
)

// slewPPM is how fast the cluster clock follows wall clocks, tkcoord's default.
const slewPPM = 500

// Bounds of the phases without traffic.
const (
	bootTime   = 60 * time.Second
	stopTime   = 30 * time.Second
	leaderTime = 15 * time.Second
)

// A runner is one run under way.
type runner struct {
	Options
	s        Scenario
	workload traffic.Workload
	meta     check.Meta
	cluster  *host.Cluster
	timeline *nemesis.Timeline
	archive  *raftlog.Archive
	final    *history.Writer // record of the run's own exchanges
	say      *progress
}

// Run carries out a scenario and returns the verdict on it. An error means that
// there is none: the run could not be done.
func Run(ctx context.Context, s Scenario, o Options) (_ report.Result, err error) {
	if err := errors.Join(s.Validate(), o.prepare()); err != nil {
		return report.Result{}, err
	}
	r := &runner{Options: o, s: s, say: newProgress(o.Progress)}
	if err := r.open(); err != nil {
		return report.Result{}, errors.Join(err, r.close())
	}
	err = r.phases(ctx)
	if err = errors.Join(err, r.close()); err != nil {
		return report.Result{}, fmt.Errorf("run %s: %w; see %s", s.Name, err, r.Dir)
	}
	if err := r.collect(); err != nil {
		return report.Result{}, err
	}
	r.say.linef("check", "judging")
	res, err := Check(r.Dir)
	if err != nil {
		return res, err
	}
	if res.OK && !r.KeepData {
		err = r.dropData()
	}
	return res, err
}

// Check judges the directory of a run and writes its report.
func Check(dir string) (report.Result, error) {
	x, err := check.Load(dir)
	if err != nil {
		return report.Result{}, fmt.Errorf("load %s: %w", dir, err)
	}
	return report.Write(dir, x, check.Judge(x))
}

// open makes everything but starts nothing.
func (r *runner) open() (err error) {
	if r.workload, err = traffic.Find(r.s.Workload); err != nil {
		return err
	}
	r.meta = check.Meta{
		Name: r.s.Name, Seed: r.s.Seed, Version: r.Version, Bug: r.Bug, Command: r.s.Command(), Started: time.Now().UTC(),
		Workload: r.s.Workload, Nemeses: r.s.Nemeses, Need: r.s.needs(r.workload), Linear: []string{traffic.CellPolicy}, Setup: map[string]string{},
	}
	for _, name := range r.s.Nemeses {
		n, _ := nemesis.Find(name) // Validate found it
		r.meta.Excused = append(r.meta.Excused, n.Excuses...)
	}
	if err := os.Mkdir(r.path(check.ClientsDir), 0o755); err != nil {
		return err
	}
	policies := r.path("policies.yaml")
	if err := os.WriteFile(policies, policy.Format(r.workload.Policies), 0o644); err != nil {
		return err
	}
	if r.timeline, err = nemesis.CreateTimeline(r.path(check.EventsFile)); err != nil {
		return err
	}
	if r.archive, err = raftlog.NewArchive(r.path(check.SnapshotsDir)); err != nil {
		return err
	}
	if r.final, err = history.Create(filepath.Join(r.path(check.ClientsDir), history.FileName("final")), history.Head{Client: "final", Role: history.RoleDirect, Edge: "final"}); err != nil {
		return err
	}
	return r.openCluster(policies)
}

func (r *runner) path(name string) string { return filepath.Join(r.Dir, name) }

func (r *runner) openCluster(policies string) (err error) {
	cfg := host.DefaultConfig()
	cfg.Dir, cfg.RunID, cfg.Binary, cfg.Seed = r.path(check.HostsDir), host.NewRunID(), r.Node, r.s.Seed
	cfg.Nodes, cfg.Edges, cfg.TLS, cfg.Policies, cfg.DriftPPM = r.s.Nodes, len(r.specs(nil)), r.s.TLS, policies, r.s.DriftPPM
	// Long pauses last up to three leases. They must stay below the 5 s after which
	// a node gives up a write to its log: it counts the time that it was paused.
	cfg.MaxLease = 1500 * time.Millisecond
	if r.s.Netns {
		cfg.Mode = host.Netns
	}
	cfg.Flags = []string{fmt.Sprintf("--clock-slew-ppm=%d", slewPPM), "--digest-every=2s"}
	if !r.s.Compact {
		cfg.Flags = append(cfg.Flags, "--trailing-logs=1000000000")
	}
	cfg.Ended = r.timeline.Exit
	log, err := os.Create(r.path("harness.log"))
	if err != nil {
		return err
	}
	cfg.Log = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if r.cluster, err = host.Open(cfg); err != nil {
		return err
	}
	for i, n := range r.cluster.Nodes() {
		r.meta.Nodes = append(r.meta.Nodes, n.Name())
		if r.s.Compact && i > 0 { // n1 keeps all that it was sent entry by entry
			n.SetFlags("--snapshot-threshold=200", "--trailing-logs=50", "--snapshot-interval=500ms")
		}
	}
	r.meta.Heartbeat = cfg.Heartbeat
	for k, v := range map[string]any{
		"nodes": cfg.Nodes, "edges": r.s.Edges, "hosts": cfg.Mode, "tls": cfg.TLS, "heartbeat": cfg.Heartbeat, "tick": cfg.Tick,
		"max-lease-ttl": cfg.MaxLease, "session-idle": cfg.SessionIdle, "clock-drift-ppm": cfg.DriftPPM, "compact": r.s.Compact, "flags": cfg.Flags,
	} {
		r.meta.Setup[k] = fmt.Sprint(v)
	}
	return nil
}

// specs are the programs of the run. addresses may be nil when only their number
// is wanted.
func (r *runner) specs(addresses []string) []traffic.Spec {
	return r.workload.Specs(r.s.Edges, traffic.Spec{
		Seed: r.s.Seed, Addresses: addresses, Records: r.path(check.ClientsDir),
		Rates: clock.Rates{Drift: clock.PPM(r.s.DriftPPM), Slew: slewPPM},
	})
}

// close ends what was begun, also after a failure.
func (r *runner) close() error {
	var errs []error
	if r.cluster != nil {
		errs = append(errs, r.cluster.Close())
	}
	if r.final != nil {
		errs = append(errs, r.final.Close())
	}
	if r.timeline != nil {
		errs = append(errs, r.timeline.Close())
	}
	return errors.Join(errs...)
}
