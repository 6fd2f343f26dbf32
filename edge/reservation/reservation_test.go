package reservation

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

var prices = Prices{Hold: 1, Overrun: 4}

// TestVectors: the sequence of the ThrottleKit contract for h=1, p=4 and at most
// 1000.
func TestVectors(t *testing.T) {
	l, err := New(DefaultConfig(prices, 0, 1000))
	if err != nil {
		t.Fatal(err)
	}
	for i, tt := range []struct {
		cost       float64
		want       int64
		continuous float64
	}{
		{100, 250, 250}, {100, 73, 73.223305}, {900, 651, 650.573574}, {50, 526, 525.573574},
		{600, 973, 972.787169}, {600, 871, 870.725097}, {600, 776, 776.233979}, {10, 688, 687.845631},
	} {
		l.Observe(tt.cost)
		if got := l.Continuous(); l.Reserve() != tt.want || math.Abs(got-tt.continuous) > 5e-7 {
			t.Errorf("after %d requests: %d (%.6f), want %d (%.6f)", i+1, l.Reserve(), got, tt.want, tt.continuous)
		}
	}
}

// costs draws what requests come to: mostly short answers, now and then a long one.
func costs(n int) []float64 {
	r := rand.New(rand.NewPCG(1, 2))
	all := make([]float64, n)
	for i := range all {
		all[i] = math.Floor(min(1000, r.ExpFloat64()*150))
	}
	return all
}

// TestRegret: the loss stays within the bound of that of the best fixed reservation,
// and per request comes close to it.
func TestRegret(t *testing.T) {
	for _, n := range []int{100, 1600, 6400} {
		l, err := New(DefaultConfig(prices, 0, 1000))
		if err != nil {
			t.Fatal(err)
		}
		all := costs(n)
		sorted := slices.Sorted(slices.Values(all))
		best := sorted[n*4/5] // the p/(h+p) quantile
		ours, fixed := 0.0, 0.0
		for _, c := range all {
			ours += prices.Loss(l.Continuous(), c)
			fixed += prices.Loss(best, c)
			l.Observe(c)
		}
		regret := ours - fixed
		if bound := 1.5 * 1000 * 4 * math.Sqrt(float64(n)); regret > bound {
			t.Errorf("regret after %d requests is %v, above %v", n, regret, bound)
		}
		if n == 6400 && regret/float64(n) > 20 {
			t.Errorf("regret per request is %v after %d", regret/float64(n), n)
		}
	}
}

func predictive(tb testing.TB) *Predictive {
	p, err := NewPredictive(DefaultConfig(prices, 0, 1000))
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// TestPredictive: what the first steps come to, worked out from the formulas.
func TestPredictive(t *testing.T) {
	p := predictive(t)
	// Both weigh ½: follow plays 100, robust 500.
	if got := p.Reserve(100); got != 300 || p.Trust() != 0.5 {
		t.Errorf("first: %d with trust %v, want 300 with 0.5", got, p.Trust())
	}
	p.Observe(100) // robust held 400 for nothing, follow none: weights 1 and e^−4
	if got, want := p.Trust(), 1/(1+math.Exp(-4)); got != want {
		t.Errorf("trust is %v, want %v", got, want)
	}
	want := whole(p.Trust()*120.25 + (1-p.Trust())*250) // follow is not rounded
	if got := p.Reserve(120.25); got != want {
		t.Errorf("second: %d, want %d", got, want)
	}
	if got := p.Reserve(math.NaN()); got != 250 {
		t.Errorf("without a prediction: %d, want what the learner plays", got)
	}
}

// TestPredictiveOutcomes: exact predictions cost next to nothing, adversarial ones
// no more than the learner; following those blindly costs much more.
func TestPredictiveOutcomes(t *testing.T) {
	for _, tt := range []struct {
		name      string
		predict   func(c float64) float64
		most      float64 // times the learner's loss
		blindMore float64 // than ours, times
	}{
		{"exact", func(c float64) float64 { return c }, 0.02, 0},
		{"adversarial", func(c float64) float64 { return 1000 - c }, 1.02, 1.5},
	} {
		p, l := predictive(t), predictive(t).learner
		var ours, learner, blind float64
		for _, c := range costs(3000) {
			ours += prices.Loss(float64(p.Reserve(tt.predict(c))), c)
			learner += prices.Loss(float64(l.Reserve()), c)
			blind += prices.Loss(tt.predict(c), c)
			p.Observe(c)
			l.Observe(c)
		}
		if ours > tt.most*learner || blind < tt.blindMore*ours {
			t.Errorf("%s: costs %v, the learner %v, following blindly %v", tt.name, ours, learner, blind)
		}
	}
}

// TestReservationsStayInBounds: whatever is fed.
func TestReservationsStayInBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := DefaultConfig(Prices{Hold: rapid.Float64Range(1e-9, 1e9).Draw(t, "h"), Overrun: rapid.Float64Range(1e-9, 1e9).Draw(t, "p")}, 0, 1)
		c.Min = rapid.Float64Range(0, 1e6).Draw(t, "min")
		c.Max = rapid.Float64Range(max(c.Min, 1), MaxCost).Draw(t, "max")
		c.Initial = rapid.Float64().Draw(t, "initial")
		c.Step = rapid.Float64Range(1e-9, 1e16).Draw(t, "step")
		p, err := NewPredictive(c)
		if err != nil {
			t.Fatal(err)
		}
		within := func(what string, n int64) {
			if float64(n) < math.Floor(c.Min+0.5) || float64(n) > math.Floor(c.Max+0.5) {
				t.Fatalf("%s is %d, outside [%v, %v]", what, n, c.Min, c.Max)
			}
		}
		for range 20 {
			within("the reservation", p.Reserve(rapid.Float64().Draw(t, "prediction")))
			within("the learner's", p.learner.Reserve())
			p.Observe(rapid.Float64().Draw(t, "cost"))
			if w := p.Trust(); !(w >= 0 && w <= 1) {
				t.Fatalf("trust is %v", w)
			}
		}
	})
}

func TestValidate(t *testing.T) {
	nan := math.NaN()
	c := Config{Prices: Prices{Hold: nan, Overrun: 0}, Min: -1, Max: math.Inf(1), Initial: nan, Step: nan}
	_, err := New(c)
	if err == nil {
		t.Fatal("New accepts nonsense")
	}
	for _, name := range []string{"hold cost", "overrun cost", "step", "largest reservation", "least reservation", "initial reservation"} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("no word about %s in: %v", name, err)
		}
	}
	if _, err := NewPredictive(c); err == nil {
		t.Error("NewPredictive accepts nonsense")
	}
}

func ExampleLearner() {
	l, err := New(DefaultConfig(Prices{Hold: 1, Overrun: 4}, 0, 1000))
	if err != nil {
		panic(err)
	}
	left := int64(5000) // of the meter
	for _, cost := range []int64{120, 80, 100, 900, 110, 90} {
		if r := l.Reserve(); r > left {
			fmt.Println("refused:", r, "may be needed and", left, "are left")
			break
		}
		left -= cost // debited while the answer is written
		l.Observe(float64(cost))
	}
	fmt.Println("next:", l.Reserve())
	// Output: next: 786
}
