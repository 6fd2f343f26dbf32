package traffic

import (
	"context"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/jepsen/check"
	"github.com/tkcoord/tkcoord/jepsen/history"
	"github.com/tkcoord/tkcoord/jepsen/seam"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestWorkloads runs the programs of every workload against a coordinator that
// loses replies, on clocks that are bent, and has the run judged.
func TestWorkloads(t *testing.T) {
	for _, w := range Workloads() {
		t.Run(w.Name, func(t *testing.T) {
			t.Parallel()
			l := &lone{}
			address := l.serve(t, w.Policies)
			dir := t.TempDir()
			bend := seam.NewFile(filepath.Join(dir, "faults.json"))
			if err := bend.Change(func(f *seam.Faults) { f.MonotonicRatePPM = -450 }); err != nil {
				t.Fatal(err)
			}
			specs := w.Specs(2, Spec{Seed: 3, Addresses: []string{address}, Records: dir, FaultFile: bend.Path(), Rates: clock.DefaultRates()})
			meta := check.Meta{Linear: []string{CellPolicy}, Wall: history.WallClock{history.PairNow()}, Need: w.Needs}
			meta.Phases.Boot, meta.Phases.Warm = history.Now(), history.Now()
			l.losing = true
			ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
			defer cancel()
			var programs sync.WaitGroup
			for _, s := range specs {
				programs.Go(func() {
					if err := Run(ctx, s, slog.New(slog.DiscardHandler), func() {}); err != nil {
						t.Error(err)
					}
				})
			}
			programs.Wait()
			meta.Phases.Faults, meta.Phases.Healed, meta.Phases.Quiet, meta.Phases.End = history.Now(), history.Now(), history.Now(), history.Now()
			meta.Wall = append(meta.Wall, history.PairNow())
			h, err := history.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			judge(t, check.NewCase(meta, h, &l.log, nil, nil))
		})
	}
}

// judge holds a run to what does not need nodes.
func judge(t *testing.T, x *check.Case) {
	t.Helper()
	leftOut := []string{"I9 replicas", "I10 liveness", "traffic", "faults", "last write"}
	for _, v := range check.Judge(x) {
		if v.OK || slices.Contains(leftOut, v.Name) {
			continue
		}
		for _, p := range v.Problems {
			if (v.Name == "linearizable" || v.Name == "P3 order") && p.At == 0 {
				continue // too few operations for a real run
			}
			t.Errorf("%s: %s", v.Name, p.Text)
		}
	}
	var units escrow.Credits
	for _, c := range x.History {
		if !c.Complete {
			t.Errorf("the record of %s was not closed", c.Client)
		}
		for _, a := range c.Admitted {
			units += a.Units
		}
	}
	if units == 0 {
		t.Error("nothing was admitted")
	}
}

func TestOutcome(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want history.Outcome
	}{
		{nil, history.OK},
		{status.Error(codes.Aborted, ""), history.Fail},
		{status.Error(codes.InvalidArgument, ""), history.Fail},
		{status.Error(codes.Unavailable, "connection reset"), history.Info},
		{status.Error(codes.Unknown, ""), history.Info},
		{status.Error(codes.DeadlineExceeded, ""), history.Info},
		{status.Error(codes.Internal, ""), history.Info},
		{context.DeadlineExceeded, history.Info},
	} {
		if got := outcome(tt.err); got != tt.want {
			t.Errorf("outcome(%v) = %s, want %s", tt.err, got, tt.want)
		}
	}
}

func TestReadingsAreFoundAgain(t *testing.T) {
	now := clock.Nanos(0)
	c := &clocks{bent: true, monotonic: func() clock.Nanos { now += 1000; return now }}
	before := history.Now()
	var values []clock.Nanos
	for range 100 {
		values = append(values, c.Monotonic())
	}
	found := 0
	for _, v := range values {
		if at := c.At(v); at >= before && at <= history.Now() {
			found++
		}
	}
	if found < 95 {
		t.Errorf("%d of 100 readings were found again", found)
	}
	if at := c.At(7); at != 0 {
		t.Errorf("a reading that was never made is placed at %d", at)
	}
}

func TestSpecComesBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "spec.json")
	w, err := Find("hot")
	if err != nil {
		t.Fatal(err)
	}
	want := w.Specs(1, Spec{Seed: 3, Addresses: []string{"a:1"}})[0]
	if err := want.Write(path); err != nil {
		t.Fatal(err)
	}
	for life, name := range []string{"e1", "e1.1", "e1.2"} {
		s, err := ReadSpec(path, life)
		if err != nil || s.Client != name || s.Identity != "e1" || s.Edge == nil || s.Edge.Rate != want.Edge.Rate {
			t.Errorf("life %d reads %+v, %v", life, s, err)
		}
	}
	if _, err := Find("nothing"); err == nil {
		t.Error("a workload of no name is known")
	}
}
