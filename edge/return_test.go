package edge

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestIdleReturns: credits of a key that is not used go back, between one and
// two IdleAfter after its last use.
func TestIdleReturns(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		l := b.edge().Limiter("p")
		for range 20 {
			b.check(l, "k", 1)
			time.Sleep(50 * time.Millisecond)
		}
		used := time.Now()
		for b.budget("p", "k").Out != 20 {
			time.Sleep(100 * time.Millisecond)
			if time.Since(used) > time.Minute {
				t.Fatalf("%+v after a minute without use, want 20 out, all used", b.budget("p", "k"))
			}
		}
		idle := l.edge.cfg.IdleAfter
		if after := time.Since(used); after < idle-100*time.Millisecond || after > 2*idle+time.Second {
			t.Errorf("returned after %v, want %v to %v", after, idle, 2*idle)
		}
		if h := b.budget("p", "k").Holders[0]; h.Used != 20 {
			t.Errorf("the cluster knows of %d used, want 20", h.Used)
		}
		if d := b.check(l, "k", 1); !d.Allowed {
			t.Errorf("after the return: %+v", d)
		}
	}, perWindow("p", 10_000, time.Hour))
}

// TestSurplusReturns: a key whose demand fell keeps what it may need, no more.
func TestSurplusReturns(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		l := b.edge().Limiter("p")
		for range 10_000 {
			b.check(l, "k", 1)
			time.Sleep(time.Millisecond)
		}
		busy := policyStats(l.edge, "p").Held
		for range 60 {
			b.check(l, "k", 1)
			time.Sleep(time.Second)
		}
		if slow := policyStats(l.edge, "p").Held; busy < 500 || slow > 50 {
			t.Errorf("%d held at 1000 requests a second, %d at one a second; want at least 500, at most 50", busy, slow)
		}
	}, perWindow("p", 1_000_000, time.Hour))
}

func TestCloseReturns(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		e := b.edge()
		l := e.Limiter("p")
		for range 5 {
			b.check(l, "a", 1)
			b.check(l, "b", 2)
		}
		if err := e.Close(); err != nil {
			t.Fatalf("Close: %v", err)
		}
		for key, used := range map[string]int64{"a": 5, "b": 10} {
			if s := b.budget("p", key); int64(s.Out) != used || int64(s.Used) != used {
				t.Errorf("after Close, %q: %+v, want %d out and used", key, s, used)
			}
		}
		if l.Allow("a", 1) {
			t.Error("Allow after Close")
		}
		if d, err := l.Check(t.Context(), "a", 1); !errors.Is(err, ErrClosed) || d.Allowed {
			t.Errorf("Check after Close = %+v, %v", d, err)
		}
		if err := e.Close(); err != nil || !errors.Is(e.Err(), ErrClosed) {
			t.Errorf("second Close: %v; Err() = %v", err, e.Err())
		}
	}, perWindow("p", 100, time.Hour))
}

// TestCloseDuringExchange: what an exchange that is cut off asked for comes back
// as well.
func TestCloseDuringExchange(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		b.rtt = 100 * time.Millisecond
		e := b.edge()
		l := e.Limiter("p")
		b.check(l, "k", 1)
		waiting := make(chan error, 1)
		go func() {
			_, err := l.Check(t.Context(), "k", 50)
			waiting <- err
		}()
		time.Sleep(60 * time.Millisecond) // the cluster has granted, the reply is under way
		if err := e.Close(); err != nil {
			t.Fatalf("Close: %v", err)
		}
		if err := <-waiting; !errors.Is(err, ErrClosed) {
			t.Errorf("the check that waited got %v", err)
		}
		if s := b.budget("p", "k"); s.Out != s.Used {
			t.Errorf("after Close: %+v, want nothing unspent", s)
		}
	}, perWindow("p", 1000, time.Hour))
}

// TestCloseIsBounded: without a coordinator Close gives up and says so.
func TestCloseIsBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		e := b.edge()
		b.check(e.Limiter("p"), "k", 1)
		b.check(e.Limiter("p"), "k", 1)
		b.fail(errDown)
		start := time.Now()
		err := e.Close()
		if took := time.Since(start); err == nil || took > e.cfg.CloseTimeout+e.cfg.AttemptTimeout {
			t.Errorf("Close = %v after %v", err, took)
		}
		synctest.Wait()
	}, perWindow("p", 100, time.Hour))
}

// TestAbandon: an edge that ends as a crash would asks nothing more and admits
// nothing more.
func TestAbandon(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		e := b.edge()
		l := e.Limiter("p")
		b.check(l, "k", 1)
		b.check(l, "k", 1)
		held, before := policyStats(e, "p").Held, e.Stats().Exchanges
		b.fail(errDown)
		start := time.Now()
		e.Abandon()
		if err := e.Close(); err != nil || time.Since(start) != 0 || l.Allow("k", 1) {
			t.Errorf("Close after Abandon = %v after %v", err, time.Since(start))
		}
		if s := b.budget("p", "k"); held == 0 || int64(s.Out) < held || e.Stats().Exchanges != before {
			t.Errorf("%+v, want what was held still counted", s)
		}
	}, perWindow("p", 100, time.Minute))
}
