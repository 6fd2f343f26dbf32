package edge

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/tkcoord/tkcoord/api/throttlekitv1"
	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// A Meter counts what becomes known only while it is produced, such as the tokens
// of a streamed answer, against a budget that all processes share (the policies
// tokenBudget and fleetBudget of the ThrottleKit contract). It stops at the
// boundary: a debit is admitted if any budget was left before it, and then counted
// in full; the first one after that is denied.
//
// With single debits all processes together exceed the budget of a window by less
// than one debit. With a MeterBatch of b, n processes that share a key, and debits
// of at most d, they exceed it by at most
//
//	n·(b−1) + d − 1
//
// and by d − 1 if one process alone uses the key. What a process admitted beyond
// the budget is charged to the key's next window, so that it does not add up.
//
// All methods may be called by any number of goroutines at once.
type Meter struct {
	edge   *Edge
	policy string
	err    error // why nothing can be asked about it

	mu    sync.Mutex // guards the rest, and all keys
	batch MeterBatch
	keys  map[string]*metered
	until clock.Nanos // reading until which no coordinator answers, as far as is known
}

// A MeterBatch puts debits of one key together.
type MeterBatch struct {
	// Size is how many tokens are collected before they are counted, in [1,
	// escrow.MaxCredits]. 1 counts each debit at once: one question to the cluster for
	// each. Larger saves questions and widens the overshoot, see Meter.
	Size int64
	// MaxAge is how long tokens may wait for that, up to an hour. It is looked at with
	// each debit of the key: what is left when a stream ends waits for Flush or Close.
	MaxAge time.Duration
}

// metered is one key of a meter.
type metered struct {
	pending int64         // admitted here and not counted by the cluster
	since   clock.Nanos   // when the oldest of it came
	flight  chan struct{} // closed when the question under way is answered; nil for none

	// By the newest answer; zero while there is none.
	limit, left int64
	resetAt     time.Time
	deniedUntil clock.Nanos // a denial is repeated until then
	rollAt      clock.Nanos // when the window ends that the denial was for
}

// Meter returns the meter of a policy, the same one each time. It counts each debit
// at once until SetBatch says otherwise.
func (e *Edge) Meter(policy string) *Meter {
	e.tables.Lock()
	defer e.tables.Unlock()
	if m, ok := e.meters[policy]; ok {
		return m
	}
	m := &Meter{edge: e, policy: policy, batch: MeterBatch{Size: 1}, keys: make(map[string]*metered)}
	switch {
	case policy == "" || len(policy) > maxPolicyName || !printable(policy):
		m.err = fmt.Errorf("policy %q, want 1 to %d bytes without control characters: %w", shown(policy), maxPolicyName, ErrInvalid)
		return m
	case len(e.meters) >= maxLimiters:
		m.err = fmt.Errorf("policy %q would be one of more than %d: %w", policy, maxLimiters, ErrTooManyKeys)
		return m
	case e.debit == nil:
		m.err = fmt.Errorf("policy %q: an edge with Config.Exchange has no way to debit: %w", policy, ErrUnsupported)
		return m
	}
	e.meters[policy] = m
	return m
}

// SetBatch changes how debits are put together, from the next one on.
func (m *Meter) SetBatch(b MeterBatch) error {
	switch {
	case b.Size < 1 || b.Size > int64(escrow.MaxCredits):
		return fmt.Errorf("batch size: got %d, want 1 to %d: %w", b.Size, escrow.MaxCredits, ErrInvalid)
	case b.MaxAge < 0 || b.MaxAge > time.Hour:
		return fmt.Errorf("max age: got %v, want 0 to %v: %w", b.MaxAge, time.Hour, ErrInvalid)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.batch = b
	return nil
}

// denialAge is how long a denial is repeated without asking, at most: a budget may
// be raised within its window.
const denialAge = clock.Nanos(time.Second)

// Debit takes n tokens (1 if n <= 0) of a key, 0 to 1024 bytes of UTF-8. Call it
// before the tokens are handed out, and stop at the first denial.
//
// A denial is an answer. An error means that there is none; Decision.Allowed then
// holds what becomes of the tokens: what the fail policy says with ErrUnavailable
// or when ctx ran into its deadline, and false with every other error. A debit
// whose answer was lost may have been counted, and is counted again with the next
// one if it was admitted: that can deny early, never admit more.
func (m *Meter) Debit(ctx context.Context, key string, n int64) (Decision, error) {
	n = max(n, 1)
	if err := m.check(key, n); err != nil {
		return m.noAnswer(nil, n, err)
	}
	for {
		m.mu.Lock()
		k, err := m.key(key)
		if err != nil {
			m.mu.Unlock()
			return m.noAnswer(nil, n, err)
		}
		at := m.edge.now()
		switch {
		case k.flight != nil:
			flight := k.flight
			m.mu.Unlock()
			select {
			case <-flight:
			case <-ctx.Done():
				return m.noAnswer(k, n, ctx.Err())
			}
			continue
		case at < k.deniedUntil:
			d := k.denial(at)
			m.mu.Unlock()
			return m.shadow(d), nil
		case at < m.until:
			m.mu.Unlock()
			return m.noAnswer(k, n, ErrUnavailable)
		case m.here(k, at, n):
			d := k.admit(at, n)
			m.mu.Unlock()
			return d, nil
		}
		return m.count(ctx, key, k, n)
	}
}

// check says why a debit cannot be made.
func (m *Meter) check(key string, n int64) error {
	switch {
	case m.err != nil:
		return m.err
	case m.edge.stop.Load() != nil:
		return *m.edge.stop.Load()
	case n > int64(escrow.MaxCredits):
		return fmt.Errorf("n: got %d, want at most %d: %w", n, escrow.MaxCredits, ErrInvalid)
	case len(key) > maxKey || !utf8.ValidString(key):
		return fmt.Errorf("key of %d bytes, want at most %d bytes of UTF-8: %w", len(key), maxKey, ErrInvalid)
	}
	return nil
}

// maxEvict bounds the search for a key that can be forgotten.
const maxEvict = 64

// key returns a key. One that has nothing pending makes room for it if need be: what
// is forgotten with it, the cluster knows.
func (m *Meter) key(name string) (*metered, error) {
	if k := m.keys[name]; k != nil {
		return k, nil
	}
	if len(m.keys) >= m.edge.cfg.MaxKeys {
		looked := 0
		for old, k := range m.keys {
			if k.pending == 0 && k.flight == nil {
				delete(m.keys, old)
				break
			}
			if looked++; looked >= maxEvict {
				break
			}
		}
	}
	if len(m.keys) >= m.edge.cfg.MaxKeys {
		return nil, fmt.Errorf("%d keys are in use: %w", len(m.keys), ErrTooManyKeys)
	}
	k := &metered{}
	m.keys[name] = k
	return k, nil
}

// here reports whether n tokens can be admitted without asking: while there is
// surely budget left if nobody else uses it, and the batch is not full.
func (m *Meter) here(k *metered, at clock.Nanos, n int64) bool {
	fits := n < min(m.batch.Size, k.left)-k.pending
	return fits && (k.pending == 0 || at-k.since < clock.Nanos(m.batch.MaxAge))
}

// admit takes n tokens without asking.
func (k *metered) admit(at clock.Nanos, n int64) Decision {
	if k.pending == 0 {
		k.since = at
	}
	k.pending += n
	return Decision{Allowed: true, Limit: k.limit, Remaining: k.left - k.pending, Left: k.left, ResetAt: k.resetAt, Source: FromCredits}
}

// denial repeats the newest answer, which was no.
func (k *metered) denial(at clock.Nanos) Decision {
	left := time.Duration(max(0, k.rollAt-at))
	return Decision{Limit: k.limit, ResetAt: k.resetAt, ResetAfter: left, RetryAfter: max(left, time.Millisecond), Source: FromRefusal}
}

// count has n tokens and all that is pending counted by the cluster. It is called
// with mu held and releases it.
func (m *Meter) count(ctx context.Context, name string, k *metered, n int64) (Decision, error) {
	flight := make(chan struct{})
	k.flight = flight
	pending := k.pending
	amount := min(pending+n, int64(escrow.MaxCredits))
	m.mu.Unlock()
	d, sent, err := m.edge.askDebit(ctx, &throttlekitv1.DebitRequest{Policy: m.policy, Key: name, Tokens: amount})
	m.mu.Lock()
	k.flight = nil
	close(flight)
	if err == nil {
		if d.GetAllowed() {
			k.pending -= pending
		}
		answer := k.answered(d, sent, m.edge.now())
		m.mu.Unlock()
		return m.shadow(answer), nil
	}
	if errors.Is(err, ErrUnavailable) {
		m.until = m.edge.now() + clock.Nanos(rand.N(longPause/2))
	}
	m.mu.Unlock()
	return m.noAnswer(k, n, err)
}

// answered takes over the answer to a question sent at the reading sent. What was
// pending when it was denied stays so, for the next window.
func (k *metered) answered(d *throttlekitv1.Decision, sent, now clock.Nanos) Decision {
	k.limit, k.left, k.resetAt = d.GetLimit(), d.GetRemaining(), time.UnixMilli(d.GetResetAt())
	if d.GetAllowed() {
		return Decision{Allowed: true, Limit: k.limit, Remaining: k.left, Left: k.left, ResetAt: k.resetAt, Source: FromExchange}
	}
	k.left = 0
	k.rollAt = sent + clock.Nanos(min(d.GetRetryAfterMs(), int64(escrow.MaxPeriod)))*clock.NanosPerMilli
	k.deniedUntil = min(k.rollAt, sent+denialAge)
	answer := k.denial(now)
	answer.Source = FromExchange
	return answer
}

// shadow lets a denial pass if the edge runs in shadow mode.
func (m *Meter) shadow(d Decision) Decision {
	if !d.Allowed && m.edge.cfg.Shadow {
		d.Allowed, d.Shadow = true, true
	}
	return d
}

// noAnswer is the decision that goes with an error. Tokens that pass are counted
// later; k is nil if there is no key to count them for.
func (m *Meter) noAnswer(k *metered, n int64, err error) (Decision, error) {
	cfg := &m.edge.cfg
	d := Decision{}
	if errors.Is(err, ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
		d.Source, d.Allowed = FromFail, cfg.Fail == FailOpen
	}
	d = m.shadow(d)
	if d.Allowed && k != nil {
		m.mu.Lock()
		k.pending = min(k.pending+n, int64(escrow.MaxCredits))
		m.mu.Unlock()
	}
	return d, fmt.Errorf("debit under policy %q: %w", shown(m.policy), err)
}

// Remaining returns what is left of a key's budget as far as this process knows, and
// whether it knows anything: the newest answer less what is pending, or the whole
// budget once its window is over by the wall clock. Others may have used some of it
// since. It asks nobody.
func (m *Meter) Remaining(key string) (left int64, known bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := m.keys[key]
	if k == nil || k.resetAt.IsZero() {
		return 0, false
	}
	left = k.left
	if !time.Now().Before(k.resetAt) {
		left = k.limit
	}
	return max(0, left-k.pending), true
}

// Flush has everything pending counted. What the cluster denies stays pending: there
// is no budget to charge it to before the next window.
func (m *Meter) Flush(ctx context.Context) error {
	m.mu.Lock()
	names := make([]string, 0, len(m.keys))
	for name, k := range m.keys {
		if k.pending > 0 {
			names = append(names, name)
		}
	}
	m.mu.Unlock()
	for _, name := range names {
		if err := m.flush(ctx, name); err != nil {
			return fmt.Errorf("flush %q under policy %q: %w", shown(name), m.policy, err)
		}
	}
	return nil
}

func (m *Meter) flush(ctx context.Context, name string) error {
	for {
		m.mu.Lock()
		k := m.keys[name]
		switch {
		case k == nil || k.pending == 0:
			m.mu.Unlock()
			return nil
		case k.flight != nil:
			flight := k.flight
			m.mu.Unlock()
			select {
			case <-flight:
			case <-ctx.Done():
				return ctx.Err()
			}
		default:
			_, err := m.count(ctx, name, k, 0)
			return err
		}
	}
}

// debitPause is between attempts of one debit.
const debitPause = 50 * time.Millisecond

// askDebit asks the cluster once, at one node after the other until one answers or
// Patience is over. It returns the reading before the question was sent. A
// question that may have been taken is not repeated.
func (e *Edge) askDebit(ctx context.Context, req *throttlekitv1.DebitRequest) (*throttlekitv1.Decision, clock.Nanos, error) {
	for from := e.now(); ; {
		actx, cancel := context.WithTimeout(ctx, e.cfg.AttemptTimeout)
		sent := e.now()
		res, err := e.debit(actx, req)
		cancel()
		if err == nil {
			return res.GetDecision(), sent, nil
		}
		if ctx.Err() != nil {
			return nil, 0, ctx.Err()
		}
		final, again := debitError(err)
		if !again || e.now()-from >= clock.Nanos(e.cfg.Patience) {
			return nil, 0, final
		}
		select {
		case <-time.After(rand.N(debitPause)):
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		}
	}
}

const reasonOutcomeUnknown = "OUTCOME_UNKNOWN"

// debitError translates a status, and reports whether another node should be
// asked.
func debitError(err error) (final error, again bool) {
	reason, _ := why(err)
	for _, c := range []struct {
		code codes.Code
		is   error
	}{
		{codes.NotFound, ErrUnknownPolicy}, {codes.Unimplemented, ErrUnsupported},
		{codes.InvalidArgument, ErrInvalid}, {codes.ResourceExhausted, ErrExhausted},
	} {
		if status.Code(err) == c.code {
			return fmt.Errorf("%w: %w", c.is, err), false
		}
	}
	switch status.Code(err) {
	case codes.Unavailable:
		return fmt.Errorf("%w: %w", ErrUnavailable, err), reason != reasonOutcomeUnknown
	case codes.Unknown, codes.DeadlineExceeded, codes.Canceled:
		return fmt.Errorf("%w: %w", ErrUnavailable, err), false
	}
	return fmt.Errorf("%w: %w", ErrRefused, err), false
}
