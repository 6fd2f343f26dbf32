package edge

import (
	"container/heap"
	"math"
	"time"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm/clock"
)

// A schedule says when the loop looks at a key of its own accord. It needs no
// trace of each request: whether a key was used shows in its lease.
type schedule struct {
	due      clock.Nanos // place in the heap
	place    int         // in the heap, counted from 1; 0 if it is not in it
	rollAt   clock.Nanos // when the window ends, about
	capped   bool        // the lease ends long before the window and can be renewed
	renewAt  clock.Nanos // when to ask for more time
	backAt   clock.Nanos // when to give back what a short grant brought; 0 for never
	activeAt clock.Nanos // when use was last seen
	usedSeen escrow.Credits
	keepFrom clock.Nanos // start of the span in which keepUsed counts
	keepUsed escrow.Credits
}

const never = clock.Nanos(math.MaxInt64)

// renewals decides when a lease needs more time. A ttl that was cut short of the
// window is renewed at half of what it gives; one that reaches to the end,
// shortly before the guard ends it, if that gains anything.
func (e *Edge) renewals(k *Key, l *escrow.Lease, sent clock.Nanos, capped bool) {
	k.renewAt = never
	until := l.Deadline()
	if until <= sent {
		return // nothing is held that more time would serve
	}
	if capped {
		k.renewAt = sent + (until-sent)/2
		return
	}
	if margin := 2*e.rtt + clock.NanosPerMilli; k.rollAt-until > margin {
		k.renewAt = until - margin
	}
}

// plan enters a key that was just answered into the heap.
func (e *Edge) plan(k *Key, l *escrow.Lease, now clock.Nanos) {
	if used := l.Totals().Used; k.demand || used != k.usedSeen {
		k.activeAt, k.usedSeen = now, used
	}
	if k.keepFrom == 0 {
		k.keepFrom, k.keepUsed = now, l.Totals().Used
	}
	e.enter(k, l, now)
}

// enter sets the time of the next review, if there is to be one.
func (e *Edge) enter(k *Key, l *escrow.Lease, now clock.Nanos) {
	due := never
	batch := k.limiter.batch.Load()
	idleAt := k.activeAt + k.limiter.idleAfter()
	t := l.Totals()
	if idleAt > now {
		due = min(k.renewAt, k.rollAt)
	}
	if now < k.rollAt && (l.Left() > 0 && !(batch.keeps() && idleAt <= now) || t.Used != k.told.Used || t.Returned != k.told.Returned) {
		due = min(due, idleAt)
	}
	if k.backAt != 0 {
		due = min(due, k.backAt)
	}
	if t.Granted == 0 || due == never {
		e.due.drop(k)
		return
	}
	e.due.set(k, max(due, now+clock.NanosPerMilli))
}

// review looks at a key whose time has come: it asks about the next window for a
// key in use, asks for more time, or gives back what lies idle.
func (e *Edge) review(k *Key, now clock.Nanos) {
	l := k.lease.Load()
	if l == nil || k.state.Load() != held {
		return // its answer will enter it again
	}
	if used := l.Totals().Used; used != k.usedSeen || k.missed.Load() > 0 || k.wanted.Load() {
		k.usedSeen, k.activeAt = used, now
		k.wanted.Store(false)
	}
	idle := now-k.activeAt >= k.limiter.idleAfter()
	batch := k.limiter.batch.Load()
	switch {
	case now >= k.rollAt && (idle || batch != nil):
		// What it held cannot be spent any more, and its totals stay known until
		// the cluster says that the window is over.
		return
	case now >= k.rollAt, now >= k.renewAt && !idle:
		e.askAbout(k, false)
		return
	case idle:
		if !batch.keeps() {
			l.Return(l.Left())
		}
		if t := l.Totals(); t.Used != k.told.Used || t.Returned != k.told.Returned {
			e.askAbout(k, !batch.keeps())
		}
		return
	}
	if e.giveBack(k, l, now) {
		e.askAbout(k, true)
		return
	}
	e.enter(k, l, now)
}

// giveBack takes credits away from a key that holds more than it uses, and
// reports whether there is something to return: once every IdleAfter what exceeds
// twice the prefetch and twice what was spent since, and soon after a grant that
// came short of its need what exceeds the prefetch.
func (e *Edge) giveBack(k *Key, l *escrow.Lease, now clock.Nanos) bool {
	limit := escrow.Credits(k.limiter.limit.Load())
	batch := k.limiter.batch.Load()
	if k.backAt != 0 && now >= k.backAt {
		k.backAt = 0
		keep := prefetch(k.size, k.rest(now), e.cfg.Horizon, limit, k.local)
		if batch != nil {
			keep = batch.most()
		}
		return l.Return(l.Left()-keep) > 0
	}
	if batch != nil {
		return false
	}
	span := now - k.keepFrom
	if span < clock.Nanos(e.cfg.IdleAfter) {
		return false
	}
	used := l.Totals().Used
	spent := used - k.keepUsed
	k.keepFrom, k.keepUsed = now, used
	k.size = nextSize(k.size, demand(spent, span, e.cfg.Horizon))
	keep := max(spent, prefetch(k.size, k.rest(now), e.cfg.Horizon, limit, k.local))
	return l.Left() > 2*keep && l.Return(l.Left()-keep) > 0
}

// askAbout puts a key into the next exchange although nobody needs credits. With
// retire it wants none.
func (e *Edge) askAbout(k *Key, retire bool) {
	k.report, k.retire = true, retire
	if k.state.CompareAndSwap(held, queued) {
		e.pending = append(e.pending, k)
	}
}

// gather collects the keys that want to be in the next exchange.
func (e *Edge) gather(now clock.Nanos) {
	e.pending = e.queue.drain(e.pending)
	for len(e.due) > 0 && e.due[0].due <= now {
		k := heap.Pop(&e.due).(*Key)
		e.review(k, now)
	}
	e.relieve(now)
}

// idleFor returns how long nothing is to be done unless a key asks for it.
func (e *Edge) idleFor(now clock.Nanos) time.Duration {
	if until := e.outcast.Load(); until != 0 {
		return time.Duration(max(0, clock.Nanos(until)-now))
	}
	idle := min(clock.Nanos(time.Hour), e.silentFor(now))
	if len(e.due) > 0 {
		idle = min(idle, e.due[0].due-now)
	}
	return time.Duration(max(0, idle))
}

// A dueHeap holds keys by the time of their review, the next one first.
type dueHeap []*Key

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].due < h[j].due }
func (h dueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i+1, j+1
}

// Push implements heap.Interface.
func (h *dueHeap) Push(x any) {
	k := x.(*Key)
	*h = append(*h, k)
	k.place = len(*h)
}

// Pop implements heap.Interface.
func (h *dueHeap) Pop() any {
	old := *h
	k := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	k.place = 0
	return k
}

// set enters k, or moves it, to a time.
func (h *dueHeap) set(k *Key, due clock.Nanos) {
	k.due = due
	if k.place == 0 {
		heap.Push(h, k)
		return
	}
	heap.Fix(h, k.place-1)
}

// drop takes k out, if it is there.
func (h *dueHeap) drop(k *Key) {
	if k.place != 0 {
		heap.Remove(h, k.place-1)
	}
}
