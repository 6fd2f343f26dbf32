package tier

import (
	"context"
	"fmt"
	"time"

	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/policy"
	"github.com/tkcoord/tkcoord/strategy"
)

// A book is a policy that does not count on a ledger, as this node serves it.
type book struct {
	id      uint64 // spreads equal keys of different policies
	name    string
	batch   int64
	low     int64       // at or below it a batch is fetched in the background; -1 is never
	idle    clock.Nanos // a key unused for longer has lost its credits; 0 is never
	coupled bool        // credits end when the newest reply's ResetAt is past
}

// maxRounds bounds how often one check waits for credits that others then spend.
const maxRounds = 1024

// fromCredits spends credits of the key, and debits a batch when they do not
// suffice. This is the leased check of the contract: at most one debit per key is
// under way, and whoever needs its credits waits for it.
func (t *Tier) fromCredits(ctx context.Context, p *policy.Policy, key string, cost int64) (strategy.Decision, error) {
	b, err := t.rates.of(p, t.openBook)
	if err != nil {
		return strategy.Decision{}, err
	}
	s := t.shard(b, key)
	s.mu.Lock()
	e := s.enter(b, key, t.now())
	if e == nil {
		s.mu.Unlock()
		return strategy.Decision{}, errUndecided // this node ends, or each key has a debit under way
	}
	for range maxRounds {
		if e.credits >= cost {
			e.credits -= cost
			d := strategy.Decision{Allowed: true, Limit: e.last.Limit, Remaining: e.credits, ResetAt: e.last.ResetAt}
			t.refill(s, e)
			s.mu.Unlock()
			return d, nil
		}
		l := e.lease
		if l == nil {
			l = t.fetch(s, e, max(b.batch, cost), false)
		}
		s.mu.Unlock()
		select {
		case <-l.done:
		case <-ctx.Done():
			return strategy.Decision{}, fmt.Errorf("wait for credits: %w", ctx.Err())
		}
		if l.err != nil {
			if t.ctx.Err() != nil {
				return strategy.Decision{}, errUndecided
			}
			return strategy.Decision{}, l.err
		}
		s.mu.Lock()
		if e.gone { // made room between the reply and now
			e = s.enter(b, key, t.now())
			if e == nil {
				s.mu.Unlock()
				return strategy.Decision{}, errUndecided
			}
		}
		// A denial of more than this check would have asked for says nothing about it.
		if !l.reply.Allowed && l.amount <= max(b.batch, cost) && e.credits < cost {
			s.mu.Unlock()
			return l.reply, nil
		}
	}
	s.mu.Unlock()
	return strategy.Decision{}, errUndecided
}

// openBook returns the book of a policy.
func (t *Tier) openBook(p *policy.Policy) (*book, error) {
	b := &book{
		id: bookID.Add(1), name: p.Name, batch: max(1, int64(p.Tier.Batch)), low: -1,
		idle: clock.Nanos(p.Tier.ReturnIdleAfter) * clock.NanosPerMilli, coupled: p.Tier.WindowCoupled,
	}
	if p.Tier.LowWater > 0 {
		b.low = int64(min(p.Tier.LowWater, strategy.MaxCost))
	}
	return b, nil
}

// A lease is one debit under way.
type lease struct {
	amount int64
	done   chan struct{} // closed when the rest is set
	reply  strategy.Decision
	err    error
}

// refill fetches a batch in the background if the key runs low. Call it with the
// shard locked.
func (t *Tier) refill(s *shard, e *entry) {
	if e.credits > e.book.low || e.lease != nil {
		return
	}
	select {
	case t.refills <- struct{}{}:
		t.fetch(s, e, e.book.batch, true)
	default:
	}
}

// fetch debits an amount for a key. It goes on when whoever asked for it is gone:
// what was debited is spent by others. Call it with the shard locked.
func (t *Tier) fetch(s *shard, e *entry, amount int64, background bool) *lease {
	l := &lease{amount: amount, done: make(chan struct{})}
	e.lease = l
	t.work.Go(func() {
		ctx, cancel := context.WithTimeout(t.ctx, t.cfg.LeaseTimeout)
		defer cancel()
		// NB: this reading precedes the sending, so that the key's window ends here no
		// later than there.
		sent := t.now()
		d, at, err := t.authority(ctx, e.book.name, e.key, amount)
		now := t.now()
		s.mu.Lock()
		e.lease = nil
		if l.reply, l.err = d, err; err == nil {
			s.take(e, &d, amount, sent+spanUntil(d.ResetAt, at), now, background)
		}
		s.mu.Unlock()
		if background {
			<-t.refills
		}
		close(l.done)
	})
	return l
}

// take takes over the reply to a debit, whose window ends here at the reading
// rollAt. One that comes in the background after that is dropped if credits are
// coupled to windows; one that somebody waits for serves who waits.
func (s *shard) take(e *entry, d *strategy.Decision, amount int64, rollAt, now clock.Nanos, background bool) {
	if d.Allowed {
		s.leases++
	} else {
		s.refused++
	}
	if background && e.book.coupled && now >= rollAt {
		return
	}
	e.last, e.rollAt = *d, rollAt
	if d.Allowed {
		e.credits += amount
	}
}

// longestSpan bounds spans, so that adding them to a reading does not overflow:
// ten years.
const longestSpan = clock.Nanos(10*366*24) * clock.Nanos(time.Hour)

// spanUntil returns how far an instant is away from another, at least 0.
func spanUntil(instant int64, from clock.Millis) clock.Nanos {
	return nanos(instant - int64(from))
}

func nanos(ms int64) clock.Nanos {
	return clock.Nanos(min(max(ms, 0), int64(longestSpan/clock.NanosPerMilli))) * clock.NanosPerMilli
}

// unlessDenied has the log decide, unless it denied this key and said that it
// would go on to: then the denial is repeated until that time.
func (t *Tier) unlessDenied(ctx context.Context, p *policy.Policy, key string, cost int64) (strategy.Decision, error) {
	b, err := t.rates.of(p, t.openBook)
	if err != nil {
		return strategy.Decision{}, err
	}
	s := t.shard(b, key)
	sent := t.now()
	if d, ok := s.denial(b, key, sent); ok {
		return d, nil
	}
	d, _, err := t.authority(ctx, p.Name, key, cost)
	if err == nil && !d.Allowed && d.RetryAfter > 0 {
		s.deny(b, key, &d, sent)
	}
	return d, err
}

// denial returns the denial that is remembered of a key.
func (s *shard) denial(b *book, key string, now clock.Nanos) (strategy.Decision, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.find(b, key, now)
	if e == nil || now >= e.deniedUntil {
		return strategy.Decision{}, false
	}
	left := int64((e.deniedUntil - now + clock.NanosPerMilli - 1) / clock.NanosPerMilli)
	return strategy.Decision{Limit: e.last.Limit, ResetAt: e.last.ResetAt, RetryAfter: left}, true
}

// deny remembers a denial whose question was sent at the reading sent.
func (s *shard) deny(b *book, key string, d *strategy.Decision, sent clock.Nanos) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.enter(b, key, sent); e != nil {
		e.last, e.deniedUntil = *d, sent+nanos(d.RetryAfter)
	}
}
