package monitor

import (
	"math"
	"slices"
)

// latencies are the newest samples, in ms.
type latencies struct {
	n  int // recorded so far, at most 2*Samples: then it falls back by Samples
	at [Samples]float64
}

func (l *latencies) add(ms float64) {
	l.at[l.n%Samples] = ms
	if l.n++; l.n == 2*Samples {
		l.n = Samples
	}
}

// all returns the samples in no order, nil if there are none.
func (l *latencies) all() []float64 {
	if l.n == 0 {
		return nil
	}
	return slices.Clone(l.at[:min(l.n, Samples)])
}

// A Latency summarises samples, in ms.
type Latency struct {
	Avg Number `json:"avgMs"`
	P50 Number `json:"p50Ms"`
	P99 Number `json:"p99Ms"`
	Max Number `json:"maxMs"`
	N   int    `json:"n"`
}

// summarise sorts the samples. Percentiles are by nearest rank. Of none it
// reports zeros.
func summarise(samples []float64) Latency {
	n := len(samples)
	if n == 0 {
		return Latency{}
	}
	slices.Sort(samples)
	sum := 0.0
	for _, s := range samples {
		sum += s
	}
	return Latency{
		Avg: Number(sum / float64(n)), P50: Number(rank(samples, 50)), P99: Number(rank(samples, 99)),
		Max: Number(samples[n-1]), N: n,
	}
}

// rank returns the percentile p, above 0 and at most 100, of sorted samples.
func rank(sorted []float64, p float64) float64 {
	return sorted[int(math.Ceil(p*float64(len(sorted))/100))-1]
}
