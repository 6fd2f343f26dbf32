package check

import (
	"time"

	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/jepsen/history"
)

// clocks checks I7: that stamps never run back, that windows end and ttls last
// as the books say, and Lemma 1 on the run's own dates.
//
// The lemma bounds how far the cluster clock moves between two stamps by the
// time between their makings. Those are not recorded, but bounded: stamp i was
// made after every exchange in its entry was sent, at Sᵢ, and stamp j before its
// entry was appended, at Aⱼ. So without a step between them
//
//	cⱼ − cᵢ < (1+σ)(1+ρ)(Aⱼ − Sᵢ) + 1 ms,
//
// or a stamp was made before its batch was sealed, or by a clock that nobody
// vouched for. Steps are taken out by subtracting what they added.
func clocks(x *Case, p *problems) {
	p.take(x.Story.skews)
	p.take(x.Story.books.clock)
	sent := x.lastSent()
	l := newLemma(x.Story.Settings.Rates)
	slack := float64(placeWithin + x.Wall.Bend())
	var jumped clock.Millis
	var tightest float64
	pairs, steps := 0, 0
	for i := range x.Story.Steps {
		s := &x.Story.Steps[i]
		if i > 0 && x.Story.bridgedBetween(x.Story.Steps[i-1].Index, s.Index) {
			l, jumped = newLemma(x.Story.Settings.Rates), 0 // steps in the gap are not known
		}
		c := s.Now - jumped
		if over, from, ok := l.exceeds(c, s.At); ok {
			pairs++
			if pairs == 1 || over > tightest {
				tightest = over
			}
			if over > slack {
				p.add(Problem{At: s.At, Index: s.Index},
					"the cluster clock moved from %d at entry %d, which was sent at %v, to %d at entry %d, which was appended %v later: %v more than Lemma 1 allows",
					from.clock+jumped, from.index, from.sent, s.Now, s.Index, s.At.Sub(from.sent), time.Duration(over))
			}
		}
		if at, ok := sent[s.Index]; ok {
			l.add(c, at, s.Index)
		}
		if s.Jump != 0 {
			steps++
			jumped += s.Jump
		}
	}
	x.clientClocks(p)
	p.stat("stamps compared", "%d", pairs)
	p.stat("steps of the clock", "%d", steps)
	if pairs > 0 {
		p.stat("closest to the bound", "%v below it", time.Duration(-tightest).Round(time.Microsecond))
	}
}

// lastSent returns when the last of the exchanges of each entry was sent, as far
// as they were acknowledged: which of several attempts the entry holds is known
// only then.
func (x *Case) lastSent() map[uint64]history.Time {
	sent := make(map[uint64]history.Time)
	for o, e := range x.effectOf {
		if o.Outcome == history.OK {
			sent[e.index] = max(sent[e.index], o.At)
		}
	}
	return sent
}

func (s *Story) bridgedBetween(a, b uint64) bool {
	for _, g := range s.Bridged {
		if a < g.From && g.From < b {
			return true
		}
	}
	return false
}

// A lemma holds the earlier end of the tightest pair seen so far.
type lemma struct {
	rate  float64 // (1+σ)(1+ρ)
	least float64
	from  sending
	any   bool
}

// A sending is the earlier end of a pair.
type sending struct {
	clock clock.Millis
	sent  history.Time
	index uint64
}

func newLemma(r clock.Rates) *lemma {
	return &lemma{rate: (1 + float64(r.Slew)/1e6) * (1 + float64(r.Drift)/1e6)}
}

// add makes an entry the earlier end of pairs to come.
func (l *lemma) add(c clock.Millis, sent history.Time, index uint64) {
	y := l.place(c, sent)
	if !l.any || y < l.least {
		l.any, l.least, l.from = true, y, sending{c, sent, index}
	}
}

// exceeds returns by how many nanoseconds the stamp c of an entry that was
// appended at some time is beyond what an earlier one allows; negative is
// within.
func (l *lemma) exceeds(c clock.Millis, appended history.Time) (float64, sending, bool) {
	if !l.any {
		return 0, sending{}, false
	}
	return l.place(c, appended) - l.least - clock.NanosPerMilli, l.from, true
}

// place is c − (1+σ)(1+ρ)t in nanoseconds. Both are below 2^61, and a double
// holds their difference to within a microsecond.
func (l *lemma) place(c clock.Millis, t history.Time) float64 {
	return float64(c)*clock.NanosPerMilli - l.rate*float64(t)
}

// clientClocks checks the clocks of replies, which follow the log: an exchange
// that was answered before another was sent has no later clock and comes before
// it in the log.
func (x *Case) clientClocks(p *problems) {
	for _, c := range x.History {
		newest := make(map[int]*history.Op) // by lane
		for i := range c.Ops {
			o := &c.Ops[i]
			if o.Kind != history.KindExchange || o.Outcome != history.OK {
				continue
			}
			if before := newest[o.Lane]; before != nil && (o.Reply.Clock < before.Reply.Clock || o.Reply.Index <= before.Reply.Index) {
				p.add(place(o), "the reply of operation %d has clock %d and index %d, the one before had %d and %d",
					o.Op, o.Reply.Clock, o.Reply.Index, before.Reply.Clock, before.Reply.Index)
			}
			newest[o.Lane] = o
		}
	}
}
