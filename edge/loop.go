package edge

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/internal/bug"
)

// Pauses between attempts that fail: full jitter below 10 ms, doubled each time,
// up to a second.
const (
	firstPause = 10 * time.Millisecond
	longPause  = time.Second
)

// run talks to the coordinator until ctx ends or the edge is halted.
func (e *Edge) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		asked, err := e.attempt(ctx)
		switch {
		case err != nil:
			timer.Reset(e.pause())
			select {
			case <-timer.C:
			case <-ctx.Done():
			}
		case !asked:
			e.mu.Lock()
			idle := e.idleFor(e.now())
			e.mu.Unlock()
			timer.Reset(idle)
			select {
			case <-timer.C:
			case <-e.queue.wake:
			case <-ctx.Done():
			}
		}
	}
}

// attempt makes one exchange with one node and takes over its answers. asked is
// false if there was nothing to ask. Keys whose exchange failed stay queued, and
// the next attempt asks anew with their totals as they are then.
func (e *Edge) attempt(ctx context.Context) (asked bool, err error) {
	e.mu.Lock()
	b := e.build(e.now())
	e.mu.Unlock()
	if b == nil {
		return false, nil
	}
	actx, cancel := context.WithTimeout(ctx, e.cfg.AttemptTimeout)
	defer cancel()
	// NB: this reading precedes the sending. Deadlines are counted from it; a
	// later one would outlive the window at its owner.
	sent := e.now()
	res, err := e.exchange(actx, b.req)
	now := e.now()
	if bug.Planted(bug.ReadLate) {
		sent = now
	}

	e.mu.Lock()
	defer e.mu.Unlock()
	e.greet.Do(func() { close(e.greeted) })
	if err == nil {
		err = e.settle(b, res, sent, now)
	}
	if err != nil {
		e.putBack(b)
		if ctx.Err() == nil {
			e.failed(err, sent, now)
		}
		return true, err
	}
	e.answeredAt = now
	e.recovered(now - sent)
	return true, nil
}

// recovered notes that the coordinator answered.
func (e *Edge) recovered(took clock.Nanos) {
	if e.rtt == 0 {
		e.rtt = took
	}
	e.rtt += (took - e.rtt) / 8
	if e.away.Swap(false) {
		e.log.Info("the coordinator answers again", "attempts", e.fails)
	}
	e.fails = 0
}

// putBack returns the keys of a batch without answers to the front of the queue.
func (e *Edge) putBack(b *batch) {
	back := make([]*Key, 0, len(b.keys)+len(e.pending))
	for _, k := range b.keys {
		k.state.Store(queued)
		back = append(back, k)
	}
	e.pending = append(back, e.pending...)
}

// failed handles an attempt without answers: the session may have ended, or the
// coordinator may be away.
func (e *Edge) failed(err error, sent, now clock.Nanos) {
	if e.sessionOver(err, now) {
		return
	}
	e.failures++
	if e.fails == 0 {
		e.failingFrom = sent
	}
	e.fails++
	if now-e.failingFrom < clock.Nanos(e.cfg.Patience) || e.retiring {
		return
	}
	e.hello = true // keeps asking, also when nobody waits for an answer, until there is one
	if !e.away.Swap(true) {
		e.log.Warn("the coordinator is away: keys without credits are left to the fail policy", "fail", e.cfg.Fail, "err", err)
	}
	e.pending = e.queue.drain(e.pending)
	for _, k := range e.pending {
		k.wake(fmt.Errorf("%w: %w", ErrUnavailable, err), math.MaxInt64)
	}
}

// requeue puts one key of a batch back.
func (e *Edge) requeue(k *Key) {
	k.state.Store(queued)
	e.pending = append(e.pending, k)
}

// pause is how long to wait after a failed attempt. A session that ended costs
// no pause.
func (e *Edge) pause() time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.fails == 0 {
		return 0
	}
	return rand.N(min(firstPause<<min(e.fails-1, 20), longPause))
}
