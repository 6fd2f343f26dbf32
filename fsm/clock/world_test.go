package clock

import (
	"fmt"
	"math/rand/v2"
)

// A world is a cluster on adversarial clocks: nodes that lead one after the
// other, stamp entries, lose some of them, and apply the others late. Real time
// t is in nanoseconds and known to nobody in it.
//
// The fields of rules are what the proofs rest on, to be switched off one by one.
type world struct {
	rates   Rates
	rules   rules
	rnd     *rand.Rand
	t       int64
	nodes   []node
	holders []oscillator
	leader  int
	term    int
	pending []entry // stamped by the leader, not committed
	log     []entry // committed

	// The state machine, and the windows it grants from.
	now, start, end Millis
	longest, period Millis
	leases          []lease // of windows that have not ended
	line            float64 // smallest now − (1+σ)(1+ρ)·t over the log, in ns; steps aside
	broken          string  // the first violation
}

// rules are the details that carry the proofs. The zero value is all of them.
type rules struct {
	noteBeforeStamp  bool // a pair with a reading from before the stamp was made
	noBarrier        bool // a leader starts before it has applied what is committed
	naiveSteer       bool // a change of slew also changes the fraction already run
	noGuard          bool // holders use the whole ttl
	readAfterReply   bool // holders count the ttl from when they have the answer
	stampBeforeSeal  bool // the stamp is read before questions join the batch
	noStretch        bool // a step does not keep windows alive
	wholeMillisecond bool // owners grant ttl = end − stamp, without the resolution
	oldStamps        bool // a leader stamps no less than it did in an earlier term
}

// An oscillator is the monotonic clock of one process. Its rate is within ±ρ of
// real time and changes now and then.
type oscillator struct {
	t, reading int64 // where the present rate began
	ppm        int64
}

func (o *oscillator) at(t int64) Nanos {
	return Nanos(o.reading + (t-o.t)/million*(million+o.ppm) + (t-o.t)%million*(million+o.ppm)/million)
}

type node struct {
	oscillator
	source  Source
	applied int    // entries of the log
	stamped Millis // newest
}

type entry struct {
	stamp    Millis
	t        int64   // real time of the stamp
	seen     []Nanos // what the holders' clocks showed then
	question int     // holder that asks, or -1
	sent     Nanos   // its reading before it asked
	step     Millis  // > 0: the clock steps there

	now Millis // the state machine's clock after it
}

// A lease is a grant: until deadline on the holder's clock, in a window that the
// owner leaves at end.
type lease struct {
	holder   int
	deadline Nanos
	end      Millis
}

func newWorld(seed uint64, rates Rates, r rules) *world {
	w := &world{
		rates: rates, rules: r, rnd: rand.New(rand.NewPCG(seed, 1)),
		nodes: make([]node, 3), holders: make([]oscillator, 2), line: 1e300,
		longest: 800, period: 300,
	}
	for i := range w.nodes {
		w.nodes[i].oscillator = oscillator{reading: w.rnd.Int64N(1e12)}
	}
	for i := range w.holders {
		w.holders[i] = oscillator{reading: w.rnd.Int64N(1e12)}
	}
	w.drift()
	w.end = w.period
	w.stamp(1, -1, 0, 0) // an entry that everybody applies
	w.commit(1)
	w.elect(0)
	return w
}

// fail records the first violation.
func (w *world) fail(format string, args ...any) {
	if w.broken == "" {
		w.broken = fmt.Sprintf("at %d ns: ", w.t) + fmt.Sprintf(format, args...)
	}
}

// pass lets real time go on, mostly a little.
func (w *world) pass() {
	w.t += w.rnd.Int64N(1 + 1e6<<w.rnd.IntN(9))
}

// drift gives every clock a new rate, mostly an extreme one.
func (w *world) drift() {
	change := func(o *oscillator) {
		if w.rnd.IntN(3) == 0 {
			return
		}
		o.reading, o.t = int64(o.at(w.t)), w.t
		rho := int64(w.rates.Drift)
		o.ppm = [...]int64{-rho, rho, w.rnd.Int64N(2*rho+1) - rho}[w.rnd.IntN(3)]
	}
	for i := range w.nodes {
		change(&w.nodes[i].oscillator)
	}
	for i := range w.holders {
		change(&w.holders[i])
	}
}

// stamp adds an entry stamped with c to those under way.
func (w *world) stamp(c Millis, question int, sent Nanos, step Millis) {
	e := entry{stamp: c, t: w.t, question: question, sent: sent, step: step}
	for i := range w.holders {
		e.seen = append(e.seen, w.holders[i].at(w.t))
	}
	w.pending = append(w.pending, e)
}

// read returns the leader's clock.
func (w *world) read() Millis {
	n := &w.nodes[w.leader]
	c := n.source.At(n.at(w.t))
	if w.rules.oldStamps {
		c = max(c, n.stamped)
	}
	n.stamped = max(n.stamped, c)
	return c
}

// commit takes the first n entries under way into the log and executes them.
func (w *world) commit(n int) {
	for _, e := range w.pending[:n] {
		w.execute(&e)
		w.log = append(w.log, e)
	}
	w.pending = append([]entry(nil), w.pending[n:]...)
}

// apply lets a node catch up by up to n entries.
func (w *world) apply(i, n int) {
	p := &w.nodes[i]
	for ; n > 0 && p.applied < len(w.log); n-- {
		e := w.log[p.applied]
		p.applied++
		at := p.at(w.t)
		if w.rules.noteBeforeStamp {
			at = p.at(max(0, e.t-50e6))
		}
		p.source.Note(e.now, at)
	}
}

// elect makes a node the leader. What the leader before had under way is lost.
func (w *world) elect(i int) {
	w.pending = nil
	w.nodes[w.leader].source.Follow()
	w.leader, w.term = i, w.term+1
	if !w.rules.noBarrier {
		w.apply(i, len(w.log))
	}
	w.nodes[i].source.Lead()
}

// ask lets a holder ask through the leader: it reads its clock, then the question
// is on its way, then it is stamped.
func (w *world) ask() {
	h := w.rnd.IntN(len(w.holders))
	early := w.read()
	if w.rules.stampBeforeSeal {
		w.pass()
	}
	sent := w.holders[h].at(w.t)
	if w.rnd.IntN(3) > 0 {
		w.pass()
	}
	c := w.read()
	if w.rules.stampBeforeSeal {
		c = early
	}
	w.stamp(c, h, sent, 0)
}

// steer follows a wall clock that may show anything.
func (w *world) steer() {
	n := &w.nodes[w.leader]
	lag := Millis(w.rnd.Int64N(2_000_001) - 1_000_000)
	before := n.source.At(n.at(w.t))
	if w.rules.naiveSteer {
		naiveSteer(&n.source, lag, w.rates.Slew, n.at(w.t))
	} else {
		n.source.Steer(lag, w.rates.Slew, n.at(w.t))
	}
	if after := n.source.At(n.at(w.t)); after != before && !w.rules.naiveSteer {
		w.fail("Steer moved the clock from %d to %d", before, after)
	}
}

// run lets n random things happen.
func (w *world) run(n int) {
	for range n {
		w.pass()
		term, before := w.term, w.read()
		switch w.rnd.IntN(12) {
		case 0, 1, 2, 3:
			w.ask()
		case 4:
			w.stamp(w.read(), -1, 0, 0)
		case 5, 6:
			w.commit(w.rnd.IntN(len(w.pending) + 1))
		case 7:
			w.apply(w.rnd.IntN(len(w.nodes)), 1+w.rnd.IntN(8))
		case 8, 9:
			w.steer()
		case 10:
			w.drift()
		case 11:
			w.rare()
		}
		if now := w.read(); now < before && term == w.term && !w.rules.naiveSteer {
			w.fail("the leading clock ran back from %d to %d", before, now)
		}
	}
}

func (w *world) rare() {
	switch w.rnd.IntN(4) {
	case 0:
		w.commit(w.rnd.IntN(len(w.pending) + 1))
		w.elect(w.rnd.IntN(len(w.nodes)))
	case 1:
		c := w.read()
		w.stamp(c, -1, 0, c+Millis(w.rnd.Int64N(2000)))
	}
}
