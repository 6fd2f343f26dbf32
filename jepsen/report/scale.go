package report

import (
	"math"
	"strconv"
)

// A scale places values between the bottom and the top of a chart.
type scale struct {
	log         bool
	least, most float64
	top, bottom float64
	ticks       []float64
}

// leastLog is the bottom of a logarithmic scale.
const leastLog = 0.1

func newScale(c chart, top, bottom float64) scale {
	s := scale{log: c.log, top: top, bottom: bottom}
	for _, k := range c.curves {
		for _, v := range k.values {
			if !math.IsNaN(v) {
				s.most = max(s.most, v)
			}
		}
	}
	if s.log {
		s.least, s.most = leastLog, math.Pow(10, math.Ceil(math.Log10(max(s.most, 10*leastLog))))
		for v := s.least; v <= s.most*1.01; v *= 10 {
			s.ticks = append(s.ticks, v)
		}
		return s
	}
	step := niceStep(max(s.most, 1) / 3)
	s.most = step * math.Ceil(max(s.most, 1)/step)
	for i := 0; float64(i)*step <= s.most*1.01; i++ {
		s.ticks = append(s.ticks, float64(i)*step)
	}
	return s
}

func (s scale) y(v float64) float64 {
	share := v / s.most
	if s.log {
		share = (math.Log10(max(v, s.least)) - math.Log10(s.least)) / (math.Log10(s.most) - math.Log10(s.least))
	}
	return s.bottom - share*(s.bottom-s.top)
}

// niceStep returns the smallest of 1, 2 and 5 times a power of ten that is at
// least v.
func niceStep(v float64) float64 {
	if v <= 0 {
		return 1
	}
	base := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 5} {
		if m*base >= v*(1-1e-9) {
			return m * base
		}
	}
	return 10 * base
}

// short writes a value for an axis.
func short(v float64) string {
	switch {
	case v >= 1e6:
		return strconv.FormatFloat(v/1e6, 'g', 3, 64) + "M"
	case v >= 1e4:
		return strconv.FormatFloat(v/1e3, 'g', 3, 64) + "k"
	}
	return strconv.FormatFloat(v, 'g', 4, 64)
}
