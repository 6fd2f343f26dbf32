package sim

import (
	"errors"
	"time"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/fsm/clock"
)

// An exchange is one question of an edge under way. A failed one is not sent
// again: the next one carries the totals as they are then, and contains it.
type exchange struct {
	sent     clock.Nanos // read before sending
	accounts []*account
	totals   []escrow.Allotment
}

// ask sends an exchange if there is something to say and none is under way.
func (e *edge) ask(idle bool) {
	if e.flight != nil {
		return
	}
	w := e.w
	now := w.reading(&e.mono)
	x := &exchange{}
	cmd := &fsm.Exchange{EdgeID: e.name, Incarnation: e.incarnation, Session: e.session}
	var ids []int
	for _, a := range e.accounts {
		if ask, ok := e.about(a, now, idle); ok {
			if err := ask.Validate(); err != nil {
				w.fail("edge %d asks what is out of range: %v", e.id, err)
				return
			}
			cmd.Asks = append(cmd.Asks, ask)
			ids = append(ids, a.id)
			x.accounts = append(x.accounts, a)
			x.totals = append(x.totals, escrow.Allotment{Returned: ask.Returned, Used: ask.Used})
		}
	}
	if len(cmd.Asks) == 0 && !e.hello {
		return
	}
	e.seq++
	cmd.Seq = e.seq
	x.sent = w.reading(&e.mono) // NB: before the question is sent
	e.flight = x
	e.transmit(x, fsm.Encode(cmd), ids)
	e.in(w.cfg.patience, func() {
		if e.flight == x {
			e.failed(-1)
		}
	})
}

// about returns what there is to say about a budget. Credits leave the lease
// before they are reported as returned.
func (e *edge) about(a *account, now clock.Nanos, idle bool) (fsm.Ask, bool) {
	w := e.w
	ask := fsm.Ask{Policy: a.policy, Key: a.key}
	var t escrow.Allotment
	low := true
	if a.lease != nil {
		if idle && a.lease.Left() > 0 {
			a.lease.Return(a.lease.Left() - escrow.Credits(w.rnd.IntN(2)))
		}
		t, ask.Window = a.lease.Totals(), a.lease.Window().Start
		low = a.lease.Left() <= escrow.Credits(w.cfg.prefetch/4) && (!a.spent || w.rnd.IntN(8) == 0)
	}
	news := t.Used != a.told.Used || t.Returned != a.told.Returned
	renew := a.lease != nil && (now >= a.rollAt || a.capped && a.lease.Deadline() > a.sent && now >= a.sent+(a.lease.Deadline()-a.sent)/2)
	starved := a.need > 0 && (!a.spent || w.rnd.IntN(8) == 0 || now >= a.rollAt)
	if idle && !news || !idle && !starved && !low && !renew {
		return ask, false
	}
	ask.Used, ask.Returned = t.Used, t.Returned
	if idle {
		return ask, true
	}
	gone := t.Used + t.Returned
	if a.need > 0 {
		ask.Need = gone + a.need
	}
	ask.Want = gone + a.need + escrow.Credits(1+w.rnd.IntN(w.cfg.prefetch))
	return ask, true
}

// transmit sends an exchange to the target and its outcome back. The network may
// repeat both.
func (e *edge) transmit(x *exchange, command []byte, ids []int) {
	w, life, to := e.w, e.life, e.w.nodes[e.target]
	bit := uint8(1) << to.id
	w.send(e.cut&bit != 0, func() {
		to.run(to.life, func() {
			to.propose(&call{command: command, asks: ids, reply: func(n *node, o outcome) {
				hint := n.leader
				w.send(e.cut&bit != 0, func() {
					e.run(life, func() { e.settle(x, o, hint) })
				})
			}})
		})
	})
}

// failed tries again after a pause, elsewhere.
func (e *edge) failed(hint int) {
	e.flight = nil
	e.fails++
	e.target = hint
	if hint < 0 || e.fails > 2 {
		e.target = e.w.rnd.IntN(replicas)
	}
	pause := min(10*time.Millisecond<<min(e.fails, 10), time.Second)
	e.in(time.Duration(e.w.rnd.Int64N(int64(pause))), func() { e.ask(false) })
}

// settle takes over the outcome of the exchange under way. Outcomes of others are
// late or come a second time.
func (e *edge) settle(x *exchange, o outcome, hint int) {
	if e.flight != x {
		return
	}
	w := e.w
	switch {
	case o.refused || o.unknown:
		e.failed(hint)
		return
	case errors.Is(o.Err, fsm.ErrSession):
		w.note("session", e.id, int64(e.session), int64(o.index), 0)
		e.startOver()
		e.failed(e.target)
		return
	case o.Err != nil:
		w.fail("edge %d: an honest exchange was refused: %v", e.id, o.Err)
		return
	}
	if e.opensSession(o) {
		e.session = o.Session
	}
	e.flight, e.fails, e.hello, e.answered = nil, 0, false, w.now
	w.res.Exchanges++
	w.note("answer", e.id, int64(o.index), int64(o.Session), int64(len(o.Answers)))
	sent := x.sent
	if w.opt.Broken.ReadAfterReply {
		sent = w.reading(&e.mono)
	}
	for i := range o.Answers {
		if err := o.Answers[i].Err; err != nil {
			if !errors.Is(err, fsm.ErrUnknownPolicy) {
				w.fail("edge %d: an honest ask was refused: %v", e.id, err)
			}
			continue
		}
		e.take(x.accounts[i], x.totals[i], &o.Answers[i], o, sent)
	}
}

func (e *edge) opensSession(o outcome) bool {
	if e.session != 0 && e.session != o.Session {
		e.w.fail("edge %d has session %d and was answered for %d", e.id, e.session, o.Session)
	}
	return e.session == 0
}

// take takes over the answer about one budget.
func (e *edge) take(a *account, told escrow.Allotment, ans *fsm.Answer, o outcome, sent clock.Nanos) {
	w := e.w
	now := w.reading(&e.mono)
	if a.lease != nil && ans.Window.Start < a.lease.Window().Start {
		return // old news
	}
	a.told = told
	if a.lease == nil || ans.Window.Start > a.lease.Window().Start {
		if a.lease != nil {
			a.lease.Return(a.lease.Left())
		}
		a.lease = escrow.NewLease(ans.Window)
		a.window = w.books.windowOf(a.id, ans.Window.Start)
		a.told, a.acked, a.ackedAt = escrow.Allotment{}, 0, 0
	}
	w.books.acknowledged(e, a, ans.Granted, o.index)
	rates := w.cfg.Rates
	if w.opt.Broken.NoGuard {
		rates = clock.Rates{}
	}
	before := a.lease.Deadline()
	a.lease.Raise(ans.Granted, sent, ans.TTL, rates)
	a.sent, a.need, a.spent = sent, 0, ans.Left == 0
	a.capped = ans.TTL < ans.Window.End-o.now-clock.Resolution
	a.rollAt = now + clock.Nanos(ans.Window.End-o.now)*clock.NanosPerMilli
	if a.lease.Deadline() > before && a.lease.Left() > 0 && w.rnd.IntN(4) == 0 {
		e.lastMoment(a)
	}
}
