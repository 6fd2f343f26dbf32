package bidprice

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func near(a, b float64) bool { return math.Abs(a-b) <= 1e-6*max(1, math.Abs(a), math.Abs(b)) }

// TestVectors: the prices that the ThrottleKit contract gives.
func TestVectors(t *testing.T) {
	cheapAndDear := []Type{{Cost: 100, Value: 1, Weight: .5}, {Cost: 10_000, Value: 50, Weight: .5}}
	for _, tt := range []struct {
		types      []Type
		rate, cost float64
		want       Prices
		d          float64
	}{
		{cheapAndDear, 1, 50, Prices{Cost: 0.01}, 0.5},
		{cheapAndDear, 1000, 50_000, Prices{}, 25.5},
		{[]Type{{1, 5, 10, 0}, {4, 8, 10, 0}, {10, 12, 10, 0}}, 15, 60, Prices{Rate: 38. / 9, Cost: 7. / 9}, 116.666667},
		{[]Type{{1, 1, 10, 0}, {2, 10, 10, 0}}, 10, 1000, Prices{Rate: 10}, 100},
	} {
		p, d, err := Solve(tt.types, Budgets{Rate: tt.rate, Cost: tt.cost})
		if err != nil || !near(p.Rate, tt.want.Rate) || !near(p.Cost, tt.want.Cost) || !near(d, tt.d) {
			t.Errorf("%v with %v and %v: %v, %v, %v, want %v, %v", tt.types, tt.rate, tt.cost, p, d, err, tt.want, tt.d)
		}
	}
	p, _, _ := Solve(cheapAndDear, Budgets{Rate: 1, Cost: 50})
	if !p.Admit(1, 100, 0) || p.Admit(50, 10_000, 0) {
		t.Errorf("%v: want the cheap requests admitted, which give more for the budget, and not the dear ones", p)
	}
}

func drawTypes(t *rapid.T, most int) []Type {
	n := rapid.IntRange(1, most).Draw(t, "types")
	types := make([]Type, n)
	small := rapid.IntRange(0, 12)
	for i := range types {
		types[i] = Type{
			Cost: float64(small.Draw(t, "cost")), Value: float64(small.Draw(t, "value")),
			Weight: float64(small.Draw(t, "weight")) / 4, Hold: float64(small.Draw(t, "hold")),
		}
	}
	return types
}

func drawBudgets(t *rapid.T) Budgets {
	some := rapid.IntRange(1, 60)
	return Budgets{Rate: float64(some.Draw(t, "R")) / 4, Cost: float64(some.Draw(t, "C")), Slot: float64(some.Draw(t, "K"))}
}

// TestNoPricesAreBetter: D is convex, so prices are optimal if none around them are
// better, and for good measure none anywhere.
func TestNoPricesAreBetter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		types, b := drawTypes(t, 6), drawBudgets(t)
		slots := rapid.Bool().Draw(t, "slots")
		solve := Solve
		if slots {
			solve = SolveSlots
		} else {
			b.Slot = 0
		}
		p, d, err := solve(types, b)
		if err != nil {
			t.Fatal(err)
		}
		s := search{types: types, budgets: b}
		if at := s.dual(p); !near(at, d) || p.Rate < 0 || p.Cost < 0 || p.Slot < 0 || !slots && p.Slot != 0 {
			t.Fatalf("prices %v have the objective %v, not %v", p, at, d)
		}
		for _, step := range []float64{1e-3, 0.1, 1, 10} {
			for range 20 {
				q := p
				for _, x := range []*float64{&q.Rate, &q.Cost, &q.Slot} {
					*x = max(0, *x+step*rapid.Float64Range(-1, 1).Draw(t, "by"))
				}
				if !slots {
					q.Slot = 0
				}
				if at := s.dual(q); at < d-1e-6 {
					t.Fatalf("%v costs %v, less than %v at %v", q, at, d, p)
				}
			}
		}
	})
}

// TestPricesKeepTheBudgets: what the prices surely admit, with something left over,
// fits into the budgets; and a budget with a price would be used up if all were
// admitted that break even.
func TestPricesKeepTheBudgets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		types, b := drawTypes(t, 6), drawBudgets(t)
		p, _, err := SolveSlots(types, b)
		if err != nil {
			t.Fatal(err)
		}
		var least, most Budgets
		for i := range types {
			k, left := &types[i], reduced(&types[i], p)
			add := func(to *Budgets) {
				to.Rate += k.Weight
				to.Cost += k.Weight * k.Cost
				to.Slot += k.Weight * k.Hold
			}
			if left > tie {
				add(&least)
			}
			if left > -tie {
				add(&most)
			}
		}
		for _, x := range []struct {
			name                       string
			price, budget, least, most float64
		}{
			{"rate", p.Rate, b.Rate, least.Rate, most.Rate}, {"cost", p.Cost, b.Cost, least.Cost, most.Cost}, {"slot", p.Slot, b.Slot, least.Slot, most.Slot},
		} {
			if x.least > x.budget+1e-6 || x.price > 1e-6 && x.most < x.budget-1e-6 {
				t.Fatalf("%s: price %v, budget %v, between %v and %v are admitted", x.name, x.price, x.budget, x.least, x.most)
			}
		}
	})
}

// TestSlotsWithoutNeed: a slot budget that cannot bind has no price and changes
// nothing.
func TestSlotsWithoutNeed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		types, b := drawTypes(t, 6), drawBudgets(t)
		_, d, err := Solve(types, b)
		b.Slot = 1e9
		q, e, err2 := SolveSlots(types, b)
		if err != nil || err2 != nil || !near(d, e) || q.Slot != 0 {
			t.Fatalf("%v without slots and %v with plenty, at %v; %v, %v", d, e, q, err, err2)
		}
	})
}

func TestAdmit(t *testing.T) {
	p := Prices{Rate: 1, Cost: 2, Slot: 3}
	for _, tt := range []struct {
		value, cost, hold float64
		want              bool
	}{
		{5, 2, 0, true}, {4.9, 2, 0, false}, {5, 2, 1, false}, {8, 2, 1, true},
		{5, 2, math.NaN(), true}, {5, 2, math.Inf(1), true}, {5, 2, -1, true}, {math.NaN(), 0, 0, false},
	} {
		if got := p.Admit(tt.value, tt.cost, tt.hold); got != tt.want {
			t.Errorf("Admit(%v, %v, %v) = %v", tt.value, tt.cost, tt.hold, got)
		}
	}
}

func TestValidate(t *testing.T) {
	bad := []Type{{Cost: -1, Value: math.NaN(), Weight: math.Inf(1), Hold: -1}}
	_, _, err := SolveSlots(bad, Budgets{Rate: 0, Cost: -1, Slot: math.NaN()})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, field := range []string{"types[0].Cost", "types[0].Value", "types[0].Weight", "types[0].Hold", "Budgets.Rate", "Budgets.Cost", "Budgets.Slot"} {
		if !strings.Contains(err.Error(), field) {
			t.Errorf("no word about %s in: %v", field, err)
		}
	}
	for _, n := range []int{0, MaxTypes + 1} {
		if _, _, err := Solve(make([]Type, n), Budgets{Rate: 1, Cost: 1}); err == nil {
			t.Errorf("%d types accepted", n)
		}
	}
}

// BenchmarkSolve: one iteration solves for the most types that are allowed.
func BenchmarkSolve(b *testing.B) {
	types := make([]Type, MaxTypes)
	for i := range types {
		types[i] = Type{Cost: float64(i*37%101) + 1, Value: float64(i*53%97) + 1, Weight: 1, Hold: float64(i * 29 % 89)}
	}
	b.Run("types=256", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, _, err := Solve(types, Budgets{Rate: 100, Cost: 3000}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("slots/types=48", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, _, err := SolveSlots(types[:MaxSlotTypes], Budgets{Rate: 20, Cost: 500, Slot: 500}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func ExampleSolve() {
	// Half of the requests cost 100 tokens and are worth 1, half cost 10,000 and are
	// worth 50; 50 tokens are there per request.
	p, _, err := Solve([]Type{{Cost: 100, Value: 1, Weight: 0.5}, {Cost: 10_000, Value: 50, Weight: 0.5}}, Budgets{Rate: 1, Cost: 50})
	if err != nil {
		panic(err)
	}
	fmt.Println(p.Cost, p.Admit(1, 100, 0), p.Admit(50, 10_000, 0))
	// Output: 0.01 true false
}
