package edge

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/internal/bug"
)

const (
	// A refused key asks again after a while although the window is spent, since
	// other edges return credits: first after 50 to 100 ms, then twice as long
	// each time, up to 0.5 to 1 s. One exchange, whatever the number of requests.
	firstQuiet = 100 * time.Millisecond
	longQuiet  = time.Second
	// A grant that came short of its need waits so long for smaller requests,
	// then what nobody took goes back.
	shortHold = 20 * time.Millisecond
)

// settle takes over the answers to a batch that was sent at the reading sent.
// Call it with mu held.
func (e *Edge) settle(b *batch, res *tkcoordv1.ExchangeResponse, sent, now clock.Nanos) error {
	if len(res.Answers) != len(b.keys) {
		return fmt.Errorf("%d answers to %d asks", len(res.Answers), len(b.keys))
	}
	// The cluster's rates are fixed at its birth; an edge configured for better
	// clocks than they allow for would break the limit.
	rates := e.rates.Widest(clock.Rates{Drift: clock.PPM(res.DriftPpm), Slew: clock.PPM(res.SlewPpm)})
	if err := rates.Validate(); err != nil {
		return fmt.Errorf("clock rates of the cluster: %w", err)
	}
	e.rates = rates
	e.hello = false
	e.session = res.Session
	e.exchanges++
	e.asks += uint64(len(b.keys))
	e.policiesAt(res.PolicyVersion, nil)
	var disagreement error
	for i, k := range b.keys {
		a := res.Answers[i]
		if p := a.GetProblem(); p != nil {
			if err := e.refused(k, p, now); err != nil {
				disagreement = err
			}
			continue
		}
		e.answered(k, a, clock.Millis(res.ClockMs), sent, now)
	}
	if disagreement != nil {
		e.log.Error("the cluster's totals differ from this edge's: starting over as a new holder", "err", disagreement)
		e.startOver()
		e.incarnation = randomIncarnation()
	}
	return nil
}

// answered takes over the answer about one key.
func (e *Edge) answered(k *Key, a *tkcoordv1.Answer, stamp clock.Millis, sent, now clock.Nanos) {
	w := escrow.Window{Start: clock.Millis(a.WindowStartMs), End: clock.Millis(a.WindowEndMs)}
	l := k.lease.Load()
	if l != nil && w.Start < l.Window().Start {
		e.land(k, k.wake(nil, 0)) // old news
		return
	}
	k.told = k.sent
	if l == nil || w.Start > l.Window().Start {
		l = escrow.NewLease(w)
		k.told = escrow.Allotment{}
	}
	if bug.Planted(bug.ReturnEarly) && k.told == k.sent {
		l.Return(k.sent.Returned - l.Totals().Returned)
	}
	ttl := clock.Millis(a.TtlMs)
	l.Raise(escrow.Credits(a.Granted), sent, ttl, e.rates)
	e.replace(k, l) // NB: after Raise, so that a new lease appears with its credits

	left := w.End - stamp // of the window; the answer travelled meanwhile
	k.rollAt = now + clock.Nanos(left)*clock.NanosPerMilli
	short := a.RetryAfterMs > 0
	k.limiter.limit.Store(a.Limit)
	k.verdict.Store(&verdict{
		spent: short, limit: escrow.Credits(a.Limit), left: escrow.Credits(a.Left),
		end: w.End, rollAt: k.rollAt, length: clock.Millis(a.WindowMs), at: now,
	})
	e.quieten(k, short, now)
	k.size = k.next
	k.since, k.then = max(now, 1), l.Totals().Used
	if k.noted > 0 {
		k.missed.CompareAndSwap(int64(k.noted), 0)
	}
	pre := prefetch(k.size, k.rest(now), e.cfg.Horizon, escrow.Credits(a.Limit), k.local)
	low := lowWater(pre, l.Left(), escrow.Credits(a.Left))
	if b := k.limiter.batch.Load(); b != nil {
		pre, low = b.most(), b.lowWater(escrow.Credits(a.Left))
	}
	k.low.Store(low)

	k.capped = ttl < left-clock.Resolution
	e.renewals(k, l, sent, k.capped)
	k.backAt = 0
	if short && l.Left() > pre {
		k.backAt = now + clock.Nanos(shortHold)
	}
	ready := l.Left()
	if l.Expired(now) { // the window ended on the way; those who wait ask again
		ready = 0
	}
	others := k.wake(nil, ready)
	e.plan(k, l, now)
	e.land(k, others)
}

// replace makes l the lease of k, if it is not already. Nothing more is spent of
// the one before.
func (e *Edge) replace(k *Key, l *escrow.Lease) {
	old := k.lease.Swap(l)
	if old == nil || old == l {
		return
	}
	old.Return(old.Left())
	used := old.Totals().Used
	k.limiter.spent += used
	k.usedSeen -= used // stays a difference to what the new lease will show
	k.keepUsed -= used
}

// quieten sets until when the refusal of a key is answered from memory.
func (e *Edge) quieten(k *Key, short bool, now clock.Nanos) {
	if !short {
		k.refusals = 0
		k.quiet.Store(0)
		return
	}
	d := min(firstQuiet<<min(k.refusals, 10), longQuiet)
	k.refusals++
	k.quiet.Store(int64(min(now+jitter(d), k.rollAt)))
}

// jitter draws from the upper half of d.
func jitter(d time.Duration) clock.Nanos {
	return clock.Nanos(d/2 + rand.N(d/2+1))
}

// refused takes over that the question about a key was refused. It returns an
// error if the two sides disagree about totals, which no further question can
// repair.
func (e *Edge) refused(k *Key, p *tkcoordv1.Problem, now clock.Nanos) (disagreement error) {
	sentinel := ErrRefused
	switch p.Reason {
	case tkcoordv1.Reason_REASON_UNKNOWN_POLICY:
		sentinel = ErrUnknownPolicy
		if k.limiter.unknown.Swap(int64(now+jitter(longQuiet))) == 0 {
			e.log.Warn("unknown policy", "policy", k.limiter.policy)
		}
	case tkcoordv1.Reason_REASON_INVALID:
		sentinel = ErrInvalid
	case tkcoordv1.Reason_REASON_EXHAUSTED:
		sentinel = ErrExhausted
	case tkcoordv1.Reason_REASON_UNSUPPORTED:
		sentinel = ErrUnsupported
	case tkcoordv1.Reason_REASON_OVERSPENT, tkcoordv1.Reason_REASON_BACKWARDS, tkcoordv1.Reason_REASON_FUTURE_WINDOW:
		disagreement = fmt.Errorf("policy %q: %s: %s", k.limiter.policy, p.Reason, p.Message)
	}
	if disagreement == nil {
		k.verdict.Store(&verdict{err: fmt.Errorf("%s: %w", p.Message, sentinel), at: now})
		k.quiet.Store(int64(now + jitter(longQuiet)))
		k.missed.CompareAndSwap(int64(k.noted), 0)
		k.low.Store(-1)
		e.land(k, k.wake(nil, 0))
		return nil
	}
	e.requeue(k)
	return disagreement
}
