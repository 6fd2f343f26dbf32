package bench

import (
	"slices"
	"time"
)

// A sample is one measurement of a load.
type sample struct {
	ops       int
	took      time.Duration
	latencies []time.Duration
	cpu       time.Duration // of the server processes
}

func (s *sample) rate() float64 { return float64(s.ops) / s.took.Seconds() }

// cpuPerOp is in microseconds.
func (s *sample) cpuPerOp() float64 {
	return float64(s.cpu.Microseconds()) / float64(max(1, s.ops))
}

// row reports the sample, with per grants in each operation.
func (s *sample) row(name, unit string, per int, note string) Row {
	return Row{
		Name: name, Value: s.rate() * float64(per), Unit: unit, Note: note, Samples: s.ops,
		P50: ms(quantile(s.latencies, 0.50)), P99: ms(quantile(s.latencies, 0.99)),
		CPU: s.cpuPerOp() / float64(per),
	}
}

// middle returns the sample with the median rate.
func middle(s []sample) *sample {
	s = slices.Clone(s)
	slices.SortFunc(s, func(a, b sample) int { return int(a.rate() - b.rate()) })
	return &s[len(s)/2]
}

// quantile returns the nearest-rank quantile of unsorted durations.
func quantile(d []time.Duration, q float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	d = slices.Clone(d)
	slices.Sort(d)
	return d[min(len(d)-1, int(q*float64(len(d))))]
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
