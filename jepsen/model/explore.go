package model

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// roundBlocks is how many blocks are expanded before their candidates are
// merged. It bounds the memory of a round, and is fixed so that rounds do not
// depend on the number of workers.
const roundBlocks = 64

// An explorer runs one exploration. It goes level by level, and through a level
// in rounds of two phases: first workers expand blocks of the frontier against a
// visited set that nobody changes; then each shard adopts the candidates that
// are its own. No phase needs a lock, and since batches are merged in the order
// of their blocks, the numbering of states, their parents, and the point where
// an exploration stops are the same for any number of workers.
type explorer[S fmt.Stringer] struct {
	m       Model[S]
	opt     Options
	shards  [shards]shard
	workers []*worker[S]
	batches []*batch

	frontier []*block // of this level, not yet expanded
	depth    int
	distinct uint64

	violations uint64
	first      *flaw

	started  time.Time
	reported time.Time
}

// Explore visits the states that m can reach, breadth first, until a limit in
// opt is reached or ctx ends, which are results and not errors. An error means
// that opt is not valid or that m breaks its contract.
func Explore[S fmt.Stringer](ctx context.Context, m Model[S], opt Options) (*Result, error) {
	if err := opt.Validate(); err != nil {
		return nil, fmt.Errorf("options: %w", err)
	}
	e := &explorer[S]{m: m, opt: opt, started: time.Now()}
	e.reported = e.started
	for i := range e.shards {
		e.shards[i].number = i
	}
	r, err := parts(m, opt)
	if err != nil {
		return nil, err
	}
	for range opt.Workers {
		e.workers = append(e.workers, newWorker(m, r, &e.shards))
	}
	stop, err := e.run(ctx)
	if err != nil {
		return nil, fmt.Errorf("explore, depth %d: %w", e.depth, err)
	}
	return e.result(stop, r)
}

// parts finds the optional parts of a model that opt puts to use.
func parts[S fmt.Stringer](m Model[S], opt Options) (rules[S], error) {
	r := rules[S]{verify: opt.Verify}
	if o, ok := m.(Observer[S]); ok {
		r.observe, r.observables = o.Observe, o.Observables()
	}
	if opt.Symmetry {
		s, ok := m.(Symmetric[S])
		if !ok {
			return r, fmt.Errorf("symmetry: %T does not say which states are alike", m)
		}
		r.canonicalise = s.Canonicalise
	}
	return r, nil
}

func (e *explorer[S]) run(ctx context.Context) (Stop, error) {
	out := e.batch(0)
	if err := e.workers[0].start(out); err != nil {
		return "", err
	}
	e.merge(e.batches[:1])
	if e.distinct == 0 {
		return "", errors.New("the model has no initial state")
	}
	for e.advance() {
		for len(e.frontier) > 0 {
			if stop := e.limit(); stop != "" {
				return stop, nil
			}
			if err := e.round(ctx); err != nil {
				return "", err
			}
			if stop := e.interrupted(ctx); stop != "" {
				return stop, nil
			}
			e.progress()
		}
	}
	return StopExhausted, nil
}

// advance moves to the next level and reports whether there is one.
func (e *explorer[S]) advance() bool {
	e.frontier = e.frontier[:0]
	for i := range e.shards {
		e.frontier = append(e.frontier, e.shards[i].take()...)
	}
	if len(e.frontier) == 0 {
		return false
	}
	e.depth++
	return true
}

// limit says why nothing more may be expanded, if that is so.
func (e *explorer[S]) limit() Stop {
	switch {
	case e.first != nil && !e.opt.Continue:
		return StopViolation // by an initial state
	case e.distinct >= e.opt.MaxStates:
		return StopStates
	case e.depth >= e.opt.MaxDepth:
		return StopDepth
	}
	return ""
}

// interrupted says why the round just done was the last one, if that is so. NB: a
// round in which ctx ended is incomplete, even if it was the last of all.
func (e *explorer[S]) interrupted(ctx context.Context) Stop {
	switch {
	case e.first != nil && !e.opt.Continue:
		return StopViolation
	case ctx.Err() != nil:
		return StopContext
	}
	return ""
}

// round expands some blocks of the frontier and merges what they yield. Near the
// limit of states it takes fewer, so as not to overrun it by much.
func (e *explorer[S]) round(ctx context.Context) error {
	room := (e.opt.MaxStates - e.distinct) / blockStates
	n := min(roundBlocks, len(e.frontier), 1+int(room))
	blocks := e.frontier[:n]
	e.frontier = e.frontier[n:]
	e.batch(n - 1)
	err := parallel(len(e.workers), n, func(worker, i int) error {
		if ctx.Err() != nil {
			e.batches[i].reset() // the exploration ends here anyway
			return nil
		}
		return e.workers[worker].expand(blocks[i], e.batches[i])
	})
	if err != nil {
		return err
	}
	e.merge(e.batches[:n])
	for _, b := range blocks {
		e.shards[b.first.shard()].recycle(b)
	}
	return nil
}

// batch returns the batch for the i-th block of a round.
func (e *explorer[S]) batch(i int) *batch {
	for len(e.batches) <= i {
		e.batches = append(e.batches, new(batch))
	}
	return e.batches[i]
}

func (e *explorer[S]) merge(batches []*batch) {
	_ = parallel(len(e.workers), shards, func(_, i int) error {
		e.shards[i].merge(batches)
		return nil
	})
	e.distinct = 0
	for i := range e.shards {
		e.distinct += uint64(len(e.shards[i].links))
	}
	for _, b := range batches {
		e.count(b.flaws)
	}
}
