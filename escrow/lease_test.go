package escrow

import (
	"sync"
	"testing"

	"github.com/tkcoord/tkcoord/fsm/clock"
	"pgregory.net/rapid"
)

// TestLeaseSpendsWithinTotals: whatever order grants, stale answers, returns
// and spends come in, spent <= granted − returned at every instant, and nothing
// is spent at or after the deadline.
func TestLeaseSpendsWithinTotals(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := NewLease(Window{0, 1000})
		rates := clock.Rates{Drift: 100_000, Slew: 100_000}
		var now Nanos
		var spent, granted, returned Credits
		var deadline Nanos
		small := rapid.Int64Range(0, 30)
		t.Repeat(map[string]func(*rapid.T){
			"tick": func(t *rapid.T) { now += Nanos(small.Draw(t, "ms") * clock.NanosPerMilli) },
			"answer": func(t *rapid.T) { // possibly an old one
				g, ttl := Credits(small.Draw(t, "granted")), Millis(small.Draw(t, "ttl"))
				sent := now - min(now, Nanos(small.Draw(t, "ago")*clock.NanosPerMilli))
				l.Raise(g, sent, ttl, rates)
				granted = max(granted, g)
				if g > returned {
					deadline = max(deadline, sent+rates.Guarded(ttl))
				}
			},
			"spend": func(t *rapid.T) {
				n := Credits(small.Draw(t, "n") + 1)
				want := now < deadline && spent+n <= granted-returned
				if got := l.Spend(now, n); got != want {
					t.Fatalf("Spend(%d, %d) = %v with spent %d, granted %d, returned %d, deadline %d", now, n, got, spent, granted, returned, deadline)
				}
				if want {
					spent += n
				}
			},
			"return": func(t *rapid.T) {
				n := Credits(small.Draw(t, "n"))
				took := l.Return(n)
				if took != min(n, granted-returned-spent) {
					t.Fatalf("Return(%d) took %d of %d unspent", n, took, granted-returned-spent)
				}
				returned += took
				if took > 0 && returned == granted {
					deadline = 0
				}
			},
			"": func(t *rapid.T) {
				if got := l.Totals(); got != (Allotment{granted, returned, spent}) {
					t.Fatalf("Totals() = %+v, want %d %d %d", got, granted, returned, spent)
				}
			},
		})
	})
}

// TestLeaseConcurrentSpends: spenders and a returner race for the same credits.
func TestLeaseConcurrentSpends(t *testing.T) {
	l := NewLease(Window{0, 1000})
	l.Raise(10_000, 0, 500, clock.DefaultRates())
	spent := make([]Credits, 8)
	var wg sync.WaitGroup
	for i := range spent {
		wg.Go(func() {
			for l.Spend(1, 3) {
				spent[i] += 3
			}
		})
	}
	for range 100 {
		l.Return(7)
	}
	wg.Wait()
	var sum Credits
	for _, s := range spent {
		sum += s
	}
	if got := l.Totals(); got.Used != sum || got.Returned+sum+l.Left() != 10_000 {
		t.Fatalf("totals %+v, left %d; the spenders count %d", got, l.Left(), sum)
	}
}

// A holder that has nothing out keeps no deadline. The owner does not stretch such
// a window when its clock steps; with the deadline from before the step, credits
// of a later grant in the same window were spent after its end. Found by tksim
// run --seed 1199 --hours 0.1 --edges 40.
func TestLeaseKeepsNoDeadlineWithoutCredits(t *testing.T) {
	rates := clock.DefaultRates()
	const ms = clock.NanosPerMilli
	for _, before := range []Credits{0, 5} {
		l := NewLease(Window{0, 10_000})
		l.Raise(before, 0, 9_000, rates)
		l.Return(before)
		l.Raise(before, 1*ms, 8_990, rates) // an answer that brings nothing
		l.Raise(before+3, 2000*ms, 100, rates)
		l.Raise(before, 1*ms, 8_990, rates) // the same again, later
		if l.Spend(2200*ms, 1) {
			t.Errorf("after %d credits came and went, one of a lease of 100 ms was spent after 200 ms", before)
		}
		if !l.Spend(2050*ms, 1) {
			t.Errorf("after %d credits came and went, a live lease cannot be spent from", before)
		}
	}
}

// TestLeaseLateAnswerBringsNoDeadlineBack: an answer from before everything was
// returned arrives again after new credits did. The clock may have stepped in
// between, and the window was not stretched for a holder with nothing out.
func TestLeaseLateAnswerBringsNoDeadlineBack(t *testing.T) {
	const second = Nanos(1000 * clock.NanosPerMilli)
	l := NewLease(Window{0, 60_000})
	l.Raise(10, 1*second, 30_000, clock.Rates{})
	l.Return(10)
	l.Raise(15, 2*second, 100, clock.Rates{}) // after a step little of the window is left
	want := 2*second + second/10
	if got := l.Deadline(); got != want {
		t.Fatalf("deadline %d after new credits, want %d", got, want)
	}
	l.Raise(10, 1*second, 30_000, clock.Rates{})
	if got := l.Deadline(); got != want {
		t.Fatalf("deadline %d after a late answer, want %d still", got, want)
	}
}
