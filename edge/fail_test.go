package edge

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestFailPolicy: it decides when there are neither credits nor a coordinator,
// and at no other time.
func TestFailPolicy(t *testing.T) {
	for _, fail := range []Fail{FailClosed, FailOpen} {
		t.Run(fail.String(), func(t *testing.T) {
			inBubble(t, func(t *testing.T, b *bubble) {
				e := b.edge(func(c *Config) { c.Fail = fail })
				l := e.Limiter("p")
				if l.Allow("fresh", 1) {
					t.Error("no credits yet, but a coordinator: Allow(fresh) = true")
				}
				b.check(l, "held", 1)
				b.check(l, "spent", 100)
				if d := b.check(l, "spent", 1); d.Allowed {
					t.Fatalf("spent key: %+v", d)
				}
				b.fail(errDown)
				start := time.Now()
				d, err := l.Check(t.Context(), "new", 1)
				if took := time.Since(start); !errors.Is(err, ErrUnavailable) || d.Allowed != (fail == FailOpen) || d.Source != FromFail || took < e.cfg.Patience || took > 2*e.cfg.Patience {
					t.Errorf("Check = %+v, %v after %v", d, err, took)
				}
				start = time.Now()
				if d, err := l.Check(t.Context(), "new", 1); !errors.Is(err, ErrUnavailable) || d.Allowed != (fail == FailOpen) || time.Since(start) != 0 {
					t.Errorf("while away: %+v, %v after %v, want no waiting", d, err, time.Since(start))
				}
				if got := l.Allow("new", 1); got != (fail == FailOpen) {
					t.Errorf("while away: Allow = %v", got)
				}
				if d := b.check(l, "held", 1); !d.Allowed || d.Source != FromCredits {
					t.Errorf("while away, with credits: %+v", d)
				}
				if d := b.check(l, "spent", 1); d.Allowed || d.Source != FromRefusal {
					t.Errorf("while away, a budget that is known to be spent: %+v", d)
				}
				if l.Allow("spent", 1) {
					t.Error("while away, Allow of a budget that is known to be spent")
				}
				if !e.Stats().Away {
					t.Error("Stats().Away = false")
				}
				b.fail(nil)
				time.Sleep(2 * time.Second)
				synctest.Wait()
				if d := b.check(l, "new", 1); !d.Allowed || d.Source == FromFail || e.Stats().Away {
					t.Errorf("with the coordinator back: %+v", d)
				}
				s := policyStats(e, "p")
				if open, closed := s.FailedOpen, s.FailedClosed; open+closed != 3 || (open == 0) != (fail == FailClosed) {
					t.Errorf("counted %d open and %d closed, want 3 of the policy in force", open, closed)
				}
			}, perWindow("p", 100, time.Minute))
		})
	}
}

// TestFailPolicyWaitsOutAnElection: a coordinator that is silent for less than
// Patience is waited for.
func TestFailPolicyWaitsOutAnElection(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		l := b.edge(func(c *Config) { c.Fail = FailOpen }).Limiter("p")
		b.fail(errDown)
		time.AfterFunc(600*time.Millisecond, func() { b.fail(nil) })
		if d := b.check(l, "k", 1); !d.Allowed || d.Source != FromExchange {
			t.Errorf("Check across an election: %+v", d)
		}
	}, perWindow("p", 100, time.Minute))
}

// TestShadow: decisions are made and counted, and every request passes.
func TestShadow(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		e := b.edge(func(c *Config) { c.Shadow = true })
		l := e.Limiter("p")
		if d := b.check(l, "k", 3); !d.Allowed || d.Shadow {
			t.Errorf("within the limit: %+v", d)
		}
		if d := b.check(l, "k", 1); !d.Allowed || !d.Shadow || d.RetryAfter == 0 {
			t.Errorf("over the limit: %+v", d)
		}
		if !l.Allow("k", 1) {
			t.Error("over the limit: Allow = false")
		}
		if d, err := e.Limiter("unknown").Check(t.Context(), "k", 1); !errors.Is(err, ErrUnknownPolicy) || !d.Allowed || !d.Shadow {
			t.Errorf("under an unknown policy: %+v, %v", d, err)
		}
		if s := policyStats(e, "p"); s.Spent != 3 || s.Denied != 2 || s.Shadowed != 2 {
			t.Errorf("%+v, want 3 spent, 2 denied and shadowed", s)
		}
	}, perWindow("p", 3, time.Minute))
}

// TestCheckFindsTheCoordinatorAgain: an edge that only checks, so that nobody waits
// and nothing is noted while the coordinator is away, still finds out that it is
// back.
func TestCheckFindsTheCoordinatorAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		e := b.edge()
		l := e.Limiter("p")
		b.fail(errDown)
		for range 3 {
			if d, err := l.Check(t.Context(), "k", 1); !errors.Is(err, ErrUnavailable) || d.Allowed {
				t.Fatalf("while away: %+v, %v", d, err)
			}
		}
		time.Sleep(time.Minute)
		b.fail(nil)
		time.Sleep(2 * time.Second)
		if d := b.check(l, "k", 1); !d.Allowed || e.Stats().Away {
			t.Errorf("with the coordinator back: %+v, away: %v", d, e.Stats().Away)
		}
	}, perWindow("p", 100, time.Hour))
}
