package edge

import (
	"time"

	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/internal/bug"
)

// An account is what the loop knows about a key.
type account struct {
	size     escrow.Credits   // for one horizon, see size.go
	next     escrow.Credits   // what size becomes when the ask under way is answered
	since    clock.Nanos      // when the key was last answered; 0 for never
	then     escrow.Credits   // used at that time
	noted    escrow.Credits   // what missed was in the ask under way
	sent     escrow.Allotment // totals in the ask under way
	told     escrow.Allotment // totals that the owner is known to have
	demand   bool             // the ask under way is for requests, not of the loop's accord
	local    bool             // used by Allow
	report   bool             // ask even if nothing is needed
	retire   bool             // want nothing beyond what requests wait for
	refusals int              // in a row
	schedule
}

// Bounds of one exchange. What exceeds them goes into the next one.
const (
	maxAsks     = 4096
	maxAskBytes = 384 << 10
	askOverhead = 64 // bytes of numbers and framing, about
)

// A batch is one exchange under way.
type batch struct {
	req  *tkcoordv1.ExchangeRequest
	keys []*Key // one for each ask
}

// build makes the next exchange out of the keys that are queued, oldest first.
// It returns nil if there is nothing to ask. Each call is a new exchange with
// totals as they are now: they only grow, so what an earlier one reported and
// whose answer was lost is contained in it.
//
// Call it with mu held.
func (e *Edge) build(now clock.Nanos) *batch {
	if until := e.outcast.Load(); until != 0 {
		if int64(now) < until {
			e.turnAway()
			return nil
		}
		e.takeOver(now)
	}
	e.gather(now)
	e.hello = e.hello || !e.retiring && e.silentFor(now) == 0
	b := &batch{}
	var asks []*tkcoordv1.Ask
	bytes, taken := 0, 0
	for _, k := range e.pending {
		bytes += len(k.limiter.policy) + len(k.name) + askOverhead
		if len(b.keys) >= maxAsks || bytes > maxAskBytes && len(b.keys) > 0 {
			break
		}
		taken++
		// NB: flying before the demand is read. Whoever adds to it later kicks
		// and finds it flying, so no demand is overlooked.
		k.state.Store(flying)
		if ask := e.ask(k, now); ask != nil {
			asks = append(asks, ask)
			b.keys = append(b.keys, k)
			continue
		}
		e.land(k, false)
		if l := k.lease.Load(); l != nil && k.place == 0 {
			e.enter(k, l, now) // its review came while it was queued
		}
	}
	e.pending = append(e.pending[:0:0], e.pending[taken:]...)
	if len(b.keys) == 0 && !e.hello {
		return nil
	}
	e.seq++
	b.req = &tkcoordv1.ExchangeRequest{
		EdgeId: e.cfg.EdgeID, Incarnation: e.incarnation, Session: e.session, Seq: e.seq, Asks: asks,
	}
	return b
}

// ask returns the ask of one key, nil if there is nothing to say.
func (e *Edge) ask(k *Key, now clock.Nanos) *tkcoordv1.Ask {
	limit := escrow.Credits(k.limiter.limit.Load())
	waits, question := k.waiting(limit)
	missed := escrow.Credits(k.missed.Load())
	k.noted = missed
	k.local = k.local || missed > 0
	if limit > 0 && missed > limit {
		missed = 0 // no grant will ever reach it
		question = true
	}
	need := min(waits+missed, escrow.MaxCredits)

	var t escrow.Allotment
	var window escrow.Millis
	l := k.lease.Load()
	if l != nil {
		t, window = l.Totals(), l.Window().Start
		if bug.Planted(bug.ReturnEarly) {
			t.Returned += l.Left() / 2
		}
	}
	low := l != nil && int64(l.Left()) <= k.low.Load()
	k.demand = need > 0 || question || low
	if !k.demand && !k.report {
		return nil
	}
	k.sent, k.next = t, k.size
	batch := k.limiter.batch.Load()
	if k.since != 0 && batch == nil {
		k.next = nextSize(k.size, demand(t.Used-k.then+need, now-k.since, e.cfg.Horizon))
	}
	gone := t.Used + t.Returned
	wish := need
	switch {
	case k.retire || e.retiring:
	case batch != nil:
		wish = batch.wants(need, k.carried(l, now), low && need == 0 && !k.report)
		need = wish // all of it, also where the owner would share what is left
	default:
		wish += prefetch(k.next, k.rest(now), e.cfg.Horizon, limit, k.local)
	}
	ask := &tkcoordv1.Ask{
		Policy: k.limiter.policy, Key: k.name,
		WindowStartMs: int64(window), Used: int64(t.Used), Returned: int64(t.Returned),
	}
	if need > 0 {
		ask.Need = int64(min(gone+need, escrow.MaxCredits))
	}
	if wish > 0 {
		ask.Want = int64(min(gone+wish, escrow.MaxCredits))
	}
	return ask
}

// rest is how long the key's window runs on, or the next one's length once it is
// over; 0 if neither is known.
func (k *Key) rest(now clock.Nanos) time.Duration {
	v := k.verdict.Load()
	if v == nil || v.err != nil {
		return 0
	}
	if now < v.rollAt {
		return time.Duration(v.rollAt - now)
	}
	return time.Duration(v.length) * time.Millisecond
}

// land takes a key out of flying: back into the queue if it is wanted again, to
// rest otherwise.
func (e *Edge) land(k *Key, requeue bool) {
	k.report, k.retire = false, false
	at := clean
	if l := k.lease.Load(); l != nil && l.Totals().Granted > 0 {
		at = held
	}
	if !requeue && k.state.CompareAndSwap(flying, at) {
		return
	}
	k.state.Store(queued)
	e.pending = append(e.pending, k)
}
