package edge

import (
	"errors"
	"fmt"
)

// check reports a broken invariant of the edge. Call it with mu held while no
// other goroutine uses the edge.
func (e *Edge) check() error {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	e.pending = e.queue.drain(e.pending)
	listed := make(map[*Key]int)
	for _, k := range e.pending {
		listed[k]++
	}
	for i, k := range e.due {
		if k.place != i+1 {
			fail("%q has place %d in the heap, not %d", k.name, k.place, i+1)
		}
		if i > 0 && k.due < e.due[(i-1)/2].due {
			fail("%q is due before its parent in the heap", k.name)
		}
	}
	keys := 0
	for _, l := range e.limiters {
		live := 0
		l.keys.each(func(k *Key) bool {
			live++
			if l.keys.find(k.name) != k {
				fail("%q is in the table but not found", k.name)
			}
			s, want := k.state.Load(), 0
			if s == queued {
				want = 1
			}
			if listed[k] != want {
				fail("%q in state %d is listed %d times", k.name, s, listed[k])
			}
			granted := k.lease.Load() != nil && k.lease.Load().Totals().Granted > 0
			if s == gone || s == clean && (granted || k.place != 0) || s == held && !granted {
				fail("%q in state %d, granted %v, place %d", k.name, s, granted, k.place)
			}
			if s == held && k.place == 0 && e.outcast.Load() == 0 && !l.batch.Load().keeps() && k.lease.Load().Left() > 0 && e.now() < min(k.rollAt, k.lease.Load().Deadline()) {
				fail("%q holds %d and will not be looked at", k.name, k.lease.Load().Left())
			}
			if k.counted > len(k.waiters) || s != flying && s != again && k.counted > 0 && s != queued {
				fail("%q counts %d of %d waiters", k.name, k.counted, len(k.waiters))
			}
			if len(k.waiters) > 0 && (s == clean || s == held) {
				fail("%q has waiters in state %d", k.name, s)
			}
			return true
		})
		if live != l.keys.live {
			fail("table has %d keys, counts %d", live, l.keys.live)
		}
		keys += live
	}
	if keys != e.keys || keys > e.cfg.MaxKeys {
		fail("%d keys, counted %d, at most %d", keys, e.keys, e.cfg.MaxKeys)
	}
	return errors.Join(errs...)
}
