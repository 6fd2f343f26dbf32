package edge

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"github.com/tkcoord/tkcoord/fsm"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
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

// TestLateHello: the first message of a process that died arrives after that of
// its successor and takes the name from it. The edge takes it back: it loses its
// session, and nobody notices.
func TestLateHello(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		var log bytes.Buffer
		e := b.edge(func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
		l := e.Limiter("p")
		b.check(l, "k", 3)
		late := &tkcoordv1.ExchangeRequest{EdgeId: "edge-1", Incarnation: 99, Seq: 1}
		if _, err := b.exchange(t.Context(), late); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		for _, key := range []string{"k2", "k3"} {
			if d := b.check(l, key, 1); !d.Allowed {
				t.Errorf("Check(%q) = %+v", key, d)
			}
		}
		if took := time.Since(start); took > 10*b.rtt {
			t.Errorf("it took %v to get over it", took)
		}
		if _, err := b.exchange(t.Context(), late); status.Code(err) != codes.Aborted {
			t.Errorf("the same message again: %v, want Aborted", err)
		}
		if d := b.check(l, "k", 4); !d.Allowed || e.Err() != nil || e.Stats().SessionsEnded != 1 {
			t.Errorf("%+v, Err() = %v, %+v; want one session ended", d, e.Err(), e.Stats())
		}
		if s := b.budget("p", "k"); len(s.Holders) != 2 || s.Out < 7 {
			t.Errorf("%+v, want the first session's credits still counted", s)
		}
		if n := strings.Count(log.String(), "level=ERROR"); n != 1 {
			t.Errorf("%d errors in the log, want one:\n%s", n, log.String())
		}
	}, perWindow("p", 100, time.Hour))
}

// TestTwoProcessesWithOneName: each takes the name from the other at most once
// per minute. In between it spends what it holds and then denies, whatever the
// fail policy. When the other one is gone, it serves again.
func TestTwoProcessesWithOneName(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		var log bytes.Buffer
		first := b.edge(func(c *Config) {
			c.Fail = FailOpen
			c.IdleAfter = time.Hour
			c.Logger = slog.New(slog.NewTextHandler(&log, nil))
		})
		l := first.Limiter("p")
		b.check(l, "k", 1)
		second := b.edge()
		b.check(second.Limiter("p"), "k", 1)
		b.check(l, "k2", 1) // takes the name back
		b.check(l, "k2", 1)
		b.check(second.Limiter("p"), "k2", 1) // and so does the other
		asked := first.Stats().Exchanges
		held := policyStats(first, "p").Held

		waiting := make(chan error, 1)
		go func() {
			_, err := l.Check(t.Context(), "new", 1)
			waiting <- err
		}()
		if err := <-waiting; !errors.Is(err, ErrReplaced) {
			t.Errorf("a Check that waited: %v", err)
		}
		if d, err := l.Check(t.Context(), "new", 1); !errors.Is(err, ErrReplaced) || d.Allowed {
			t.Errorf("Check = %+v, %v", d, err)
		}
		if err := first.Err(); !errors.Is(err, ErrReplaced) {
			t.Errorf("Err() = %v", err)
		}
		allowed := int64(0)
		for range 100 {
			if l.Allow("k2", 1) {
				allowed++
			}
		}
		if allowed != held || held == 0 {
			t.Errorf("%d allowed, %d were held", allowed, held)
		}
		time.Sleep(58 * time.Second)
		if n := first.Stats().Exchanges - asked; n != 0 || first.Err() == nil {
			t.Errorf("%d exchanges within the minute, Err() = %v", n, first.Err())
		}
		if n := strings.Count(log.String(), "level=ERROR"); n != 2 {
			t.Errorf("%d errors in the log, want two:\n%s", n, log.String())
		}
		time.Sleep(2 * time.Second)
		if d := b.check(l, "k2", 1); !d.Allowed || first.Err() != nil {
			t.Errorf("after a minute: %+v, %v", d, first.Err())
		}
		if d := b.check(second.Limiter("p"), "k2", 1); !d.Allowed || second.Err() != nil {
			t.Errorf("the other one: %+v, %v", d, second.Err())
		}
	}, perWindow("p", 100, time.Hour))
}

// TestCloseWhileReplaced: an edge whose name is taken closes at once and returns
// nothing: nobody takes it back.
func TestCloseWhileReplaced(t *testing.T) {
	for _, tt := range []struct {
		name  string
		twice bool
	}{{"told while closing", false}, {"told before", true}} {
		inBubble(t, func(t *testing.T, b *bubble) {
			first := b.edge()
			l := first.Limiter("p")
			b.check(l, "k", 1)
			b.check(l, "k", 1)
			second := b.edge()
			if tt.twice {
				b.check(l, "k2", 1)
				b.check(second.Limiter("p"), "k", 1)
				if _, err := l.Check(t.Context(), "k3", 1); !errors.Is(err, ErrReplaced) {
					t.Fatalf("Check = %v", err)
				}
			}
			start, before := time.Now(), first.Stats()
			if err := first.Close(); err != nil || time.Since(start) > 10*b.rtt {
				t.Errorf("%s: Close = %v after %v", tt.name, err, time.Since(start))
			}
			if s := first.Stats(); s.Exchanges != before.Exchanges {
				t.Errorf("%s: %d exchanges", tt.name, s.Exchanges-before.Exchanges)
			}
			if l.Allow("k", 1) || first.Err() != ErrClosed {
				t.Errorf("%s: admits after Close, or Err() = %v", tt.name, first.Err())
			}
		}, perWindow("p", 100, time.Hour))
	}
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
