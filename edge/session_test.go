package edge

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/tkcoord/tkcoord/fsm"
)

// TestSessionEnds: an edge that was silent for too long starts over with nothing,
// and nobody notices.
func TestSessionEnds(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		e := b.edge()
		l := e.Limiter("p")
		b.check(l, "k", 3)
		time.Sleep(11 * time.Minute)
		for range 64 {
			b.apply(t, fsm.Digest{}) // lets the machine forget the session
		}
		start := time.Now()
		if d := b.check(l, "k", 1); !d.Allowed || time.Since(start) > 10*b.rtt {
			t.Errorf("after the session ended: %+v in %v", d, time.Since(start))
		}
		if s := e.Stats(); s.SessionsEnded != 1 || s.Failures != 0 {
			t.Errorf("%+v, want one session ended", s)
		}
		if s := b.budget("p", "k"); len(s.Holders) != 2 || s.Out < 4 {
			t.Errorf("%+v, want the old holder's credits still counted", s)
		}
	}, perWindow("p", 10, time.Hour))
}

// TestReplaced: of two processes with one name the older one stops asking for
// good, spends what it holds, and then denies, whatever the fail policy.
func TestReplaced(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		var log bytes.Buffer
		first := b.edge(func(c *Config) {
			c.Fail = FailOpen
			c.Logger = slog.New(slog.NewTextHandler(&log, nil))
		})
		l := first.Limiter("p")
		b.check(l, "k", 1)
		b.check(l, "k", 1)
		held := policyStats(first, "p").Held
		second := b.edge()
		b.check(second.Limiter("p"), "k", 1)
		if d, err := l.Check(t.Context(), "new", 1); !errors.Is(err, ErrReplaced) || d.Allowed {
			t.Errorf("Check of the older process = %+v, %v", d, err)
		}
		if err := first.Err(); !errors.Is(err, ErrReplaced) {
			t.Errorf("Err() = %v", err)
		}
		allowed := int64(0)
		for range 100 {
			if l.Allow("k", 1) {
				allowed++
			}
		}
		if allowed != held || held == 0 {
			t.Errorf("%d allowed after the replacement, %d were held", allowed, held)
		}
		before := first.Stats()
		time.Sleep(10 * time.Minute)
		if err := first.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		if s := first.Stats(); s.Exchanges != before.Exchanges || s.Failures != before.Failures {
			t.Errorf("%d exchanges and %d failures after the replacement", s.Exchanges-before.Exchanges, s.Failures-before.Failures)
		}
		if n := strings.Count(log.String(), "level=ERROR"); n != 1 {
			t.Errorf("%d errors in the log, want one:\n%s", n, log.String())
		}
		if d := b.check(second.Limiter("p"), "k", 1); !d.Allowed || second.Err() != nil {
			t.Errorf("the newer process: %+v, %v", d, second.Err())
		}
	}, perWindow("p", 100, time.Hour))
}

// TestDisagreement: totals that the cluster refuses make the edge start over as
// another holder, so that the difference cannot matter.
func TestDisagreement(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		e := b.edge()
		l := e.Limiter("p")
		b.check(l, "k", 4)
		k, _ := l.Key("k")
		e.mu.Lock()
		k.lease.Load().Raise(1000, e.now(), 1000, e.cfg.Rates) // as if a grant had been made up
		e.mu.Unlock()
		for range 500 {
			l.Allow("k", 1)
		}
		if d := b.check(l, "k2", 1); !d.Allowed {
			t.Errorf("another key: %+v", d)
		}
		time.Sleep(time.Minute)
		if d := b.check(l, "k", 1); !d.Allowed {
			t.Errorf("after starting over: %+v", d)
		}
		if s := b.budget("p", "k"); s.Out > s.Peak || len(s.Holders) != 2 {
			t.Errorf("%+v, want a new holder", s)
		}
	}, perWindow("p", 1000, time.Hour))
}
