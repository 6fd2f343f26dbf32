package edge

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm/clock"
)

// maxRounds bounds how often one Check asks: once, and again when others spent
// what was granted before this one woke, or when the window ended on the way.
const maxRounds = 3

// oversize is how long a limit that is below n is believed without asking.
const oversize = clock.Nanos(time.Second)

// A waiter is one Check that waits for an answer about its key.
type waiter struct {
	n    escrow.Credits
	done chan error // takes one value: nil when the key was answered
}

// Check decides on n units (1 if n <= 0). Credits in hand answer at once, and so
// does a refusal that is remembered. Otherwise Check waits for the next exchange
// with the coordinator, which all checks of a key share, until ctx ends.
//
// A denial is an answer. An error means that there is none; Decision.Allowed
// then holds what becomes of the request: with ErrUnavailable, or when ctx ran
// into its deadline, what the fail policy says, and false with every other
// error.
func (k *Key) Check(ctx context.Context, n int64) (Decision, error) {
	n = max(n, 1)
	if n > int64(escrow.MaxCredits) {
		return k.noAnswer(fmt.Errorf("n: got %d, want at most %d: %w", n, escrow.MaxCredits, ErrInvalid))
	}
	from := FromCredits
	for range maxRounds {
		at := k.edge.now()
		if left, ok := k.spend(at, n); ok {
			return k.decision(at, true, from, left), nil
		}
		if d, known, err := k.remembered(at, n, from); known {
			return d, err
		}
		w := k.join(escrow.Credits(n))
		if w == nil {
			return k.limiter.Check(ctx, k.name, n) // forgotten meanwhile
		}
		if err := k.wait(ctx, w); err != nil {
			return k.noAnswer(err)
		}
		from = FromExchange
	}
	// Others were faster each time. There may be credits again after one more
	// exchange.
	d := k.denial(k.edge.now(), FromExchange)
	if !d.Allowed {
		d.RetryAfter = min(d.RetryAfter, busyRetry)
	}
	return d, nil
}

// busyRetry is the advice to those who lost the race for credits.
const busyRetry = 50 * time.Millisecond

// remembered answers without asking if what is known still stands. from tells
// whether this check has waited for an answer.
func (k *Key) remembered(at clock.Nanos, n int64, from Source) (d Decision, known bool, err error) {
	if err := k.edge.stopped(); err != nil {
		d, err := k.noAnswer(err)
		return d, true, err
	}
	if int64(at) < k.limiter.unknown.Load() {
		d, err := k.noAnswer(fmt.Errorf("policy %q: %w", k.limiter.policy, ErrUnknownPolicy))
		return d, true, err
	}
	if k.edge.away.Load() {
		k.kick() // so that the loop finds out when the coordinator is back
		if k.exhausted(at) {
			return k.denial(at, FromRefusal), true, nil
		}
		d, err := k.noAnswer(ErrUnavailable)
		return d, true, err
	}
	v, quiet := k.verdict.Load(), int64(at) < k.quiet.Load()
	switch {
	case v == nil || !quiet && !k.tooLarge(at, n):
		return Decision{}, false, nil
	case v.err != nil:
		d, err := k.noAnswer(v.err)
		return d, true, err
	case from == FromCredits:
		from = FromRefusal
		if !k.wanted.Load() {
			k.wanted.Store(true)
		}
	}
	return k.denial(at, from), true, nil
}

// tooLarge reports whether n is known to exceed the limit.
func (k *Key) tooLarge(at clock.Nanos, n int64) bool {
	limit, v := k.limiter.limit.Load(), k.verdict.Load()
	return limit != 0 && n > limit && v != nil && at < v.at+oversize
}

// denial is the answer no.
func (k *Key) denial(at clock.Nanos, from Source) Decision {
	d := k.decision(at, false, from, k.held(at))
	d.Allowed = k.limiter.deny()
	d.Shadow = d.Allowed
	return d
}

// noAnswer is the decision that goes with an error.
func (k *Key) noAnswer(err error) (Decision, error) {
	l := k.limiter
	d := Decision{}
	if errors.Is(err, ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
		d.Source = FromFail
		d.Allowed = l.failPolicy()
		d.Shadow = d.Allowed && l.edge.cfg.Fail == FailClosed
	} else {
		d.Allowed = l.deny()
		d.Shadow = d.Allowed
	}
	return d, fmt.Errorf("check %q under policy %q: %w", shown(k.name), l.policy, err)
}

// shown keeps an error about a long key short.
func shown(key string) string {
	if len(key) > 40 {
		return key[:40] + "..."
	}
	return key
}

// join adds a waiter to the key and has the key asked about. It returns nil if
// the key was forgotten.
func (k *Key) join(n escrow.Credits) *waiter {
	w := &waiter{n: n, done: make(chan error, 1)}
	k.mu.Lock()
	k.waiters = append(k.waiters, w)
	k.mu.Unlock()
	if !k.kick() {
		return nil
	}
	return w
}

// wait waits until w is answered, ctx ends, or the edge stops asking.
func (k *Key) wait(ctx context.Context, w *waiter) error {
	select {
	case err := <-w.done:
		return err
	case <-k.edge.halted:
		k.leave(w)
		return k.edge.stopped()
	case <-ctx.Done():
		k.leave(w)
		return ctx.Err()
	}
}

// leave takes w out of the waiters.
func (k *Key) leave(w *waiter) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i := range k.waiters {
		if k.waiters[i] == w {
			k.waiters = append(k.waiters[:i], k.waiters[i+1:]...)
			if i < k.counted {
				k.counted--
			}
			return
		}
	}
}

// waiting returns what the waiters need and counts them all into the ask under
// way. A waiter for more than limit (0 for unknown) waits for an answer, but no
// credits are drawn for it.
func (k *Key) waiting(limit escrow.Credits) (need escrow.Credits, waits bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.counted = len(k.waiters)
	for _, w := range k.waiters {
		if limit == 0 || w.n <= limit {
			need = min(need+w.n, escrow.MaxCredits)
		}
	}
	return need, k.counted > 0
}

// wake answers the waiters that were counted into the ask, and those who came
// after it too if left is enough for all. It reports whether others still wait.
// A nil error tells them to look again.
func (k *Key) wake(err error, left escrow.Credits) (others bool) {
	k.mu.Lock()
	n := k.counted
	var need escrow.Credits
	for _, w := range k.waiters {
		need = min(need+w.n, escrow.MaxCredits)
	}
	if need <= left {
		n = len(k.waiters)
	}
	woken := k.waiters[:n:n]
	k.waiters = k.waiters[n:]
	if len(k.waiters) == 0 {
		k.waiters = nil
	}
	k.counted = 0
	others = k.waiters != nil
	k.mu.Unlock()
	for _, w := range woken {
		w.done <- err
	}
	return others
}
