package model

import (
	"errors"
	"fmt"
	"runtime"
	"time"
)

// maxStates bounds an exploration, because a state is referred to by 32 bits of
// which six name its shard: half of that range leaves room for uneven shards.
const maxStates = 1 << 31

// Options say how far and how to explore. Nothing in here changes the counts of
// an exploration that runs to its end, except Symmetry.
type Options struct {
	// Workers is the number of goroutines. Results do not depend on it, the
	// counterexample included.
	Workers int

	// MaxStates ends the exploration once that many distinct states are known.
	// States are counted between rounds, which get smaller towards the limit, so
	// it may be overrun by the successors of the last one. At most 2^31.
	MaxStates uint64

	// MaxDepth ends the exploration when the states of that depth have been
	// visited; the initial states have depth 1.
	MaxDepth int

	// Continue counts violations and goes on. Otherwise the exploration ends in
	// the round that met the first.
	Continue bool

	// Symmetry visits one state of each symmetry class; see Symmetric.
	Symmetry bool

	// Verify decodes every new state again and fails if it then encodes to other
	// bytes. It costs about a third of the speed; a new model should pass once.
	Verify bool

	// Progress, unless nil, is called between rounds, at least Every apart.
	Progress func(Progress)
	Every    time.Duration
}

// Progress tells how far an exploration has come.
type Progress struct {
	Distinct  uint64
	Generated uint64
	Depth     int
	Frontier  uint64 // states of this depth that are not expanded yet
	Elapsed   time.Duration
	Rate      float64 // distinct states per second since the start
}

// DefaultOptions explore everything on all processors, up to the first
// violation.
func DefaultOptions() Options {
	return Options{
		Workers:   runtime.GOMAXPROCS(0),
		MaxStates: maxStates,
		MaxDepth:  1 << 30,
		Every:     2 * time.Second,
	}
}

// Validate reports every setting that cannot work.
func (o Options) Validate() error {
	var errs []error
	if o.Workers < 1 {
		errs = append(errs, fmt.Errorf("workers %d: at least 1", o.Workers))
	}
	if o.MaxStates < 1 || o.MaxStates > maxStates {
		errs = append(errs, fmt.Errorf("max states %d: between 1 and %d", o.MaxStates, uint64(maxStates)))
	}
	if o.MaxDepth < 1 {
		errs = append(errs, fmt.Errorf("max depth %d: at least 1", o.MaxDepth))
	}
	if o.Every < 0 {
		errs = append(errs, fmt.Errorf("progress every %v: not negative", o.Every))
	}
	return errors.Join(errs...)
}
