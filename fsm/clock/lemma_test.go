package clock

import (
	"fmt"
	"strings"
	"testing"
)

// search runs many worlds and returns the first violation.
func search(rates Rates, r rules, seeds uint64, events int) string {
	for seed := range seeds {
		w := newWorld(seed, rates, r)
		if w.run(events); w.broken != "" {
			return fmt.Sprintf("seed %d, rates %+v: %s", seed, rates, w.broken)
		}
	}
	return ""
}

var searched = []Rates{DefaultRates(), {Drift: 300_000, Slew: 300_000}, {Drift: 100_000}, {Slew: 100_000}, {}}

// TestLemmas: no violation on adversarial clocks.
func TestLemmas(t *testing.T) {
	for _, rates := range searched {
		if broken := search(rates, rules{}, 300, 600); broken != "" {
			t.Error(broken)
		}
	}
}

// TestLemmasNeedTheirRules: each rule that is switched off is missed.
func TestLemmasNeedTheirRules(t *testing.T) {
	for name, r := range map[string]rules{
		"a pair noted before the stamp":                {noteBeforeStamp: true},
		"no barrier":                                   {noBarrier: true},
		"a slew that changes the past":                 {naiveSteer: true},
		"no guard":                                     {noGuard: true},
		"the reading is taken after the reply":         {readAfterReply: true},
		"the stamp is read before the batch is sealed": {stampBeforeSeal: true},
		"a stamp of an earlier term that was lost":     {oldStamps: true},
		"no stretch at a step":                         {noStretch: true},
		"no resolution in the ttl":                     {wholeMillisecond: true},
	} {
		t.Run(name, func(t *testing.T) {
			if broken := search(Rates{Drift: 300_000, Slew: 300_000}, r, 2000, 600); broken == "" {
				t.Error("no violation found")
			} else if !strings.Contains(broken, "Lemma") {
				t.Errorf("another violation: %s", broken)
			} else {
				t.Log(broken)
			}
		})
	}
}

// naiveSteer is Steer as it once was: the fraction of a millisecond that has run
// already is counted again at the new rate.
func naiveSteer(s *Source, lag Millis, limit PPM, at Nanos) {
	if !s.leading {
		return
	}
	d := s.elapsed(at)
	whole, rest := d/NanosPerMilli, d%NanosPerMilli
	s.base.now += Millis(whole)
	s.base.at = at - Nanos(mulDiv(int64(rest), million, million+int64(s.slew)))
	s.slew = max(-limit, min(limit, PPM(lag)))
}
