package edge

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/tkcoord/tkcoord/api/tkcoordv1"
	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/policy"
)

// TestAllowKeepsGoing: a key in steady use is never dry once it has learnt its
// demand: credits arrive before they are needed, also those of a new window.
func TestAllowKeepsGoing(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		l := b.edge().Limiter("p")
		denied := 0
		exchanges := 0
		for i := range 30_000 { // 1000 per second for 30 s
			if i == 5000 {
				denied, exchanges = 0, b.count("k")
			}
			if !l.Allow("k", 1) {
				denied++
			}
			time.Sleep(time.Millisecond)
		}
		// Each window ends with a gap: the guard, and one way to the cluster.
		if denied > 25*10 {
			t.Errorf("%d of 25000 requests denied, want no more than a few in each of 25 windows", denied)
		}
		if n := b.count("k") - exchanges; n > 25*10 {
			t.Errorf("%d exchanges in 25 s, want at most ten a second", n)
		}
	}, perWindow("p", 10_000, time.Second))
}

// TestRenewal: the ttl of a long window's lease is renewed while the key is in
// use, and not when it lies idle.
func TestRenewal(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		l := b.edge(func(c *Config) { c.IdleAfter = time.Hour }).Limiter("p")
		b.check(l, "k", 1)
		b.check(l, "k", 1)
		for range 150 { // ten minutes: leases last half a minute
			time.Sleep(4 * time.Second)
			if !l.Allow("k", 1) {
				t.Fatalf("denied at %v, with %d credits in hand", time.Now(), policyStats(l.edge, "p").Held)
			}
		}
		if n := b.count("k"); n < 30 || n > 120 {
			t.Errorf("%d exchanges in ten minutes, want about one each 15 s and those for credits", n)
		}
	}, perWindow("p", 10_000, time.Hour))

	inBubble(t, func(t *testing.T, b *bubble) {
		l := b.edge().Limiter("p")
		b.check(l, "k", 1)
		b.check(l, "k", 1)
		time.Sleep(20 * time.Second)
		synctest.Wait()
		before := b.count("k")
		time.Sleep(30 * time.Minute)
		synctest.Wait()
		if n := b.count("k") - before; n != 0 {
			t.Errorf("%d exchanges about an idle key in half an hour", n)
		}
	}, perWindow("p", 10_000, time.Hour))
}

// TestDeadlines: a lease is spent until its guarded ttl after the reading before
// the sending, and not at that instant.
func TestDeadlines(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		b.rtt = 40 * time.Millisecond
		e := b.edge(func(c *Config) { c.IdleAfter = time.Hour })
		l := e.Limiter("p")
		sent := e.now()
		b.check(l, "k", 5)
		at := clock.Nanos(b.rtt / 2) // when the cluster stamped it
		ttl := clock.Millis(1000) - clock.Millis(int64(sent+at)/clock.NanosPerMilli) - clock.Resolution
		k, _ := l.Key("k")
		if got, want := k.lease.Load().Deadline(), sent+e.cfg.Rates.Guarded(ttl); got != want {
			t.Errorf("deadline is %d, want %d", got, want)
		}
	}, perWindow("p", 10_000, time.Second))
}

// TestGuardsForWiderRates: of the rates configured and those that the cluster
// tells, the wider count.
func TestGuardsForWiderRates(t *testing.T) {
	for _, tt := range []struct{ own, want clock.Rates }{
		{clock.Rates{}, clock.DefaultRates()},
		{clock.Rates{Drift: 9000}, clock.Rates{Drift: 9000, Slew: 500}},
	} {
		inBubble(t, func(t *testing.T, b *bubble) {
			e := b.edge(func(c *Config) { c.Rates = tt.own })
			l := e.Limiter("p")
			start := e.now()
			b.check(l, "k", 5)
			k, _ := l.Key("k")
			if got, want := k.lease.Load().Deadline(), start+tt.want.Guarded(30_000); got != want {
				t.Errorf("with rates %+v the deadline is %d, want %d", tt.own, got, want)
			}
		}, perWindow("p", 10_000, time.Hour))
	}
}

// TestWindowRolls: a new window is a new lease, and the totals of the old one are
// gone with it.
func TestWindowRolls(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		e := b.edge()
		l := e.Limiter("p")
		for range 5 {
			for range 10 {
				if d := b.check(l, "k", 1); !d.Allowed {
					t.Fatalf("%+v within the limit", d)
				}
			}
			if d := b.check(l, "k", 1); d.Allowed {
				t.Fatalf("%+v over the limit", d)
			}
			time.Sleep(time.Minute)
		}
		if s := policyStats(e, "p"); s.Spent != 50 {
			t.Errorf("%+v, want 50 spent", s)
		}
	}, perWindow("p", 10, time.Minute))
}

// TestOldNewsIsIgnored: an answer about an earlier window changes nothing.
func TestOldNewsIsIgnored(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		e := b.edge()
		l := e.Limiter("p")
		b.check(l, "k", 1)
		k, _ := l.Key("k")
		e.mu.Lock()
		defer e.mu.Unlock()
		old := wireAnswer(&fsm.Answer{Window: k.lease.Load().Window(), Granted: 10, TTL: 1000, Limit: 10})
		now := e.now()
		next := escrow.Window{Start: k.lease.Load().Window().End, End: k.lease.Load().Window().End + 60_000}
		k.state.Store(flying)
		e.answered(k, wireAnswer(&fsm.Answer{Window: next, Granted: 2, TTL: 1000, Limit: 10}), next.Start, now, now)
		k.state.Store(flying)
		e.answered(k, old, next.Start, now, now)
		if lease := k.lease.Load(); lease.Window() != next || lease.Left() != 2 {
			t.Errorf("after old news the lease is for %v with %d left, want %v with 2", lease.Window(), lease.Left(), next)
		}
	}, perWindow("p", 10, time.Minute))
}

// TestShortWindows: a window that ends while the answer travels makes nobody fail.
func TestShortWindows(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		b.rtt = 30 * time.Millisecond
		l := b.edge().Limiter("p")
		denied := 0
		for i := range 2000 {
			if d := b.check(l, "k", 1); !d.Allowed && i > 0 {
				denied++
			}
			time.Sleep(7 * time.Millisecond)
		}
		if denied > 0 {
			t.Errorf("%d of 2000 checks denied far below the limit", denied)
		}
	}, perWindow("p", 1000, 100*time.Millisecond))
}

// TestCalendarWindows: nothing depends on windows of one length.
func TestCalendarWindows(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		l := b.edge().Limiter("p")
		if d := b.check(l, "k", 3); !d.Allowed || d.Window != 0 || d.ResetAfter != 24*time.Hour-b.rtt/2 && d.ResetAfter <= 0 {
			t.Errorf("%+v", d)
		}
		time.Sleep(23 * time.Hour)
		if d := b.check(l, "k", 8); d.Allowed {
			t.Errorf("%+v, 11 of 10 on one day", d)
		}
		time.Sleep(2 * time.Hour)
		if d := b.check(l, "k", 8); !d.Allowed {
			t.Errorf("%+v on the next day", d)
		}
	}, policy.Policy{Name: "p", Strategy: policy.Quota, Limit: 10, MaxKeys: 10, Cadence: escrow.Cadence{Kind: escrow.CalendarDay}})
}

// TestEdgeTakesTheWiderRates: an edge that was told better clocks than its
// cluster assumes must guard for the cluster's, or it spends too long.
func TestEdgeTakesTheWiderRates(t *testing.T) {
	for _, tc := range []struct {
		name       string
		own, other clock.Rates
		want       clock.Rates
	}{
		{"the cluster's are wider", clock.Rates{Drift: 0, Slew: 0}, clock.Rates{Drift: 700, Slew: 900}, clock.Rates{Drift: 700, Slew: 900}},
		{"its own are wider", clock.Rates{Drift: 2000, Slew: 500}, clock.Rates{Drift: 500, Slew: 600}, clock.Rates{Drift: 2000, Slew: 600}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := DefaultConfig()
			cfg.Addresses, cfg.Rates = []string{"unused:1"}, tc.own
			e := newEdge(cfg)
			k := &Key{edge: e, limiter: &Limiter{edge: e, policy: "p"}, name: "k"}
			k.state.Store(flying)
			e.mu.Lock()
			defer e.mu.Unlock()
			res := &tkcoordv1.ExchangeResponse{
				Session: 1, ClockMs: 1000, DriftPpm: uint32(tc.other.Drift), SlewPpm: uint32(tc.other.Slew),
				Answers: []*tkcoordv1.Answer{{WindowStartMs: 1, WindowEndMs: 60_001, Granted: 10, TtlMs: 30_000, Limit: 10}},
			}
			if err := e.settle(&batch{keys: []*Key{k}}, res, 5, 6); err != nil {
				t.Fatal(err)
			}
			if got, want := k.lease.Load().Deadline(), 5+tc.want.Guarded(30_000); got != want {
				t.Fatalf("deadline %d, want %d by rates %+v", got, want, tc.want)
			}
		})
	}
}
