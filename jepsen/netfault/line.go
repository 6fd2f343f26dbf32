package netfault

import (
	"container/heap"
	"math/rand/v2"
	"sync"
	"time"
)

// maxQueue bounds the packets that wait in one line; more are lost, as at the
// end of a router's queue.
const maxQueue = 4096

// A line carries the packets of one link to their destination: at once, late,
// twice or never, as the link's effect says. Safe for concurrent use.
type line struct {
	link    *Link
	deliver func(packet []byte)

	mu    sync.Mutex // guards the rest. NB: held during deliver, which keeps packets in order
	rng   *rand.Rand
	queue packets
	sent  uint64    // numbers packets, so that equal times keep their order
	free  time.Time // when the capacity is next unused
	timer *time.Timer
	shut  bool
}

func newLine(link *Link, rng *rand.Rand, deliver func([]byte)) *line {
	l := &line{link: link, rng: rng, deliver: deliver}
	l.timer = time.AfterFunc(time.Hour, l.flush)
	l.timer.Stop()
	return l
}

// send takes a packet, which the caller may use again afterwards.
func (l *line) send(p []byte) {
	e := l.link.Effect()
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.shut:
		return
	case e.Cut || chance(l.rng, e.Loss):
		l.link.dropped.Add(1)
		return
	}
	l.sendOne(e, p)
	if chance(l.rng, e.Duplicate) {
		l.link.duplicated.Add(1)
		l.sendOne(e, p)
	}
}

func chance(rng *rand.Rand, p float64) bool { return p > 0 && rng.Float64() < p }

func (l *line) sendOne(e Effect, p []byte) {
	now := time.Now()
	due := l.due(e, now, len(p))
	switch {
	case !due.After(now) && (len(l.queue) == 0 || e.Reorder > 0):
		l.pass(p)
		return
	case len(l.queue) >= maxQueue:
		l.link.dropped.Add(1)
		return
	}
	l.link.delayed.Add(1)
	l.sent++
	heap.Push(&l.queue, queued{due, l.sent, append([]byte(nil), p...)})
	if l.queue[0].number == l.sent {
		l.timer.Reset(due.Sub(now))
	}
}

// due returns when a packet of a size arrives.
func (l *line) due(e Effect, now time.Time, size int) time.Time {
	due := now.Add(e.Delay)
	if e.Jitter > 0 {
		due = due.Add(time.Duration(l.rng.Int64N(int64(e.Jitter))))
	}
	if chance(l.rng, e.Reorder) {
		due = due.Add(e.Behind)
	}
	if e.BytesPerSecond > 0 {
		if l.free.Before(now) {
			l.free = now
		}
		l.free = l.free.Add(transmission(size, e.BytesPerSecond))
		due = due.Add(l.free.Sub(now))
	}
	return due
}

// transmission is how long bytes take at a capacity.
func transmission(size int, bytesPerSecond int64) time.Duration {
	return time.Duration(float64(size) / float64(bytesPerSecond) * float64(time.Second))
}

func (l *line) pass(p []byte) {
	l.link.passed.Add(1)
	l.deliver(p)
}

// flush delivers what is due. What is in flight when a link is cut is lost.
func (l *line) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.queue) > 0 && !l.shut {
		if wait := time.Until(l.queue[0].due); wait > 0 {
			l.timer.Reset(wait)
			return
		}
		p := heap.Pop(&l.queue).(queued)
		if l.link.Effect().Cut {
			l.link.dropped.Add(1)
			continue
		}
		l.pass(p.bytes)
	}
}

// close forgets what is in flight. Nothing is delivered once it returns.
func (l *line) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.shut, l.queue = true, nil
	l.timer.Stop()
}

// queued is a packet on its way.
type queued struct {
	due    time.Time
	number uint64
	bytes  []byte
}

// packets is a heap by due time, then number.
type packets []queued

func (q packets) Len() int { return len(q) }
func (q packets) Less(i, j int) bool {
	if q[i].due.Equal(q[j].due) {
		return q[i].number < q[j].number
	}
	return q[i].due.Before(q[j].due)
}
func (q packets) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *packets) Push(x any)   { *q = append(*q, x.(queued)) }
func (q *packets) Pop() any {
	old := *q
	last := old[len(old)-1]
	old[len(old)-1] = queued{} // lets go of the bytes
	*q = old[:len(old)-1]
	return last
}
