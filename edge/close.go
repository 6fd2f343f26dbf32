package edge

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Close stops admitting, has the coordinator count what meters admitted, gives
// everything unspent back to it with the final totals, and ends the goroutines of
// the edge. It takes no longer than CloseTimeout and reports what could not be
// returned: that stays counted as granted until its windows end. A second call does
// nothing and returns the same.
func (e *Edge) Close() error {
	e.closing.Do(func() { e.closed = e.end(true) })
	return e.closed
}

// Abandon ends the edge as a crash would: nothing is given back, so it takes no
// time. What the edge holds stays counted until its windows end.
func (e *Edge) Abandon() {
	e.closing.Do(func() { e.closed = e.end(false) })
}

// end ends the edge, and gives credits back if that is wanted and anybody takes
// them.
func (e *Edge) end(giveBack bool) error {
	e.halt(ErrClosed)
	e.cancel()
	e.work.Wait()
	var errs []error
	ctx, cancel := context.WithTimeout(context.Background(), e.cfg.CloseTimeout)
	defer cancel()
	if giveBack {
		errs = append(errs, e.flushMeters(ctx))
	}
	if giveBack && e.outcast.Load() == 0 {
		errs = append(errs, e.giveUp(ctx))
	} else {
		e.retireAll()
	}
	e.metrics()
	if e.nodes != nil {
		errs = append(errs, e.nodes.close())
	}
	return errors.Join(errs...)
}

// finalRounds bounds how often giveUp goes over all keys: a second time because
// the answers may bring credits that an exchange cut off before had asked for.
const finalRounds = 3

// giveUp returns all credits.
func (e *Edge) giveUp(ctx context.Context) error {
	var last error
	for range finalRounds {
		if e.retireAll() == 0 {
			return nil
		}
		for {
			asked, err := e.attempt(ctx)
			if err != nil {
				last = err
				select {
				case <-time.After(e.pause()):
				case <-ctx.Done():
				}
			} else if !asked {
				break
			}
			if ctx.Err() != nil {
				return fmt.Errorf("return unspent credits of %d keys: %w", e.retireAll(), errors.Join(ctx.Err(), last))
			}
		}
	}
	return nil
}

// retireAll takes all unspent credits away, so that nothing is admitted any
// more, queues the keys whose owner does not know their totals, and returns how
// many these are.
func (e *Edge) retireAll() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.retiring, e.hello = true, false
	now := e.now()
	e.pending = e.queue.drain(e.pending)[:0:0]
	e.due = nil
	e.everyKey(func(k *Key) {
		k.place = 0
		k.missed.Store(0)
		l := k.lease.Load()
		if l == nil {
			k.state.CompareAndSwap(queued, clean)
			return
		}
		l.Return(l.Left())
		k.state.Store(held)
		if t := l.Totals(); now < k.rollAt && (t.Used != k.told.Used || t.Returned != k.told.Returned) {
			e.askAbout(k, true)
		}
	})
	return len(e.pending)
}

// flushMeters has the cluster count what meters admitted.
func (e *Edge) flushMeters(ctx context.Context) error {
	e.tables.Lock()
	meters := slices.Collect(maps.Values(e.meters))
	e.tables.Unlock()
	var errs []error
	for _, m := range meters {
		errs = append(errs, m.Flush(ctx))
	}
	return errors.Join(errs...)
}
