package sim

import (
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/tkcoord/tkcoord/fsm/clock"
)

// Options say what to run. Seed, Edges and Broken decide what happens; Span only
// when it ends.
type Options struct {
	Seed   uint64
	Edges  int           // at least 1
	Span   time.Duration // of virtual time
	Broken Rules         // to see that the checks find it
	Trace  io.Writer     // takes the trace as text; nil for none
	// Progress is called once in a virtual minute if it is not nil.
	Progress func(Result)
}

// Rules are details that carry the guarantees, to be switched off one at a time.
// The zero value is all of them in force.
type Rules struct {
	NoGuard         bool // edges use the whole ttl
	ReadAfterReply  bool // edges count the ttl from when they have the answer
	StampBeforeSeal bool // the stamp is read before commands join the batch
	WallClockLeader bool // stamps are the leader's wall clock
	NoStretch       bool // the clock steps without keeping windows alive
}

// A Result is what a run did so far.
type Result struct {
	Seed       uint64
	Span       time.Duration // of virtual time
	Hash       uint64        // of the trace
	Events     uint64        // of the queue
	Entries    uint64        // committed
	Exchanges  uint64        // answered
	Admissions uint64
	Credits    uint64 // admitted
	Leaders    uint64 // elected and past their barrier
	Restores   uint64 // of snapshots
	Steps      uint64 // of the clock
	Digests    uint64 // compared between replicas
	Faults     uint64
	Calms      uint64 // in which all came back to life
	Violation  *Violation
}

// A Violation is a promise that was not kept.
type Violation struct {
	At   time.Duration
	What string
	Tail []string // the newest records of the trace
}

const replicas = 3

// A world is one run. Everything in it belongs to one goroutine.
type world struct {
	opt    Options
	cfg    swarm
	rnd    *rand.Rand
	now    time.Duration // real time, known to nobody in the world
	queue  queue
	trace  trace
	nodes  [replicas]*node
	edges  []*edge
	net    network
	books  books
	nextID uint64 // of proposers and incarnations
	storm  uint64 // counts calms, so that faults of the storm before end
	res    Result
}

// epoch is the civil time at the start of a run, in Unix ms.
const epoch clock.Millis = 1_800_000_000_000

// Run runs a world until its span is over or a promise is broken.
func Run(o Options) Result {
	w := newWorld(o)
	minute := time.Minute
	for w.res.Violation == nil && w.queue.len() > 0 {
		e := w.queue.next()
		if e.at > o.Span {
			break
		}
		w.now = e.at
		w.res.Events++
		e.do()
		if w.now >= minute && o.Progress != nil {
			o.Progress(w.result())
			minute += time.Minute
		}
	}
	if w.res.Violation == nil {
		w.now = o.Span
		w.checkAll()
	}
	if w.trace.err != nil {
		w.fail("the trace could not be written: %v", w.trace.err)
	}
	return w.result()
}

func newWorld(o Options) *world {
	w := &world{opt: o, rnd: rand.New(rand.NewPCG(o.Seed, 0x746b73696d))}
	w.res.Seed = o.Seed
	w.cfg = drawSwarm(w.rnd, o.Edges)
	w.trace.text = o.Trace
	w.books = newBooks(w)
	for i := range w.nodes {
		w.nodes[i] = newNode(w, i)
	}
	for i := range o.Edges {
		w.edges = append(w.edges, newEdge(w, i))
	}
	for _, n := range w.nodes {
		n.start()
	}
	w.after(w.cfg.stormFor, w.calm)
	w.after(w.gap(w.cfg.faultGap), w.nextFault)
	return w
}

// after schedules do.
func (w *world) after(d time.Duration, do func()) { w.queue.add(w.now+max(d, 0), do) }

// gap draws from the exponential distribution with a mean, cut at ten times it.
func (w *world) gap(mean time.Duration) time.Duration {
	return time.Duration(min(w.rnd.ExpFloat64(), 10) * float64(mean))
}

// chance is true n times in 10,000.
func (w *world) chance(n int) bool { return n > 0 && w.rnd.IntN(10_000) < n }

// id returns a number that nobody had before.
func (w *world) id() uint64 {
	w.nextID++
	return w.nextID
}

// fail ends the run with a violation. The first one counts.
func (w *world) fail(format string, args ...any) {
	if w.res.Violation == nil {
		w.res.Violation = &Violation{At: w.now, What: fmt.Sprintf(format, args...), Tail: w.trace.tail()}
	}
}

func (w *world) result() Result {
	r := w.res
	r.Span, r.Hash = w.now, w.trace.hash
	return r
}
