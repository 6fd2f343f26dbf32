package main

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// A verdict is what became of one run of a client.
type verdict struct {
	client, mode, version string

	cases, passed int // of the table and of the client's own features
	passes        int // that mean something
	calls         int
	interrupted   int // calls
	longest       time.Duration
	outage        time.Duration // longest time from a call without an answer to the next with one
	problems      []string
}

// Bounds of what a client may see while leaders are killed. A node waits up to 4 s
// for an answer.
const (
	longestCall   = 6 * time.Second
	longestOutage = 10 * time.Second
)

func (v *verdict) fail(format string, args ...any) {
	if len(v.problems) < 10 {
		v.problems = append(v.problems, fmt.Sprintf(format, args...))
	}
}

// judge looks at everything that a suite told. It must have ended.
func (s *suite) judge(err error, outages []outage) *verdict {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := &verdict{client: s.client.title, mode: s.job.Mode, version: s.version}
	if err != nil {
		v.fail("%v", err)
	}
	for _, c := range s.calls {
		v.calls++
		v.longest = max(v.longest, time.Duration(c.End-c.Begin))
	}
	if v.longest > longestCall {
		v.fail("a call took %v, want at most %v", v.longest, longestCall)
	}
	v.judgeCases(s, outages)
	v.judgeTests(s, outages)
	v.judgeOutage(s)
	return v
}

// passKey tells the passes of a suite apart.
type passKey struct {
	name   string
	number int
}

func (s *suite) passes() map[passKey][]*call {
	by := make(map[passKey][]*call)
	for _, c := range s.calls {
		if c.Case != "" {
			k := passKey{c.Case, c.Pass}
			by[k] = append(by[k], c)
		}
	}
	return by
}

// whole reports whether a pass went through all of its case.
func (tc *testCase) whole(calls []*call) bool {
	return calls[len(calls)-1].Step == tc.Steps[len(tc.Steps)-1].Index
}

// covered reports whether every case and every feature was found right since the
// first outage, or wrong.
func (s *suite) covered(outages []outage) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	since := outages[0].begin
	passes := s.passes()
	done := func(tc *testCase) bool {
		for k, calls := range passes {
			if k.name != tc.Name || calls[0].Begin < since || !tc.whole(calls) {
				continue
			}
			if err := tc.judgePass(calls, outages); !errors.Is(err, errUnsettled) && !errors.Is(err, errInterrupted) {
				return true
			}
		}
		return false
	}
	for i := range s.cases {
		if !done(&s.cases[i]) {
			return false
		}
	}
	right := make(map[string]bool)
	for _, t := range s.tests {
		right[t.Name] = right[t.Name] || !t.Interrupted && t.at > since
	}
	return !slices.Contains(slices.Collect(maps.Values(right)), false)
}

// judgeCases judges every pass through the table. Each case must have been found
// right once, since the first outage if there was one.
func (v *verdict) judgeCases(s *suite, outages []outage) {
	passes := s.passes()
	var since int64
	if len(outages) > 0 {
		since = outages[0].begin
	}
	for i := range s.cases {
		tc := &s.cases[i]
		v.cases++
		settled, wrong := 0, false
		for number := 0; ; number++ {
			calls := passes[passKey{tc.Name, number}]
			if calls == nil {
				break
			}
			if s.job.Mode == failover && !tc.whole(calls) {
				continue // it was told to stop in the middle
			}
			switch err := tc.judgePass(calls, outages); {
			case err == nil:
				v.passes++
				if calls[0].Begin >= since {
					settled++
				}
			case errors.Is(err, errUnsettled), errors.Is(err, errInterrupted):
			default:
				if !wrong { // the others will say the same
					v.fail("%s: %v", tc.Name, err)
				}
				wrong = true
			}
		}
		switch {
		case wrong:
		case settled == 0:
			v.fail("%s: no pass that says anything", tc.Name)
		default:
			v.passed++
		}
	}
	for _, c := range s.calls {
		if c.interrupted() && !deliberate(c) {
			v.interrupted++
		}
	}
}

// deliberate reports whether a call asks for more than any policy can have, which
// every node denies by itself.
func deliberate(c *call) bool { return c.Amount > 1<<53-1 }

// judgeTests judges what the suite checked by itself.
func (v *verdict) judgeTests(s *suite, outages []outage) {
	var since int64
	if len(outages) > 0 {
		since = outages[0].begin
	}
	right, wrong := make(map[string]bool), make(map[string]bool)
	for _, t := range s.tests {
		right[t.Name] = right[t.Name] || t.OK && t.at >= since
		switch {
		case t.OK:
			v.passes++
		case !t.Interrupted:
			wrong[t.Name] = true
			v.fail("%s: %s", t.Name, t.Detail)
		}
	}
	for _, name := range sorted(right) {
		v.cases++
		switch {
		case wrong[name]:
		case right[name]:
			v.passed++
		default:
			v.fail("%s: never to the end", name)
		}
	}
}

// judgeOutage measures how long the client had to do without answers, however often
// it asked.
func (v *verdict) judgeOutage(s *suite) {
	calls := slices.Clone(s.calls)
	slices.SortFunc(calls, func(a, b *call) int { return cmp.Compare(a.Begin, b.Begin) })
	var since int64
	for _, c := range calls {
		switch {
		case deliberate(c):
		case c.interrupted() && since == 0:
			since = c.Begin
		case !c.interrupted() && since != 0:
			v.outage = max(v.outage, time.Duration(c.End-since))
			since = 0
		}
	}
	if v.outage > longestOutage {
		v.fail("no answer for %v, want one within %v", v.outage, longestOutage)
	}
}
