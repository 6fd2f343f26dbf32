package edge

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/policy"
	"github.com/tkcoord/tkcoord/strategy"
)

func TestCheckAnswers(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		l := b.edge().Limiter("p")
		start := time.Now()
		d := b.check(l, "k", 1)
		if took := time.Since(start); took != b.rtt {
			t.Errorf("the first check took %v, want one round trip of %v", took, b.rtt)
		}
		want := Decision{
			Allowed: true, Limit: 100, Remaining: 99, Held: 0, Left: 99, ResetAt: start.Truncate(time.Minute).Add(time.Minute),
			ResetAfter: d.ResetAfter, Window: time.Minute, Source: FromExchange,
		}
		if d.ResetAt = d.ResetAt.In(want.ResetAt.Location()); d != want {
			t.Errorf("first check:\n %+v, want\n %+v", d, want)
		}
		if left := time.Until(want.ResetAt) - d.ResetAfter; left < -b.rtt || left > b.rtt {
			t.Errorf("ResetAfter = %v, the window ends in %v", d.ResetAfter, time.Until(want.ResetAt))
		}
		b.check(l, "k", 1) // the limit is known by now, so this one brings spare credits
		start = time.Now()
		if d := b.check(l, "k", 2); !d.Allowed || d.Source != FromCredits || d.Remaining != 96 || time.Since(start) != 0 {
			t.Errorf("third check: %+v after %v, want 96 remaining of credits in hand, at once", d, time.Since(start))
		}
		if d := b.check(l, "k", -5); !d.Allowed || d.Remaining != 95 {
			t.Errorf("Check(k, -5) = %+v, want 1 unit spent and 95 remaining", d)
		}
	}, perWindow("p", 100, time.Minute))
}

// TestCheckSharesExchanges: a thousand checks of one key are one question.
func TestCheckSharesExchanges(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		e := b.edge()
		l := e.Limiter("p")
		release := b.block()
		e.Limiter("p").Allow("other", 1) // occupies the one exchange
		synctest.Wait()
		var wg sync.WaitGroup
		var allowed atomic.Int64
		for range 1000 {
			wg.Go(func() {
				if d, err := l.Check(t.Context(), "k", 1); err == nil && d.Allowed {
					allowed.Add(1)
				}
			})
		}
		synctest.Wait()
		release()
		wg.Wait()
		if allowed.Load() != 1000 || b.count("k") != 1 {
			t.Errorf("%d of 1000 checks allowed with %d exchanges about the key, want all with one", allowed.Load(), b.count("k"))
		}
	}, perWindow("p", 100_000, time.Minute))
}

// TestCheckRemembersRefusal: a key whose budget is spent answers from memory, and
// asks again now and then because others return credits.
func TestCheckRemembersRefusal(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		l := b.edge().Limiter("p")
		for range 3 {
			if d := b.check(l, "k", 1); !d.Allowed {
				t.Fatalf("%+v within the limit", d)
			}
		}
		d := b.check(l, "k", 1)
		if d.Allowed || d.Source != FromExchange || d.Remaining != 0 || d.RetryAfter <= 0 || d.RetryAfter != d.ResetAfter {
			t.Fatalf("over the limit: %+v", d)
		}
		before, start := b.count("k"), time.Now()
		asked, answers := 0, 0
		for time.Since(start) < 20*time.Second {
			d := b.check(l, "k", 1)
			if answers++; d.Allowed {
				t.Fatalf("%+v, want a denial", d)
			}
			if d.Source == FromExchange {
				asked++
			}
			time.Sleep(time.Millisecond)
		}
		if n := b.count("k") - before; n != asked || n < 20 || n > 50 {
			t.Errorf("%d denials in 20 s took %d exchanges, %d of them waited; want 20 to 50", answers, n, asked)
		}
		time.Sleep(time.Minute)
		if d := b.check(l, "k", 1); !d.Allowed {
			t.Errorf("in the next window: %+v", d)
		}
	}, perWindow("p", 3, time.Minute))
}

func TestCheckLearnsOfPolicies(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		e := b.edge()
		l := e.Limiter("p")
		d, err := l.Check(t.Context(), "k", 1)
		if !errors.Is(err, ErrUnknownPolicy) || d.Allowed {
			t.Fatalf("Check under an unknown policy = %+v, %v", d, err)
		}
		for range 1000 {
			if _, err := l.Check(t.Context(), "k2", 1); !errors.Is(err, ErrUnknownPolicy) {
				t.Fatal(err)
			}
		}
		if n := b.count("k") + b.count("k2"); n != 1 {
			t.Errorf("an unknown policy was asked about %d times at once, want 1", n)
		}
		b.apply(t, fsm.Policies{Put: []policy.Policy{perWindow("p", 2, time.Minute)}})
		b.check(e.Limiter("q"), "k", 1) // brings the new version
		b.check(l, "k", 2)
		if d := b.check(l, "k", 1); d.Allowed {
			t.Fatalf("over the limit: %+v", d)
		}
		b.apply(t, fsm.Policies{Put: []policy.Policy{perWindow("p", 5, time.Minute)}})
		b.check(e.Limiter("q"), "k2", 1)
		if d := b.check(l, "k", 3); !d.Allowed || d.Limit != 5 {
			t.Errorf("after the limit was raised: %+v", d)
		}
		b.apply(t, fsm.Policies{Put: []policy.Policy{perWindow("p", 1, time.Minute)}})
		time.Sleep(time.Second)
		if d := b.check(l, "k", 1); d.Allowed || d.Limit != 1 || d.Remaining != 0 {
			t.Errorf("after the limit was lowered below what was spent: %+v", d)
		}
	}, perWindow("q", 10, time.Minute))
}

// TestCheckMoreThanTheLimit: what can never be granted draws no credits away from
// others, and is asked about once a second at most.
func TestCheckMoreThanTheLimit(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		l := b.edge().Limiter("p")
		b.check(l, "other", 1) // the limit is known from here on
		for range 100 {
			if d := b.check(l, "k", 11); d.Allowed {
				t.Fatalf("Check(11) under a limit of 10: %+v", d)
			}
			if l.Allow("k", 11) {
				t.Fatal("Allow(11) under a limit of 10")
			}
		}
		if n, out := b.count("k"), b.budget("p", "k").Out; n > 3 || out > 2 {
			t.Errorf("%d exchanges and %d credits drawn for requests above the limit", n, out)
		}
		if d, err := l.Check(t.Context(), "k", int64(escrow.MaxCredits)+1); !errors.Is(err, ErrInvalid) || d.Allowed {
			t.Errorf("Check(2^53) = %+v, %v", d, err)
		}
	}, perWindow("p", 10, time.Minute))
}

// TestCheckGivesBackShortGrant: credits that came with a refusal do not stay here.
func TestCheckGivesBackShortGrant(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		l := b.edge().Limiter("p")
		other := b.edge(func(c *Config) { c.EdgeID = "edge-2" }).Limiter("p")
		b.check(other, "k", 300)
		if d := b.check(l, "k", 800); d.Allowed {
			t.Fatalf("800 of the 700 left: %+v", d)
		}
		time.Sleep(100 * time.Millisecond)
		if d := b.check(other, "k", 600); !d.Allowed {
			t.Errorf("the other edge wants 600 of 700: %+v", d)
		}
	}, perWindow("p", 1000, time.Minute))
}

func TestCheckEndsWithItsContext(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		e := b.edge()
		l := e.Limiter("p")
		release := b.block()
		defer release()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		d, err := l.Check(ctx, "k", 1)
		if !errors.Is(err, context.DeadlineExceeded) || d.Allowed || d.Source != FromFail {
			t.Errorf("Check = %+v, %v", d, err)
		}
		canceled, cancel := context.WithCancel(t.Context())
		cancel()
		if d, err := l.Check(canceled, "k", 1); !errors.Is(err, context.Canceled) || d.Allowed || d.Source != NoSource {
			t.Errorf("Check = %+v, %v", d, err)
		}
		k, _ := l.Key("k")
		if len(k.waiters) != 0 {
			t.Errorf("%d waiters stayed behind", len(k.waiters))
		}
	}, perWindow("p", 10, time.Minute))
}

// TestPolicyWithoutCredits: what a policy of another strategy says is not an
// unknown refusal.
func TestPolicyWithoutCredits(t *testing.T) {
	rate := policy.Policy{
		Name: "p", Strategy: "gcra", MaxKeys: policy.DefaultMaxKeys,
		Rate: strategy.Params{Name: strategy.GCRA, Limit: 10, Period: 1000, Burst: 10},
	}
	inBubble(t, func(t *testing.T, b *bubble) {
		l := b.edge().Limiter("p")
		if d, err := l.Check(t.Context(), "k", 1); d.Allowed || !errors.Is(err, ErrUnsupported) {
			t.Errorf("Check = %+v, %v, want %v", d, err, ErrUnsupported)
		}
	}, rate)
}
