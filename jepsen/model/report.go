package model

import (
	"math"
	"time"
)

// count adds up the flaws of a batch and remembers the first of all.
func (e *explorer[S]) count(flaws []flaw) {
	for _, f := range flaws {
		if !f.counts {
			continue
		}
		e.violations++
		if e.first == nil {
			e.first = &f
		}
	}
}

func (e *explorer[S]) progress() {
	if e.opt.Progress == nil || time.Since(e.reported) < e.opt.Every {
		return
	}
	e.reported = time.Now()
	p := Progress{Distinct: e.distinct, Depth: e.depth, Elapsed: e.reported.Sub(e.started)}
	for _, w := range e.workers {
		p.Generated += w.generated
	}
	for _, b := range e.frontier {
		p.Frontier += uint64(b.n)
	}
	p.Rate = rate(p.Distinct, p.Elapsed)
	e.opt.Progress(p)
}

// deepest returns the depth of the deepest state visited, which is one more than
// that of the frontier if the exploration ended within a level.
func (e *explorer[S]) deepest() int {
	for i := range e.shards {
		if len(e.shards[i].next) > 0 {
			return e.depth + 1
		}
	}
	return e.depth
}

func (e *explorer[S]) result(stop Stop, r rules[S]) (*Result, error) {
	res := &Result{
		Distinct:   e.distinct,
		Depth:      e.deepest(),
		Violations: e.violations,
		Stop:       stop,
		Elapsed:    time.Since(e.started),
	}
	for _, name := range r.observables {
		res.Max = append(res.Max, Count{name, math.MinInt64})
	}
	for _, name := range e.m.Kinds() {
		res.Taken = append(res.Taken, Count{Name: name})
	}
	for _, w := range e.workers {
		res.Generated += w.generated
		res.Terminal += w.terminal
		for i, v := range w.max {
			res.Max[i].Value = max(res.Max[i].Value, v)
		}
		for i, n := range w.taken {
			res.Taken[i].Value += n
		}
	}
	for i := range e.shards {
		res.Memory += e.shards[i].memory()
	}
	var err error
	if e.first != nil {
		res.Violation, err = e.trace(r)
	}
	return res, err
}
