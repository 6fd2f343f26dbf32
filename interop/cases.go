package main

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
)

// A testCase is calls in their order, with what must come of them. A client runs it
// with keys of its own, so that every pass begins with nothing used.
type testCase struct {
	Name string `json:"name"`
	// Local: replies depend on what one node holds or has seen, so they are as wanted
	// only while the client stays with a node that runs for a while.
	Local bool `json:"local"`
	// Slots: the case takes slots, which all passes of a client share.
	Slots bool `json:"slots"`
	// Within is how long a pass may take, in ms, before slots end in its middle; 0 is
	// any time.
	Within int64  `json:"within"`
	Steps  []step `json:"steps"`
}

// A step is one call. Of the keys that are not bare a client makes its own.
type step struct {
	Index   int      `json:"index"`
	Op      string   `json:"op"`
	Policy  string   `json:"policy"`
	Key     string   `json:"key"`
	Bare    bool     `json:"bare"`
	Keys    []string `json:"keys"`
	Cost    int64    `json:"cost"`
	Wants   int64    `json:"wants"`
	Axis    string   `json:"axis"`
	Of      []int    `json:"of"`     // steps whose slots are meant
	Window  int64    `json:"window"` // of await: whose next one is waited for, in ms; else for the end of slots
	IDs     []string `json:"ids"`    // more slots
	Dropped bool     `json:"dropped"`
	At      string   `json:"at"`     // "guarded": the node that wants secrets
	Secret  string   `json:"secret"` // to show there: "", "right" or "wrong"
	Want    *want    `json:"want,omitempty"`
}

//go:embed cases.json
var casesFile []byte

// casesFor returns the table for one client, which cannot do some operations.
func casesFor(client string, lacks []string) ([]testCase, error) {
	var all []testCase
	text := strings.ReplaceAll(string(casesFile), "{client}", client)
	if err := strict([]byte(text), &all); err != nil {
		return nil, fmt.Errorf("cases.json: %w", err)
	}
	for i := range all {
		steps := all[i].Steps
		for s := range steps {
			steps[s].Index = s
		}
		all[i].Steps = slices.DeleteFunc(steps, func(s step) bool { return slices.Contains(lacks, s.Op) })
	}
	return all, nil
}

// strict decodes JSON and refuses what has no place in v.
func strict(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one value")
	}
	return nil
}

// An outage is the death of a leader, by CLOCK_MONOTONIC.
type outage struct {
	begin int64 // when it was killed
	end   int64 // when there was another one
	back  int64 // when it served again; the far future until it does
}

// never is later than every instant.
const never = math.MaxInt64 / 2

const (
	// slotTime is how long a slot outlives its client, with some time for the sweep, in
	// ns: slots may be held that a client does not know of.
	slotTime = 3_000_000_000
	// warmTime is how long a node that came back is left alone before it is judged by
	// itself, in ns: it reads its log first.
	warmTime = 3_000_000_000
)

// errInterrupted: the cluster did not answer some call, so what followed is not what
// the case is about.
var errInterrupted = errors.New("interrupted")

// judgePass judges the calls of one pass, in their order. Beside an error that says
// what is wrong it returns errUnsettled or errInterrupted.
func (tc *testCase) judgePass(calls []*call, outages []outage) error {
	j := &judge{calls: make([]*call, tc.size())}
	for _, c := range calls {
		j.calls[c.Step] = c
	}
	if err := tc.disturbed(calls, outages); err != nil {
		return err
	}
	for i := range tc.Steps {
		s := &tc.Steps[i]
		c := j.calls[s.Index]
		switch {
		case s.Want == nil:
			if c != nil && c.interrupted() {
				return errInterrupted
			}
			continue
		case c == nil:
			return fmt.Errorf("step %d, %s: it was not called", s.Index, s.Op)
		}
		if err := tc.sameWindow(j, i); err != nil {
			return err
		}
		err := j.match(c, s.Want)
		switch {
		case err == nil:
		case errors.Is(err, errUnsettled):
			return err
		case c.interrupted():
			return errInterrupted
		default:
			return fmt.Errorf("step %d, %s: %w", s.Index, s.describe(), err)
		}
	}
	return nil
}

// size is one more than the largest index of a step.
func (tc *testCase) size() int {
	n := 0
	for _, s := range tc.Steps {
		n = max(n, s.Index+1)
	}
	return n
}

func (s *step) describe() string {
	return strings.TrimSpace(strings.Join([]string{s.Op, s.Policy}, " "))
}

// disturbed reports what keeps a pass from meaning anything as a whole.
func (tc *testCase) disturbed(calls []*call, outages []outage) error {
	if len(calls) == 0 {
		return nil
	}
	begin, end := calls[0].Begin, calls[len(calls)-1].End
	if tc.Within > 0 && end-begin > tc.Within*1e6 {
		return errUnsettled
	}
	for _, o := range outages {
		var after int64
		if tc.Slots {
			after = o.end + slotTime
		}
		if tc.Local {
			after = max(after, o.back+warmTime)
		}
		if begin <= after && end >= o.begin {
			return errInterrupted
		}
	}
	return nil
}

// sameWindow returns errUnsettled if a window of the i-th step did not last since
// the step before, unless that waited for its end.
func (tc *testCase) sameWindow(j *judge, i int) error {
	at := tc.Steps[i].Want.Reset
	if at == nil || at.Window == 0 || i == 0 || tc.Steps[i-1].Op == "await" {
		return nil
	}
	before := tc.Steps[i-1]
	c := j.calls[before.Index]
	if c == nil || before.Want == nil || before.Want.Reset == nil || before.Want.Reset.Window != at.Window {
		return nil
	}
	behind, ahead := at.reach()
	if at.end(c.Wall[0]-behind) != at.end(j.calls[tc.Steps[i].Index].Wall[1]+ahead) {
		return errUnsettled
	}
	return nil
}
