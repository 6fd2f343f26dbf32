package edge

import (
	"sync"
	"sync/atomic"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm/clock"
)

// A Key is one budget as this edge knows it. Limiter.Key returns it to callers
// that use a key often enough to save the lookup. All methods may be called by
// any number of goroutines at once.
//
// A key moves between its states like this; only the goroutine that holds
// Edge.mu takes it out of queued, flying and again:
//
//	clean, held → queued → flying ⇄ again → queued, held or clean;  clean → gone
type Key struct {
	lease   atomic.Pointer[escrow.Lease] // a new window is a new lease; nil before the first answer
	low     atomic.Int64                 // at or below it more is asked for; never if negative
	state   atomic.Uint32
	edge    *Edge
	limiter *Limiter
	name    string
	hash    uint64

	quiet   atomic.Int64 // reading until which misses are answered from the verdict
	missed  atomic.Int64 // largest n that Allow could not serve and no answer was about
	wanted  atomic.Bool  // a request was answered from memory since the loop last looked
	verdict atomic.Pointer[verdict]
	below   *Key // the next one in the queue's stack

	mu      sync.Mutex // guards the two below
	waiters []*waiter
	counted int // the first so many waiters are part of the ask under way

	account // guarded by Edge.mu
}

const (
	clean  uint32 = iota // not queued, holds nothing and spent nothing: may be forgotten
	held                 // not queued
	queued               // waits for the next exchange
	flying               // part of the exchange under way
	again                // the same, and wanted in the next one as well
	gone                 // forgotten; the name may belong to another Key by now
)

// Allow takes n units (1 if n <= 0) from the credits in hand and reports whether
// it could. It never waits: a key without credits answers false, or what the
// fail policy says while the coordinator is away, and asks for credits so that a
// later call finds them.
func (k *Key) Allow(n int64) bool {
	n = max(n, 1)
	at := k.edge.now()
	if _, ok := k.spend(at, n); ok {
		return true
	}
	return k.miss(at, n)
}

// spend admits n from the credits in hand at the reading at, and tells what is
// left of them.
func (k *Key) spend(at clock.Nanos, n int64) (left escrow.Credits, ok bool) {
	l := k.lease.Load()
	if l == nil {
		return 0, false
	}
	if left, ok = l.Take(at, escrow.Credits(n)); !ok {
		return 0, false
	}
	if int64(left) <= k.low.Load() {
		k.kick()
	}
	if f := k.edge.onAdmit; f != nil {
		f(k.limiter.policy, k.name, n, l.Window(), at)
	}
	return left, true
}

// miss answers for Allow when there are not enough credits in hand.
func (k *Key) miss(at clock.Nanos, n int64) bool {
	e := k.edge
	if e.stopped() != nil || n > int64(escrow.MaxCredits) {
		return k.limiter.deny()
	}
	if k.tooLarge(at, n) {
		return k.limiter.deny()
	}
	k.note(n)
	if int64(at) >= k.quiet.Load() && int64(at) >= k.limiter.unknown.Load() && !k.kick() {
		return k.limiter.Allow(k.name, n) // forgotten meanwhile
	}
	if e.away.Load() && !k.exhausted(at) {
		return k.limiter.failPolicy()
	}
	return k.limiter.deny()
}

// note remembers that Allow could not serve n.
func (k *Key) note(n int64) {
	for {
		m := k.missed.Load()
		if m >= n || k.missed.CompareAndSwap(m, n) {
			return
		}
	}
}

// kick puts the key into the next exchange. It neither waits nor allocates, and
// reports false if the key was forgotten.
func (k *Key) kick() bool {
	for {
		switch s := k.state.Load(); s {
		case clean, held:
			if k.state.CompareAndSwap(s, queued) {
				k.edge.queue.push(k)
				return true
			}
		case flying:
			if k.state.CompareAndSwap(flying, again) {
				return true
			}
		case gone:
			return false
		default:
			return true
		}
	}
}

// A queue hands keys to the goroutine that talks to the coordinator. A key is
// in it at most once, since only the one who moved it to queued pushes it.
type queue struct {
	top  atomic.Pointer[Key]
	wake chan struct{} // holds one signal
}

func (q *queue) push(k *Key) {
	for {
		top := q.top.Load()
		k.below = top
		if q.top.CompareAndSwap(top, k) {
			break
		}
	}
	q.signal()
}

// signal wakes the loop. A signal that is already there serves this one too.
func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// drain appends what was pushed, oldest first.
func (q *queue) drain(to []*Key) []*Key {
	from := len(to)
	for k := q.top.Swap(nil); k != nil; {
		below := k.below
		k.below = nil
		to = append(to, k)
		k = below
	}
	for i, j := from, len(to)-1; i < j; i, j = i+1, j-1 {
		to[i], to[j] = to[j], to[i]
	}
	return to
}
