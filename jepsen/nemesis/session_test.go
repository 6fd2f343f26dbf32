package nemesis

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tkcoord/tkcoord/jepsen/check"
	"github.com/tkcoord/tkcoord/jepsen/history"
	"github.com/tkcoord/tkcoord/jepsen/host"
	"github.com/tkcoord/tkcoord/jepsen/host/standin"
	"github.com/tkcoord/tkcoord/jepsen/netfault"
	"github.com/tkcoord/tkcoord/jepsen/seam"
)

func TestMain(m *testing.M) {
	standin.MainIfAsked()
	os.Exit(m.Run())
}

// A stage is a session on a cluster of stand-ins.
type stage struct {
	*Session
	cluster  *host.Cluster
	timeline string
}

func newStage(t testing.TB, mode host.Mode, nodes, edges int) *stage {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cfg := host.DefaultConfig()
	cfg.Dir, cfg.RunID, cfg.Binary, cfg.Mode = t.TempDir(), host.NewRunID(), self, mode
	cfg.Nodes, cfg.Edges, cfg.Env = nodes, edges, []string{standin.Env}
	cfg.Heartbeat, cfg.MaxLease = 50*time.Millisecond, 200*time.Millisecond
	path := filepath.Join(cfg.Dir, "events.jsonl")
	timeline, err := CreateTimeline(path)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Ended = timeline.Exit
	c, err := host.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(c.Close(), timeline.Close()); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := c.Start(ctx); err != nil {
		t.Fatal(err)
	}
	for _, e := range c.Edges() {
		e.Run(func(int) []string { return []string{"/bin/sh", "-c", "exec sleep 1000"} })
		if err := e.Start(); err != nil {
			t.Fatal(err)
		}
	}
	return &stage{NewSession(c, timeline, 1), c, path}
}

func (s *stage) events(t testing.TB) []check.Event {
	t.Helper()
	events, err := check.ReadEvents(s.timeline)
	if err != nil {
		t.Fatal(err)
	}
	return events
}

// whole checks that nothing is left of any fault.
func (s *stage) whole(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := s.cluster.Serving(ctx); err != nil {
		t.Error(err)
	}
	for _, n := range s.cluster.Nodes() {
		if err := n.Ready(ctx); err != nil { // also of one that is still paused
			t.Errorf("%s: %v", n.Name(), err)
		}
		if f := n.Seam.Faults(); f != (seam.Faults{}) {
			t.Errorf("%s: the fault file says %+v", n.Name(), f)
		}
	}
	for _, e := range s.cluster.Edges() {
		if f := e.Seam.Faults(); f != (seam.Faults{}) || !e.Running() {
			t.Errorf("%s: runs: %t, fault file %+v", e.Name(), e.Running(), f)
		}
	}
	for f := range s.cluster.Net.Counts() {
		if e := s.cluster.Net.At(f); e != (netfault.Effect{}) {
			t.Errorf("%v: %+v", f, e)
		}
	}
	if died := s.cluster.Died(); len(died) > 0 {
		t.Errorf("died: %+v", died)
	}
}

// Every nemesis leaves the cluster as it found it, and the record of having been
// there.
func TestEveryNemesis(t *testing.T) {
	for _, mode := range []host.Mode{host.Loopback, host.Netns} {
		t.Run(string(mode), func(t *testing.T) {
			if mode == host.Netns && os.Geteuid() != 0 {
				t.Skip("network namespaces need root")
			}
			t.Parallel()
			s := newStage(t, mode, 5, 2)
			ran := 0
			for _, n := range All() {
				a, err := s.Begin(t.Context(), n)
				if errors.Is(err, ErrSkipped) && n.Lacks(s.cluster) != "" {
					continue
				}
				if err != nil {
					t.Errorf("%s: %v", n.Name, err)
					continue
				}
				ran++
				if len(a.Targets) == 0 || a.Hold < 0 || a.Hold > time.Minute {
					t.Errorf("%s: %+v", n.Name, a.Fault)
				}
				if err := errors.Join(a.End(t.Context()), a.End(t.Context())); err != nil {
					t.Errorf("%s: %v", n.Name, err)
				}
				if mode == host.Loopback || n.Family() == "link" {
					s.whole(t)
				}
			}
			s.whole(t)
			faults := check.Pair(s.events(t))
			if len(faults) != ran || ran < len(All())-3 || mode == host.Netns && ran != len(All()) {
				t.Errorf("%d faults recorded, %d of %d nemeses ran", len(faults), ran, len(All()))
			}
			for _, f := range faults {
				if f.To == history.Never || f.To < f.From {
					t.Errorf("%s lasts from %d to %d", f.Nemesis, f.From, f.To)
				}
			}
		})
	}
}

func phases(events []check.Event, nemesis string) (out []string) {
	for _, e := range events {
		if e.Nemesis == nemesis {
			out = append(out, e.Phase)
		}
	}
	return out
}

func TestSkipped(t *testing.T) {
	s := newStage(t, host.Loopback, 1, 0)
	for _, name := range []string{"link-loss", "partition-halves", "kill-minority", "edge-crash", "leader-transfer", "link-delay", "kill-one+edge-crash"} {
		n, _ := Find(name)
		if err := s.Run(t.Context(), n); !errors.Is(err, ErrSkipped) {
			t.Errorf("%s on one node and no edge: %v, want ErrSkipped", name, err)
		}
		if got := phases(s.events(t), name); !slices.Equal(got, []string{PhaseSkip}) {
			t.Errorf("%s is recorded as %v", name, got)
		}
	}
	if got := check.Pair(s.events(t)); len(got) != 0 {
		t.Errorf("what was skipped counts as injected: %+v", got)
	}
	s.whole(t) // kill-one was taken back when edge-crash found no edge
}

// fake returns a nemesis that notes what is done with it.
func fake(name string, notes *[]string, startErr, stopErr error) Nemesis {
	return Nemesis{Name: name, Start: func(context.Context, *host.Cluster, *rand.Rand) (Fault, error) {
		*notes = append(*notes, "start "+name)
		return Fault{Targets: []string{"n1"}, Stop: func(context.Context) error {
			*notes = append(*notes, "stop "+name)
			return stopErr
		}}, startErr
	}}
}

func TestCombineStopsInOppositeOrder(t *testing.T) {
	broken := errors.New("broken")
	for _, tt := range []struct {
		name  string
		third error
		want  string
		phase []string
	}{
		{"all start", nil, "start a-a, start b-b, start c-c, stop c-c, stop b-b, stop a-a", []string{"start", "stop"}},
		{"the third fails half way", broken, "start a-a, start b-b, start c-c, stop c-c, stop b-b, stop a-a", []string{"fail"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStage(t, host.Loopback, 1, 0)
			var notes []string
			n := Combine(fake("a-a", &notes, nil, nil), fake("b-b", &notes, nil, nil), fake("c-c", &notes, tt.third, nil))
			if err := s.Run(t.Context(), n); !errors.Is(err, tt.third) {
				t.Errorf("Run = %v, want %v", err, tt.third)
			}
			if got := strings.Join(notes, ", "); got != tt.want {
				t.Errorf("done: %s\nwant: %s", got, tt.want)
			}
			if got := phases(s.events(t), n.Name); !slices.Equal(got, tt.phase) {
				t.Errorf("recorded %v, want %v", got, tt.phase)
			}
		})
	}
}

func TestSessionKeepsBooks(t *testing.T) {
	s := newStage(t, host.Loopback, 3, 1)
	ctx := t.Context()
	var notes []string
	broken := errors.New("broken")
	a, err := s.Begin(ctx, fake("a-a", &notes, nil, broken))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Begin(ctx, fake("a-a", &notes, nil, nil)); err == nil {
		t.Error("a nemesis that is active was begun again")
	}
	if err := errors.Join(a.End(ctx)); !errors.Is(err, broken) {
		t.Errorf("End = %v, want the error of Stop", err)
	}
	if got := check.Pair(s.events(t)); len(got) != 1 || got[0].To != history.Never {
		t.Errorf("a fault that could not be taken back is recorded as %+v", got)
	}
	if _, err := s.Begin(ctx, fake("a-a", &notes, nil, nil)); err != nil {
		t.Errorf("begin after the end: %v", err)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	pause, _ := Find("pause-all-long")
	if err := s.Run(ended, pause); err != nil { // the harness is being stopped
		t.Errorf("Run under a context that ended = %v", err)
	}
	s.whole(t)
}

// Without a leader there is nobody to hit, and it does not take for ever to say
// so.
func TestNoLeaderIsSkipped(t *testing.T) {
	s := newStage(t, host.Loopback, 3, 0)
	for _, n := range s.cluster.Nodes() {
		if err := n.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"pause-leader-long", "leader-transfer", "partition-leader", "pause-all-long"} {
		n, _ := Find(name)
		if err := s.Run(t.Context(), n); !errors.Is(err, ErrSkipped) {
			t.Errorf("%s: %v, want ErrSkipped", name, err)
		}
	}
	if err := s.Heal(t.Context()); err != nil {
		t.Error(err)
	}
	s.whole(t)
}

// Heal puts right what overlapping faults and dead processes left.
func TestHeal(t *testing.T) {
	s := newStage(t, host.Loopback, 3, 2)
	ctx := t.Context()
	for _, name := range []string{"partition-ring", "link-slow", "clock-bump", "store-hang-one", "cpu-one", "edge-pause-long", "pause-majority-long", "kill-one"} {
		n, _ := Find(name)
		if _, err := s.Begin(ctx, n); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.cluster.Edges()[0].Kill(); err != nil {
		t.Fatal(err)
	}
	s.cluster.Net.Add(func(netfault.Flow) netfault.Effect { return netfault.Effect{Cut: true} }) // by nobody
	if err := s.Heal(ctx); err != nil {
		t.Error(err)
	}
	s.whole(t)
	for _, f := range check.Pair(s.events(t)) {
		if f.To == history.Never {
			t.Errorf("%s was not recorded as taken back", f.Nemesis)
		}
	}
}

// Equal seeds hurt equally.
func TestSessionSeed(t *testing.T) {
	var first []string
	for range 2 {
		s := newStage(t, host.Loopback, 5, 2)
		var details []string
		for _, name := range []string{"partition-halves", "link-jitter", "clock-strobe", "cpu-one", "partition-clients"} {
			n, _ := Find(name)
			a, err := s.Begin(t.Context(), n)
			if err != nil {
				t.Fatal(err)
			}
			details = append(details, strings.Join(a.Targets, ",")+" "+a.Detail+" "+a.Hold.String())
		}
		if first == nil {
			first = details
		}
		if !slices.Equal(details, first) {
			t.Errorf("%v\nthen %v", first, details)
		}
	}
}
