package nemesis

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tkcoord/tkcoord/jepsen/check"
	"github.com/tkcoord/tkcoord/jepsen/host"
	"github.com/tkcoord/tkcoord/jepsen/netfault"
	"github.com/tkcoord/tkcoord/jepsen/seam"
)

// stopBound is how long taking back a fault may take: a rolling restart of many
// nodes is the longest.
const stopBound = 3 * time.Minute

// A Session hurts one cluster. Safe for concurrent use, as when faults overlap.
type Session struct {
	cluster  *host.Cluster
	timeline *Timeline
	seed     uint64

	mu     sync.Mutex // guards the rest
	begun  uint64     // faults so far; each has randomness of its own
	active []*Active
}

// An Active is a fault that was begun and not yet ended.
type Active struct {
	Fault
	Name string

	session *Session
	before  netfault.Counts // of all flows
	end     sync.Once
	err     error
}

// NewSession returns a session in which nothing is wrong yet. Equal seeds draw
// equal faults for equal sequences of nemeses on equal clusters, as far as they
// do not depend on who leads.
func NewSession(c *host.Cluster, t *Timeline, seed uint64) *Session {
	return &Session{cluster: c, timeline: t, seed: seed}
}

// Begin starts a nemesis. An error wrapping ErrSkipped says that it cannot run
// here. A nemesis that is active already is refused.
func (s *Session) Begin(ctx context.Context, n Nemesis) (*Active, error) {
	rng, err := s.admit(n)
	if err != nil {
		return nil, err
	}
	before := s.traffic()
	if why := n.Lacks(s.cluster); why != "" {
		s.timeline.Record(check.Event{Nemesis: n.Name, Phase: PhaseSkip, Detail: why})
		return nil, fmt.Errorf("%s: %w: %s", n.Name, ErrSkipped, why)
	}
	f, err := n.Start(ctx, s.cluster, rng)
	if err != nil {
		phase := PhaseFail
		if errors.Is(err, ErrSkipped) {
			phase = PhaseSkip
		}
		s.timeline.Record(check.Event{Nemesis: n.Name, Phase: phase, Detail: err.Error()})
		if f.Stop != nil {
			err = errors.Join(err, f.Stop(ctx)) // part of it may be in effect
		}
		return nil, fmt.Errorf("start %s: %w", n.Name, err)
	}
	s.timeline.Record(check.Event{Nemesis: n.Name, Phase: check.PhaseStart, Targets: f.Targets, Detail: f.Detail})
	a := &Active{Fault: f, Name: n.Name, session: s, before: before}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active = append(s.active, a)
	return a, nil
}

// admit returns the randomness of the next fault.
func (s *Session) admit(n Nemesis) (*rand.Rand, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.ContainsFunc(s.active, func(a *Active) bool { return a.Name == n.Name }) {
		return nil, fmt.Errorf("%s is active already", n.Name)
	}
	s.begun++
	return rand.New(rand.NewPCG(s.seed, s.begun)), nil
}

// End takes the fault back. It does so even when ctx has ended, within a bound of
// its own; later calls return what the first did.
func (a *Active) End(ctx context.Context) error {
	a.end.Do(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopBound)
		defer cancel()
		s := a.session
		e := check.Event{Nemesis: a.Name, Phase: check.PhaseStop, Targets: a.Targets, Detail: toll(a.before, s.traffic())}
		if err := a.Stop(ctx); err != nil {
			a.err = fmt.Errorf("stop %s: %w", a.Name, err)
			e.Phase, e.Detail = PhaseFail, err.Error()
		}
		s.timeline.Record(e)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.active = slices.DeleteFunc(s.active, func(o *Active) bool { return o == a })
	})
	return a.err
}

// traffic sums up what happened to all flows so far.
func (s *Session) traffic() netfault.Counts {
	var sum netfault.Counts
	for _, c := range s.cluster.Net.Counts() {
		sum.Passed += c.Passed
		sum.Dropped += c.Dropped
		sum.Duplicated += c.Duplicated
		sum.Delayed += c.Delayed
	}
	return sum
}

// toll says what a fault did to the traffic, empty if nothing.
func toll(before, after netfault.Counts) string {
	var parts []string
	for _, p := range []struct {
		what  string
		count int64
	}{{"dropped", after.Dropped - before.Dropped}, {"duplicated", after.Duplicated - before.Duplicated}, {"delayed", after.Delayed - before.Delayed}} {
		if p.count > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.count, p.what))
		}
	}
	return strings.Join(parts, ", ")
}

// Run begins a nemesis, holds it for as long as it asks, or until ctx ends, and
// ends it.
func (s *Session) Run(ctx context.Context, n Nemesis) error {
	a, err := s.Begin(ctx, n)
	if err != nil {
		return err
	}
	t := time.NewTimer(a.Hold)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
	return a.End(ctx)
}

// Heal ends all faults, the newest first, and then puts right whatever one of
// them might have left: the network is whole, all fault files are empty, all
// nodes and edges run. It does not wait until the cluster serves.
func (s *Session) Heal(ctx context.Context) error {
	s.mu.Lock()
	active := slices.Clone(s.active)
	s.mu.Unlock()
	var errs []error
	for _, a := range slices.Backward(active) {
		errs = append(errs, a.End(ctx))
	}
	s.cluster.Net.Heal()
	healthy := func(f *seam.Faults) { *f = seam.Faults{} }
	for _, n := range s.cluster.Nodes() {
		n.SetFlags()
		errs = append(errs, n.Seam.Change(healthy))
	}
	for _, e := range s.cluster.Edges() {
		errs = append(errs, e.Seam.Change(healthy))
	}
	ended := slices.Concat(processes(s.cluster.Nodes(), ofNode), processes(s.cluster.Edges(), ofEdge))
	ended = slices.DeleteFunc(ended, func(p *host.Process) bool { return len(p.Exits()) == 0 })
	return errors.Join(append(errs, startAll(ended))...)
}
