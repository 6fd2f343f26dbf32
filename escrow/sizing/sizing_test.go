package sizing

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

var costs = Costs{Order: 20, Strand: 1}

func learner(tb testing.TB, change func(*Config)) *Learner {
	tb.Helper()
	c := DefaultConfig(costs, 1, 1_000_000)
	if change != nil {
		change(&c)
	}
	l, err := New(c)
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

// TestVectors: the sequence of the ThrottleKit contract for c=20, h=1 and a demand
// of 100 in each window.
func TestVectors(t *testing.T) {
	l := learner(t, nil)
	for i, want := range []struct {
		size       int64
		continuous float64
	}{
		{3, 2.718282}, {4, 3.837311}, {5, 4.862812}, {6, 5.841199}, {7, 6.789753}, {8, 7.716939},
		{9, 8.627528}, {10, 9.524445}, {10, 10.409584}, {11, 11.284218}, {12, 12.149218}, {13, 13.005188},
	} {
		l.Observe(100)
		if got := l.Continuous(); l.Size() != want.size || math.Abs(got-want.continuous) > 5e-7 {
			t.Errorf("after %d windows: %d (%.6f), want %d (%.6f)", i+1, l.Size(), got, want.size, want.continuous)
		}
	}
}

// A trace is the demand that the contract's evaluation uses: a 32-bit generator,
// normal values from twelve uniform ones.
type trace struct{ a uint32 }

func (r *trace) uniform() float64 {
	r.a += 0x6D2B79F5
	t := r.a
	t = (t ^ t>>15) * (1 | t)
	t = (t + (t^t>>7)*(61|t)) ^ t
	return float64(t^t>>14) / (1 << 32)
}

func (r *trace) demand(mean, cv float64) float64 {
	z := -6.0
	for range 12 {
		z += r.uniform()
	}
	return max(0, math.Floor(float64(mean*(1+float64(cv*z)))+0.5))
}

func stationary(n int) []float64 {
	r := &trace{7}
	ds := make([]float64, n)
	for i := range ds {
		ds[i] = r.demand(100, 0.3)
	}
	return ds
}

func TestTrace(t *testing.T) {
	if got := fmt.Sprint(stationary(12)); got != "[72 82 133 67 64 176 152 103 152 131 130 32]" {
		t.Errorf("the trace begins %v", got)
	}
}

// evaluate is the cost by which the contract's evaluation compares sizes: what
// whole leases cost, and what they leave over.
func evaluate(b, d float64) float64 {
	leases := math.Ceil(d / b)
	return leases*costs.Order + (leases*b-d)*costs.Strand
}

func bestFixed(ds []float64) float64 {
	least := math.Inf(1)
	for b := 1.0; b <= 200; b++ {
		sum := 0.0
		for _, d := range ds {
			sum += evaluate(b, d)
		}
		least = min(least, sum)
	}
	return least
}

func TestStationary(t *testing.T) {
	for _, tt := range []struct{ step, want float64 }{{1, 62.128827}, {math.Log(1000), 62.595687}} {
		l := learner(t, func(c *Config) { c.Max, c.Step = 1000, tt.step })
		for _, d := range stationary(6400) {
			l.Observe(d)
		}
		if got := l.Continuous(); math.Abs(got-tt.want) > 5e-7 {
			t.Errorf("step %v: %.6f after 6400 windows, want %.6f", tt.step, got, tt.want)
		}
	}
}

// TestRegret: the average regret against the best fixed size falls as published.
func TestRegret(t *testing.T) {
	for _, tt := range []struct {
		n    int
		want float64
	}{{100, 51.8}, {400, 12.9}, {1600, 3.25}, {6400, 0.693}} {
		l := learner(t, func(c *Config) { c.Max = 1000 })
		ds, sum := stationary(tt.n), 0.0
		for _, d := range ds {
			sum += evaluate(float64(l.Size()), d)
			l.Observe(d)
		}
		if got := (sum - bestFixed(ds)) / float64(tt.n); math.Abs(got-tt.want) > 0.005*tt.want {
			t.Errorf("regret after %d windows is %.3f, want %v", tt.n, got, tt.want)
		}
	}
}

// TestPredictive: the sequence of the contract for perfect predictions.
func TestPredictive(t *testing.T) {
	p := predictive(t)
	for i, tt := range []struct {
		demand float64
		want   int64
	}{{100, 32}, {100, 63}, {100, 63}, {100, 63}, {400, 126}, {400, 126}} {
		if got := p.Size(tt.demand); got != tt.want {
			t.Errorf("window %d: size %d, want %d", i, got, tt.want)
		}
		p.Observe(tt.demand)
		if i > 0 && p.Trust() <= 0.999999 {
			t.Errorf("window %d: trust is %v", i, p.Trust())
		}
	}
}

func predictive(tb testing.TB) *Predictive {
	p, err := NewPredictive(DefaultConfig(costs, 1, 1000))
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// TestPredictiveOutcomes: good predictions cost what knowing the demand does, bad
// ones what the learner does; following them blindly costs much more.
func TestPredictiveOutcomes(t *testing.T) {
	for _, tt := range []struct {
		name    string
		predict func(d float64) float64
		than    string // what it must be no worse than, within 1 %
	}{
		{"perfect", func(d float64) float64 { return d }, "clairvoyant"},
		{"adversarial", func(d float64) float64 { return 20_000 - d }, "learner"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, l := predictive(t), learner(t, func(c *Config) { c.Max = 1000 })
			cost := map[string]float64{}
			for _, d := range stationary(3000) {
				cost["ours"] += costs.Of(float64(p.Size(tt.predict(d))), d)
				cost["learner"] += costs.Of(float64(l.Size()), d)
				cost["clairvoyant"] += costs.Of(math.Floor(costs.Best(d)+0.5), d)
				cost["blind"] += costs.Of(math.Floor(costs.Best(tt.predict(d))+0.5), d)
				p.Observe(d)
				l.Observe(d)
			}
			if ours, bound := cost["ours"], cost[tt.than]; ours > 1.01*bound {
				t.Errorf("costs %v, %s %v", ours, tt.than, bound)
			}
			if tt.name == "adversarial" && cost["ours"] > 0.7*cost["blind"] {
				t.Errorf("costs %v, following blindly %v", cost["ours"], cost["blind"])
			}
		})
	}
}

// TestSizesStayInBounds: whatever is fed.
func TestSizesStayInBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := DefaultConfig(Costs{Order: rapid.Float64Range(1e-9, 1e9).Draw(t, "c"), Strand: rapid.Float64Range(1e-9, 1e9).Draw(t, "h")}, 1, 1)
		c.Min = rapid.Float64Range(1, 1e6).Draw(t, "min")
		c.Max = rapid.Float64Range(c.Min, MaxSize).Draw(t, "max")
		c.Initial = rapid.Float64().Draw(t, "initial")
		c.Step = rapid.Float64Range(1e-9, 1e9).Draw(t, "step")
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
			within("size", p.Size(rapid.Float64().Draw(t, "prediction")))
			within("the learner's size", p.learner.Size())
			p.Observe(rapid.Float64().Draw(t, "demand"))
			if w := p.Trust(); !(w >= 0 && w <= 1) {
				t.Fatalf("trust is %v", w)
			}
		}
	})
}

func TestValidate(t *testing.T) {
	nan := math.NaN()
	c := Config{Costs: Costs{Order: nan, Strand: -1}, Min: 0, Max: nan, Initial: nan, Step: 0, Epsilon: math.Inf(1)}
	_, err := New(c)
	if err == nil {
		t.Fatal("New accepts nonsense")
	}
	for _, name := range []string{"order cost", "strand penalty", "least size", "largest size", "initial size", "step", "epsilon"} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("no word about %s in: %v", name, err)
		}
	}
	if _, err := NewPredictive(c); err == nil {
		t.Error("NewPredictive accepts nonsense")
	}
}

func ExampleLearner() {
	l, err := New(DefaultConfig(Costs{Order: 20, Strand: 1}, 1, 1000))
	if err != nil {
		panic(err)
	}
	for range 200 {
		l.Observe(100) // units in each window
	}
	fmt.Println(l.Size(), "credits a lease; the best would be", math.Round(costs.Best(100)))
	// Output: 63 credits a lease; the best would be 63
}
