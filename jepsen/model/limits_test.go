package model

import (
	"context"
	"testing"
)

func TestLimits(t *testing.T) {
	c := &counters{n: 5, top: 9} // 100,000 states, 5 actions
	for _, tt := range []struct {
		name        string
		set         func(*Options)
		stop        Stop
		least, most uint64
		depth       int // 0: any
	}{
		{"none", func(*Options) {}, StopExhausted, 100_000, 100_000, 46},
		{"one state", func(o *Options) { o.MaxStates = 1 }, StopStates, 1, 1, 1},
		{"states", func(o *Options) { o.MaxStates = 20_000 }, StopStates, 20_000, 20_000 + 5*blockStates, 0},
		{"as many as there are", func(o *Options) { o.MaxStates = 100_000 }, StopStates, 100_000, 100_000, 46},
		{"more than there are", func(o *Options) { o.MaxStates = 100_001 }, StopExhausted, 100_000, 100_000, 46},
		{"initial states", func(o *Options) { o.MaxDepth = 1 }, StopDepth, 1, 1, 1},
		{"depth", func(o *Options) { o.MaxDepth = 4 }, StopDepth, 1 + 5 + 15 + 35, 1 + 5 + 15 + 35, 4},
		{"the last depth", func(o *Options) { o.MaxDepth = 46 }, StopDepth, 100_000, 100_000, 46},
	} {
		t.Run(tt.name, func(t *testing.T) {
			opt := options(2)
			tt.set(&opt)
			got, err := Explore(t.Context(), c, opt)
			if err != nil {
				t.Fatal(err)
			}
			if got.Stop != tt.stop || got.Distinct < tt.least || got.Distinct > tt.most {
				t.Errorf("%v, want %s with %d to %d distinct", got, tt.stop, tt.least, tt.most)
			}
			if tt.depth > 0 && got.Depth != tt.depth {
				t.Errorf("depth %d, want %d", got.Depth, tt.depth)
			}
			if got.Complete() != (tt.stop == StopExhausted) {
				t.Errorf("Complete() = %v after %s", got.Complete(), got.Stop)
			}
		})
	}
}

func TestContextAndProgress(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	opt := options(2)
	opt.Every = 0 // each round
	var last Progress
	calls := 0
	opt.Progress = func(p Progress) {
		if p.Distinct <= last.Distinct || p.Generated <= last.Generated || p.Depth < last.Depth {
			t.Errorf("progress %+v after %+v", p, last)
		}
		last = p
		if calls++; calls == 10 {
			cancel()
		}
	}
	got, err := Explore(ctx, &counters{n: 5, top: 9}, opt)
	if err != nil {
		t.Fatal(err)
	}
	if got.Stop != StopContext || calls != 10 || got.Distinct != last.Distinct {
		t.Errorf("%v after %d calls of Progress, the last with %+v; want %s after 10", got, calls, last, StopContext)
	}
}

// An exploration whose last round was cut off has not seen everything, though
// there is nothing left to expand.
func TestContextEndsBeforeLastRound(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	got, err := Explore(ctx, &graph{starts: []int{0}, edges: [][]int{{1}, {}}}, options(1))
	if err != nil {
		t.Fatal(err)
	}
	if got.Stop != StopContext || got.Distinct != 1 {
		t.Errorf("%v, want %s with 1 distinct", got, StopContext)
	}
}

func TestOptionsValidate(t *testing.T) {
	if err := DefaultOptions().Validate(); err != nil {
		t.Errorf("DefaultOptions().Validate() = %v", err)
	}
	for name, set := range map[string]func(*Options){
		"workers":         func(o *Options) { o.Workers = 0 },
		"no states":       func(o *Options) { o.MaxStates = 0 },
		"too many states": func(o *Options) { o.MaxStates = 1<<31 + 1 },
		"depth":           func(o *Options) { o.MaxDepth = 0 },
		"every":           func(o *Options) { o.Every = -1 },
	} {
		opt := DefaultOptions()
		set(&opt)
		if opt.Validate() == nil {
			t.Errorf("%s: no error", name)
		}
		if _, err := Explore(t.Context(), &counters{n: 1, top: 1}, opt); err == nil {
			t.Errorf("%s: explored", name)
		}
	}
}
