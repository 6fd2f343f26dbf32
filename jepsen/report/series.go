// Package report shows a run: result.json for programs, and one page for people
// that needs nothing but itself.
package report

import (
	"math"
	"slices"
	"time"

	"github.com/tkcoord/tkcoord/jepsen/check"
	"github.com/tkcoord/tkcoord/jepsen/history"
)

// bins is about how many points a line has.
const bins = 160

// series are the curves of a run, in steps of one length.
type series struct {
	from, to history.Time
	step     time.Duration

	admitted, denied []float64 // units and requests per second
	ok, fail, info   []float64 // exchanges per second, by outcome
	p50, p99         []float64 // of acknowledged exchanges, ms; NaN where there were none
	outstanding      []float64 // credits at the end of each step; NaN before the log begins
	leaders          []reign
}

// A reign is a term of the log with entries.
type reign struct {
	term     uint64
	from, to history.Time
}

func newSeries(x *check.Case) *series {
	s := &series{from: x.Phases.Boot, to: max(x.Phases.End, x.Phases.Boot+history.Time(time.Second))}
	s.step = max(50*time.Millisecond, s.to.Sub(s.from)/bins).Round(10 * time.Millisecond)
	n := int(s.to.Sub(s.from)/s.step) + 1
	for _, line := range []*[]float64{&s.admitted, &s.denied, &s.ok, &s.fail, &s.info, &s.p50, &s.p99, &s.outstanding} {
		*line = make([]float64, n)
	}
	s.clients(x)
	s.exchanges(x)
	s.log(x)
	return s
}

// bin returns the step that an instant falls into.
func (s *series) bin(t history.Time) (int, bool) {
	if t < s.from || t > s.to {
		return 0, false
	}
	return int(t.Sub(s.from) / s.step), true
}

func (s *series) clients(x *check.Case) {
	perSecond := float64(time.Second) / float64(s.step)
	for _, c := range x.History {
		for i := range c.Admitted {
			if b, ok := s.bin(c.Admitted[i].First); ok {
				s.admitted[b] += float64(c.Admitted[i].Units) * perSecond
			}
		}
		for i := range c.Denied {
			if b, ok := s.bin(c.Denied[i].First); ok {
				s.denied[b] += float64(c.Denied[i].Times) * perSecond
			}
		}
	}
}

func (s *series) exchanges(x *check.Case) {
	perSecond := float64(time.Second) / float64(s.step)
	took := make([][]float64, len(s.p50))
	for _, o := range x.History.Ops() {
		b, ok := s.bin(o.At)
		if !ok || o.Kind != history.KindExchange {
			continue
		}
		switch o.Outcome {
		case history.OK:
			s.ok[b] += perSecond
			took[b] = append(took[b], float64(o.Ended.Sub(o.At))/float64(time.Millisecond))
		case history.Fail:
			s.fail[b] += perSecond
		default:
			s.info[b] += perSecond
		}
	}
	for b, all := range took {
		s.p50[b], s.p99[b] = math.NaN(), math.NaN()
		if len(all) > 0 {
			slices.Sort(all)
			s.p50[b], s.p99[b] = all[len(all)/2], all[len(all)*99/100]
		}
	}
}

func (s *series) log(x *check.Case) {
	for b := range s.outstanding {
		s.outstanding[b] = math.NaN()
	}
	for i := range x.Story.Steps {
		step := &x.Story.Steps[i]
		if b, ok := s.bin(step.At); ok {
			s.outstanding[b] = float64(step.Out)
		}
		last := len(s.leaders) - 1
		if last < 0 || s.leaders[last].term != step.Term {
			s.leaders = append(s.leaders, reign{step.Term, step.At, step.At})
			last++
		}
		s.leaders[last].to = step.At
	}
	for b := 1; b < len(s.outstanding); b++ { // nothing changes between entries
		if math.IsNaN(s.outstanding[b]) {
			s.outstanding[b] = s.outstanding[b-1]
		}
	}
}
