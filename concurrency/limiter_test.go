package concurrency

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestPublishedVector: gradient2 with the defaults, as the contract's reference
// has it.
func TestPublishedVector(t *testing.T) {
	l := New(DefaultConfig())
	if l.Ceiling() != 4 || l.LastRTT() != 0 {
		t.Fatalf("a new limiter has ceiling %d, last rtt %d; want 4, 0", l.Ceiling(), l.LastRTT())
	}
	for i, s := range []struct {
		rtt       Millis
		atAcquire int64
		dropped   bool
		want      string
	}{
		{10, 2, false, "4.400000"},
		{10, 4, false, "4.819524"},
		{10, 4, false, "5.258592"},
		{10, 1, false, "5.258592"}, // under-used
		{40, 4, false, "5.191365"},
		{40, 4, true, "5.127920"},
		{15, 4, false, "5.580818"},
	} {
		l.Observe(s.rtt, s.atAcquire, s.dropped)
		if got := fmt.Sprintf("%.6f", l.estimate); got != s.want || l.LastRTT() != s.rtt {
			t.Errorf("after sample %d: estimate %s, want %s", i, got, s.want)
		}
	}
}

// TestLaws: one sample at a time, from an estimate of 20 and a lowest round trip
// of 10 ms.
func TestLaws(t *testing.T) {
	config := func(a Algorithm) Config {
		c := DefaultConfig()
		c.Algorithm, c.InitialLimit, c.MinLimit, c.MaxLimit, c.Smoothing = a, 20, 15, 21, 1
		return c
	}
	for _, tc := range []struct {
		name      string
		algorithm Algorithm
		rtt       Millis
		atAcquire int64
		dropped   bool
		want      float64
	}{
		{"grows by the root, up to the maximum", Gradient2, 20, 10, false, 21},
		{"a slow one shrinks", Gradient2, 25, 10, false, 20*(20.0/25) + math.Sqrt(20)},
		{"by half at most, down to the minimum", Gradient2, 1000, 10, false, 15},
		{"dropped and under-used shrinks", Gradient2, 10, 1, true, 15},
		{"under-used teaches nothing", Gradient2, 1000, 9, false, 20},
		{"no time at all is no load", Gradient2, 0, 20, false, 21},
		{"a negative time is none", Gradient2, -5, 20, false, 21},
		{"aimd grows by one", AIMD, 20, 10, false, 21},
		{"aimd under-used", AIMD, 20, 9, false, 20},
		{"aimd slow and under-used", AIMD, 21, 1, false, 18},
		{"aimd dropped", AIMD, 1, 1, true, 18},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := config(tc.algorithm)
			l := New(c)
			l.low.push(10, c.RTTWindow)
			l.Observe(tc.rtt, tc.atAcquire, tc.dropped)
			if l.estimate != tc.want || l.Ceiling() != int64(tc.want) {
				t.Errorf("estimate %v, ceiling %d; want %v", l.estimate, l.Ceiling(), tc.want)
			}
		})
	}
}

// TestWindowForgets: the lowest round trip counts for RTTWindow samples.
func TestWindowForgets(t *testing.T) {
	var w lowest
	for i, rtt := range []Millis{5, 9, 8, 9, 9} {
		if got, want := w.push(rtt, 3), []Millis{5, 5, 5, 8, 8}[i]; got != want {
			t.Errorf("after sample %d: lowest %d, want %d", i, got, want)
		}
	}
	if got := w.push(9, 1); got != 9 || w.n != 1 {
		t.Errorf("of one sample: lowest %d of %d", got, w.n)
	}
}

// A dumb is the limiter as the contract writes it down.
type dumb struct {
	c   Config
	est float64
	all []Millis
}

func (d *dumb) observe(rtt Millis, atAcquire int64, dropped bool) {
	d.all = append(d.all, rtt)
	noload := float64(slices.Min(d.all[max(0, len(d.all)-d.c.RTTWindow):]))
	if d.c.Algorithm == AIMD {
		if dropped || float64(rtt) > d.c.Tolerance*noload {
			d.est = math.Max(float64(d.c.MinLimit), math.Floor(d.est*d.c.BackoffRatio))
		} else if float64(atAcquire)*2 >= d.est {
			d.est = math.Min(float64(d.c.MaxLimit), d.est+1)
		}
		return
	}
	g := 0.5
	if !dropped {
		g = 1
		if rtt > 0 {
			g = math.Min(1, math.Max(0.5, d.c.Tolerance*noload/float64(rtt)))
		}
		if float64(atAcquire)*2 < d.est {
			return
		}
	}
	grown := float64(d.est*g) + math.Sqrt(d.est)
	d.est = float64((1-d.c.Smoothing)*d.est) + float64(d.c.Smoothing*grown)
	d.est = math.Min(float64(d.c.MaxLimit), math.Max(float64(d.c.MinLimit), d.est))
}

func drawConfig(t *rapid.T) Config {
	c := Config{MinLimit: rapid.IntRange(1, 20).Draw(t, "min")}
	c.MaxLimit = rapid.IntRange(c.MinLimit, 600).Draw(t, "max")
	c.InitialLimit = rapid.IntRange(c.MinLimit, c.MaxLimit).Draw(t, "initial")
	c.Algorithm = rapid.SampledFrom([]Algorithm{Gradient2, AIMD}).Draw(t, "algorithm")
	c.RTTWindow = rapid.IntRange(1, 12).Draw(t, "window")
	c.Smoothing = rapid.SampledFrom([]float64{0.2, 1, 1e-3, 0.37}).Draw(t, "smoothing")
	c.Tolerance = rapid.SampledFrom([]float64{2, 1, 1.7, 1e300}).Draw(t, "tolerance")
	c.BackoffRatio = rapid.SampledFrom([]float64{0.9, 0.5, 0.999}).Draw(t, "backoff")
	return c
}

// TestLimiter: it is the dumb one bit for bit, through other parameters, copies
// and encodings.
func TestLimiter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawConfig(t)
		if err := c.Validate(); err != nil {
			t.Fatal(err)
		}
		l := New(c)
		d := &dumb{c: c, est: float64(c.InitialLimit)}
		t.Repeat(map[string]func(*rapid.T){
			"observe": func(t *rapid.T) {
				rtt := Millis(rapid.IntRange(0, 30).Draw(t, "rtt"))
				at := rapid.Int64Range(1, 2*l.Ceiling()).Draw(t, "atAcquire")
				dropped := rapid.IntRange(0, 4).Draw(t, "dropped") == 0
				l.Observe(rtt, at, dropped)
				d.observe(rtt, at, dropped)
				if l.low.n > l.cfg.RTTWindow {
					t.Fatalf("%d samples are kept of a window of %d", l.low.n, l.cfg.RTTWindow)
				}
			},
			"reconfigure": func(t *rapid.T) {
				// A window that was shortened does not get samples back.
				d.all = d.all[max(0, len(d.all)-d.c.RTTWindow):]
				d.c = drawConfig(t)
				d.c.RTTWindow = min(d.c.RTTWindow, l.cfg.RTTWindow)
				d.est = math.Min(float64(d.c.MaxLimit), math.Max(float64(d.c.MinLimit), d.est))
				l.Reconfigure(d.c)
			},
			"clone": func(*rapid.T) {
				old := l
				l = l.Clone()
				old.Observe(1, 1, true)
				old.Observe(0, 1, false)
			},
			"decode": func(t *rapid.T) {
				b := l.Append([]byte("x"))
				back, rest, err := Decode(l.cfg, append(b[1:], "rest"...))
				if err != nil || string(rest) != "rest" || string(back.Append([]byte("x"))) != string(b) {
					t.Fatalf("Decode(%x) = %+v, %q, %v", b, back, rest, err)
				}
				l = back
			},
			"": func(t *rapid.T) {
				if math.Float64bits(l.estimate) != math.Float64bits(d.est) || l.Ceiling() != int64(math.Floor(d.est)) {
					t.Fatalf("estimate %v, want %v", l.estimate, d.est)
				}
			},
		})
	})
}

func TestConfigValidate(t *testing.T) {
	for _, tc := range []struct {
		field  string // named in the error, "" for none
		change func(*Config)
	}{
		{"", func(*Config) {}},
		{"", func(c *Config) { c.MinLimit, c.InitialLimit, c.MaxLimit = 1, 1, 1 }},
		{"", func(c *Config) { c.Algorithm, c.Smoothing, c.Tolerance, c.BackoffRatio = AIMD, 1, 1, 0.5 }},
		{"minLimit", func(c *Config) { c.MinLimit = 0 }},
		{"maxLimit", func(c *Config) { c.MaxLimit = 3 }},
		{"maxLimit", func(c *Config) { c.MaxLimit = MaxMaxLimit + 1 }},
		{"initialLimit", func(c *Config) { c.InitialLimit = 3 }},
		{"initialLimit", func(c *Config) { c.InitialLimit = 513 }},
		{"algorithm", func(c *Config) { c.Algorithm = "vegas" }},
		{"rttWindow", func(c *Config) { c.RTTWindow = 0 }},
		{"rttWindow", func(c *Config) { c.RTTWindow = MaxRTTWindow + 1 }},
		{"smoothing", func(c *Config) { c.Smoothing = 0 }},
		{"smoothing", func(c *Config) { c.Smoothing = math.NaN() }},
		{"tolerance", func(c *Config) { c.Tolerance = 0.99 }},
		{"tolerance", func(c *Config) { c.Tolerance = math.Inf(1) }},
		{"tolerance", func(c *Config) { c.Tolerance = math.NaN() }},
		{"backoffRatio", func(c *Config) { c.BackoffRatio = 1 }},
		{"backoffRatio", func(c *Config) { c.BackoffRatio = 0.49 }},
	} {
		c := DefaultConfig()
		tc.change(&c)
		err := c.Validate()
		if tc.field == "" && err != nil || tc.field != "" && (err == nil || !strings.HasPrefix(err.Error(), tc.field+": got ")) {
			t.Errorf("%+v: Validate() = %v, want a problem of %q", c, err, tc.field)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	l := New(DefaultConfig())
	for _, rtt := range []Millis{7, 3, 5} {
		l.Observe(rtt, 4, false)
	}
	whole := l.Append(nil)
	for n := range whole {
		if _, _, err := Decode(DefaultConfig(), whole[:n]); err == nil {
			t.Errorf("%d of %d bytes are decoded", n, len(whole))
		}
	}
	for name, spoil := range map[string]func(*Limiter){
		"an estimate below the minimum":     func(l *Limiter) { l.estimate = 3 },
		"an estimate that is no number":     func(l *Limiter) { l.estimate = math.NaN() },
		"another last sample":               func(l *Limiter) { l.lastRTT = 6 },
		"no samples":                        func(l *Limiter) { l.low.n = 0 },
		"samples that descend":              func(l *Limiter) { l.low.at(0).rtt = 9 },
		"two samples with one number":       func(l *Limiter) { l.low.at(0).seq = 3 },
		"a sample of the year 10000":        func(l *Limiter) { l.low.at(1).rtt, l.lastRTT = 1<<60, 1<<60 },
		"a round trip without any sample":   func(l *Limiter) { l.low = lowest{} },
		"a sample that nobody has numbered": func(l *Limiter) { l.low.at(0).seq = 0 },
	} {
		bad := l.Clone()
		spoil(&bad)
		if got, _, err := Decode(DefaultConfig(), bad.Append(nil)); err == nil {
			t.Errorf("%s: decoded as %+v", name, got)
		}
	}
}

// FuzzDecode: bytes are a limiter, or refused. A limiter goes on.
func FuzzDecode(f *testing.F) {
	l := New(DefaultConfig())
	f.Add(l.Append(nil))
	for _, rtt := range []Millis{9, 3, 4, 5, 300, 301} {
		l.Observe(rtt, 4, rtt == 5)
		f.Add(l.Append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		l, rest, err := Decode(DefaultConfig(), b)
		if err != nil {
			return
		}
		if again := l.Append(nil); string(again)+string(rest) != string(b) {
			t.Fatalf("%x is written as %x", b, again)
		}
		for i := range 10 {
			l.Observe(Millis(i), int64(i), i%3 == 0)
		}
		if c := l.Ceiling(); c < 4 || c > 512 {
			t.Errorf("ceiling %d", c)
		}
	})
}

// BenchmarkObserve: one iteration is one sample; the window is full.
func BenchmarkObserve(b *testing.B) {
	for _, algorithm := range []Algorithm{Gradient2, AIMD} {
		b.Run(string(algorithm), func(b *testing.B) {
			c := DefaultConfig()
			c.Algorithm = algorithm
			l := New(c)
			for i := range 1000 {
				l.Observe(Millis(i%100), 4, false)
			}
			b.ReportAllocs()
			i := Millis(0)
			for b.Loop() {
				l.Observe(i%97+3, l.Ceiling(), i%31 == 0)
				i++
			}
		})
	}
}
