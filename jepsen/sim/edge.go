package sim

import (
	"strconv"
	"time"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm/clock"
)

// An edge is a holder: real leases, and a loop that is as simple as it can be and
// stay honest. It spends, asks for more, renews, and gives back what lies idle.
type edge struct {
	w           *world
	id          int
	name        string
	life        uint64 // counts processes
	incarnation uint64
	session     escrow.HolderID
	seq         uint64
	mono        oscillator
	accounts    []*account
	flight      *exchange
	hello       bool // ask even without a reason
	target      int  // node it talks to
	fails       int
	cut         uint8 // nodes that it cannot reach, as bits
	pausedUntil time.Duration
	quietFrom   time.Duration // no requests between the two
	quietUntil  time.Duration
	answered    time.Duration // when an exchange last succeeded
}

// An account is one budget as an edge knows it.
type account struct {
	budget
	lease   *escrow.Lease // nil before the first answer
	window  *window       // of the lease, in the books
	told    escrow.Allotment
	need    escrow.Credits // that requests were refused
	spent   bool           // the owner had nothing more
	capped  bool           // the deadline is not the window's end
	sent    clock.Nanos    // the reading the deadline is counted from
	rollAt  clock.Nanos    // when the window ends, about
	acked   escrow.Credits // highest grant that was answered in this window
	ackedAt uint64         // index of that answer
}

func newEdge(w *world, id int) *edge {
	e := &edge{w: w, id: id, name: "edge-" + strconv.Itoa(id)}
	e.boot()
	return e
}

// boot begins a new process, which knows nothing of the one before.
func (e *edge) boot() {
	w := e.w
	e.life++
	e.incarnation, e.session, e.seq = w.id()<<20|w.rnd.Uint64N(1<<20), 0, 0
	e.mono = w.newOscillator()
	e.flight, e.fails, e.hello = nil, 0, true
	e.target = w.rnd.IntN(replicas)
	e.accounts = nil
	n := 1 + w.rnd.IntN(w.cfg.keysEach)
	at := w.rnd.IntN(len(w.cfg.keys))
	if w.rnd.IntN(3) == 0 {
		at = 0 // a budget that very many share
	}
	for i := range min(n, len(w.cfg.keys)) {
		e.accounts = append(e.accounts, &account{budget: w.cfg.keys[(at+i)%len(w.cfg.keys)]})
	}
	w.note("boot", e.id, int64(e.incarnation), int64(at), int64(n))
	e.in(w.gap(w.cfg.beat), e.beat)
}

// startOver drops every lease: the session ended and the totals with it.
func (e *edge) startOver() {
	e.session, e.hello = 0, true
	for _, a := range e.accounts {
		*a = account{budget: a.budget, need: a.need}
	}
}

// in schedules do in this life of the process, after the pause if it is paused.
func (e *edge) in(d time.Duration, do func()) {
	life := e.life
	e.w.after(d, func() { e.run(life, do) })
}

func (e *edge) run(life uint64, do func()) {
	switch {
	case e.life != life:
	case e.pausedUntil > e.w.now:
		e.w.after(e.pausedUntil-e.w.now, func() { e.run(life, do) })
	default:
		do()
	}
}

// beat is when requests come and the loop looks at its budgets.
func (e *edge) beat() {
	w := e.w
	if w.now >= e.quietUntil && w.rnd.IntN(100) == 0 {
		e.quietFrom, e.quietUntil = w.now, w.now+w.gap(8*time.Second)
	}
	idle := w.now >= e.quietFrom && w.now < e.quietUntil
	if !idle {
		a := e.accounts[w.rnd.IntN(len(e.accounts))]
		for range 1 + w.rnd.IntN(3) {
			e.request(a, escrow.Credits(1+w.rnd.IntN(w.cfg.demand)))
		}
	}
	e.ask(idle)
	e.in(w.cfg.beat/2+w.gap(w.cfg.beat/2), e.beat)
}

// request admits n credits at this instant, or remembers that they were wanted.
func (e *edge) request(a *account, n escrow.Credits) {
	// NB: the clock is read at the admission.
	if a.lease != nil && a.lease.Spend(e.w.reading(&e.mono), n) {
		e.w.books.admit(e, a, n)
		return
	}
	a.need = min(a.need+n, 100)
}

// lastMoment requests a credit just before the deadline of a lease, which is
// where a wrong deadline shows.
func (e *edge) lastMoment(a *account) {
	before := time.Duration(e.w.rnd.Int64N(int64(2 * time.Millisecond)))
	if e.w.rnd.IntN(2) == 0 {
		before = time.Microsecond
	}
	at := e.mono.when(a.lease.Deadline()) - before
	if at <= e.w.now {
		return
	}
	e.in(at-e.w.now, func() {
		if a.lease != nil && a.lease.Left() > 0 {
			e.request(a, 1)
		}
	})
}
