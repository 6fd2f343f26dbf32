package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// tolerance is how far instants of the cluster's clock may lie from the wall
// clock's reading before and after a call, in ms: the cluster's may lag by a second
// after a failover. For instants that are far away it is more, as steps on a busy
// machine may lie seconds apart; what would be wrong is minutes away.
const (
	tolerance    = 1500
	tolerancePer = 20 // of what is ahead
	toleranceMax = 5000
)

// about returns the tolerance for something that lies n ms ahead.
func about(n int64) int64 { return min(max(tolerance, n/tolerancePer), toleranceMax) }

// An instant is what a field with an instant must be. Beside one of the forms below
// it can be a number, which is what the field must be exactly.
type instant struct {
	Exactly  *int64
	In       *int64 `json:"in"`       // this many ms after the call
	Window   int64  `json:"window"`   // the end of the window of this length that the call is in
	Anchor   int64  `json:"anchor"`   // which begins at this instant modulo its length
	Calendar string `json:"calendar"` // the end of the "day", the "week", which begins on a Sunday, or the "month"
	Offset   int64  `json:"offset"`   // minutes by which the calendar is ahead of UTC
	Step     *int   `json:"step"`     // the reset of another step of the case
	Plus     int64  `json:"plus"`     // ms that are added to the above
}

// UnmarshalJSON implements json.Unmarshaler.
func (i *instant) UnmarshalJSON(b []byte) error {
	if b[0] != '{' {
		return json.Unmarshal(b, &i.Exactly)
	}
	type plain instant
	return strict(b, (*plain)(i))
}

// A span is what a field with a span in ms must be: a number, or one of these.
type span struct {
	Exactly *int64
	In      *int64   `json:"in"`    // about this
	Until   *instant `json:"until"` // what is left until then
	From    int64    `json:"from"`
	To      int64    `json:"to"`
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *span) UnmarshalJSON(b []byte) error {
	if b[0] != '{' {
		return json.Unmarshal(b, &s.Exactly)
	}
	type plain span
	return strict(b, (*plain)(s))
}

// errUnsettled: the call lies too close to the end of a window to say what is
// right.
var errUnsettled = fmt.Errorf("a window ended during the call")

// A judge compares the calls of one pass through a case with what is wanted.
type judge struct {
	calls []*call // by step; nil where nothing was called
}

// ends returns the earliest and the latest value that an instant may have, as seen
// from a call.
func (j *judge) ends(i *instant, c *call) (from, to int64, err error) {
	behind, ahead := i.reach()
	before, after := c.Wall[0]-behind, c.Wall[1]+ahead
	switch {
	case i.Exactly != nil:
		return *i.Exactly, *i.Exactly, nil
	case i.In != nil:
		return before + *i.In, after + *i.In, nil
	case i.Step != nil:
		other := j.calls[*i.Step]
		if other == nil || other.Reply == nil || other.Reply.Decision == nil {
			return 0, 0, fmt.Errorf("step %d has no reset", *i.Step)
		}
		at := other.Reply.Decision.Reset + i.Plus
		return at, at, nil
	}
	from, to = i.end(before), i.end(after)
	if from != to {
		return 0, 0, errUnsettled
	}
	return from + i.Plus, to + i.Plus, nil
}

// reach returns the tolerance for an instant: how much earlier than a call's begin
// and later than its end the cluster's clock may have been. Ahead it is never by much,
// so that short windows can be told apart.
func (i *instant) reach() (behind, ahead int64) {
	switch {
	case i.Window > 0:
		return min(maxLag, i.Window), min(tolerance, i.Window/tolerancePer)
	case i.In != nil:
		return about(*i.In), about(*i.In)
	}
	return tolerance, tolerance
}

// maxLag is how far the cluster's clock may lie behind the wall clock before it is
// stepped, in ms. The suites wait for so long after the begin of a window.
const maxLag = 1100

// end returns the end of the window that an instant lies in.
func (i *instant) end(at int64) int64 {
	if i.Window > 0 {
		return i.Anchor + (floorDiv(at-i.Anchor, i.Window)+1)*i.Window
	}
	t := time.UnixMilli(at + i.Offset*60_000).UTC()
	day := time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC)
	switch i.Calendar {
	case "week":
		day = day.AddDate(0, 0, 7-int(day.Weekday()))
	case "month":
		day = time.Date(t.Year(), t.Month()+1, 1, 0, 0, 0, 0, time.UTC)
	default:
		day = day.AddDate(0, 0, 1)
	}
	return day.UnixMilli() - i.Offset*60_000
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b != 0 && (a < 0) != (b < 0) {
		q--
	}
	return q
}

func (j *judge) instant(name string, got int64, want *instant, c *call) error {
	if want == nil {
		return nil
	}
	from, to, err := j.ends(want, c)
	switch {
	case err != nil:
		return err
	case got < from || got > to:
		return fmt.Errorf("%s = %d, want %s", name, got, between(from, to))
	}
	return nil
}

func (j *judge) span(name string, got int64, want *span, c *call) error {
	if want == nil {
		return nil
	}
	from, to := want.From, want.To
	switch {
	case want.Exactly != nil:
		from, to = *want.Exactly, *want.Exactly
	case want.In != nil:
		from, to = *want.In-about(*want.In)-(c.Wall[1]-c.Wall[0]), *want.In+about(*want.In)
	case want.Until != nil:
		at, _, err := j.ends(want.Until, c)
		if err != nil {
			return err
		}
		from, to = max(1, at-c.Wall[1]-tolerance), at-c.Wall[0]+tolerance
	}
	if got < from || got > to {
		return fmt.Errorf("%s = %d, want %s", name, got, between(from, to))
	}
	return nil
}

func between(from, to int64) string {
	if from == to {
		return fmt.Sprint(from)
	}
	return fmt.Sprintf("%d to %d", from, to)
}

// A want is what a step's reply must be. Fields that are not set may be anything.
type want struct {
	Allowed *bool    `json:"allowed"`
	Limit   *int64   `json:"limit"`
	Left    *int64   `json:"remaining"`
	Reset   *instant `json:"reset"`
	Retry   *span    `json:"retry"`

	All []want `json:"all"`

	Spendable *int64   `json:"spendable"`
	Next      *instant `json:"next"`
	Full      *instant `json:"full"`

	Lease   *bool    `json:"lease"` // whether a slot is held
	Expires *instant `json:"expires"`
	Axis    *string  `json:"axis"`

	Live           *[]int   `json:"live"`           // steps whose slots are held
	ReclaimedSteps []int    `json:"reclaimedSteps"` // and are not
	Reclaimed      []string `json:"reclaimed"`      // names that are of no slot
	Deadline       *instant `json:"deadline"`

	Capacity *int64   `json:"capacity"`
	Expiry   *instant `json:"expiry"`
	Refresh  *span    `json:"refresh"`

	Snapshot *wantSnapshot `json:"snapshot"`
	Event    *wantEvent    `json:"event"`

	Error string `json:"error"` // code
	Text  string `json:"text"`  // which the error's begins with
}

// wantSnapshot is about the policy of the step. Counts are at least these.
type wantSnapshot struct {
	Mode     string `json:"mode"`
	Window   int64  `json:"window"`
	Kind     string `json:"kind"`
	Strategy string `json:"strategy"`
	Limit    int64  `json:"limit"`
	Allowed  int64  `json:"allowed"`
	Denied   int64  `json:"denied"`
}

type wantEvent struct {
	At     *instant `json:"at"`
	Policy string   `json:"policy"`
	Axis   string   `json:"axis"`
	Limit  int64    `json:"limit"`
	Left   int64    `json:"remaining"`
	Retry  *span    `json:"retry"`
}

// match returns nil if a call's reply is what is wanted, errUnsettled if that
// cannot be said, and else what is wrong.
func (j *judge) match(c *call, w *want) error {
	switch {
	case c.Error != nil && w.Error == "":
		return fmt.Errorf("%s: %s", c.Error.Code, c.Error.Text)
	case w.Error != "":
		return matchError(c, w)
	case c.Reply == nil:
		return fmt.Errorf("no reply")
	}
	r := c.Reply
	checks := []func() error{
		func() error { return j.decision(c, r.Decision, w) },
		func() error { return j.all(c, w) },
		func() error { return j.admission(c, w) },
		func() error { return j.beat(c, w) },
	}
	if w.Spendable != nil {
		checks = append(checks, func() error { return j.forecast(c, w) })
	}
	if w.Capacity != nil {
		checks = append(checks, func() error { return j.reserved(c, w) })
	}
	if w.Snapshot != nil {
		checks = append(checks, func() error { return j.snapshot(c, w.Snapshot) })
	}
	if w.Event != nil {
		checks = append(checks, func() error { return j.event(c, w.Event) })
	}
	for _, f := range checks {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

func matchError(c *call, w *want) error {
	switch {
	case c.Error == nil:
		return fmt.Errorf("no error, want %s", w.Error)
	case c.Error.Code != w.Error:
		return fmt.Errorf("%s: %s, want %s", c.Error.Code, c.Error.Text, w.Error)
	case !strings.HasPrefix(c.Error.Text, w.Text):
		return fmt.Errorf("text %q, want one that begins with %q", c.Error.Text, w.Text)
	}
	return nil
}

// same compares a field that must be exact, if anything is wanted of it.
func same[T comparable](name string, got T, want *T) error {
	if want != nil && got != *want {
		return fmt.Errorf("%s = %v, want %v", name, got, *want)
	}
	return nil
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (j *judge) decision(c *call, d *decision, w *want) error {
	if w.Allowed == nil {
		return nil
	}
	if d == nil {
		return fmt.Errorf("no decision")
	}
	return first(
		same("allowed", d.Allowed, w.Allowed), same("limit", d.Limit, w.Limit), same("remaining", d.Left, w.Left),
		j.instant("reset", d.Reset, w.Reset, c), j.span("retry", d.Retry, w.Retry, c),
	)
}

func (j *judge) all(c *call, w *want) error {
	if w.All == nil {
		return nil
	}
	if len(c.Reply.All) != len(w.All) {
		return fmt.Errorf("%d decisions, want %d", len(c.Reply.All), len(w.All))
	}
	for i := range w.All {
		if err := j.decision(c, &c.Reply.All[i], &w.All[i]); err != nil {
			return fmt.Errorf("decision %d: %w", i, err)
		}
	}
	return nil
}

func (j *judge) forecast(c *call, w *want) error {
	f := c.Reply.Forecast
	if f == nil {
		return fmt.Errorf("no forecast")
	}
	return first(same("spendable", f.Spendable, w.Spendable), j.instant("next", f.Next, w.Next, c), j.instant("full", f.Full, w.Full, c))
}

func (j *judge) admission(c *call, w *want) error {
	if w.Lease == nil {
		return nil
	}
	return first(same("holds a slot", c.Reply.Lease != "", w.Lease), same("axis", c.Reply.Axis, w.Axis), j.instant("expires", c.Reply.Expires, w.Expires, c))
}

func (j *judge) reserved(c *call, w *want) error {
	l := c.Reply.Reserved
	if l == nil {
		return fmt.Errorf("no lease")
	}
	return first(
		same("capacity", l.Capacity, w.Capacity), same("safe", l.Safe, w.Capacity), same("limit", l.Limit, w.Limit),
		j.instant("expiry", l.Expiry, w.Expiry, c), j.span("refresh", l.Refresh, w.Refresh, c), j.span("retry", l.Retry, w.Retry, c),
	)
}

func (j *judge) beat(c *call, w *want) error {
	if w.Live == nil {
		return nil
	}
	b := c.Reply.Beat
	if b == nil {
		return fmt.Errorf("no heartbeat")
	}
	live, gone := j.leases(*w.Live), append(j.leases(w.ReclaimedSteps), w.Reclaimed...)
	switch {
	case !slices.Equal(b.Live, live):
		return fmt.Errorf("live = %v, want %v", b.Live, live)
	case !slices.Equal(b.Reclaimed, gone):
		return fmt.Errorf("reclaimed = %v, want %v", b.Reclaimed, gone)
	}
	return j.instant("deadline", b.Deadline, w.Deadline, c)
}

// leases returns the slots that steps took.
func (j *judge) leases(steps []int) (all []string) {
	for _, s := range steps {
		if c := j.calls[s]; c != nil && c.Reply != nil {
			all = append(all, c.Reply.Lease)
		}
	}
	return all
}

func (j *judge) snapshot(c *call, w *wantSnapshot) error {
	s := c.Reply.Snapshot
	switch {
	case s == nil:
		return fmt.Errorf("no snapshot")
	case s.Policy == nil:
		return fmt.Errorf("the policy is not in it")
	case !json.Valid(s.Raw):
		return fmt.Errorf("raw_json is no JSON")
	}
	p := s.Policy
	err := first(
		same("mode", s.Mode, &w.Mode), same("window_ms", s.Window, &w.Window), same("kind", p.Kind, &w.Kind), same("strategy", p.Strategy, &w.Strategy),
		j.instant("generated_at", s.Generated, &instant{In: new(int64)}, c),
	)
	if err != nil || w.Allowed+w.Denied == 0 {
		return err
	}
	// Counts begin anew with each window, so they are comparable only within one.
	if begin := j.calls[0]; begin != nil && floorDiv(begin.Wall[0]-tolerance, s.Window) != floorDiv(c.Wall[1]+tolerance, s.Window) {
		return errUnsettled
	}
	if p.Allowed < w.Allowed || p.Denied < w.Denied || p.Limit != w.Limit {
		return fmt.Errorf("allowed, denied, limit = %d, %d, %d, want at least %d, %d, and %d", p.Allowed, p.Denied, p.Limit, w.Allowed, w.Denied, w.Limit)
	}
	return nil
}

func (j *judge) event(c *call, w *wantEvent) error {
	e := c.Reply.Event
	if e == nil {
		return fmt.Errorf("no event")
	}
	return first(
		same("policy", e.Policy, &w.Policy), same("axis", e.Axis, &w.Axis), same("limit", e.Limit, &w.Limit), same("remaining", e.Left, &w.Left),
		same("key", e.Key, &c.Key), j.instant("at", e.At, w.At, c), j.span("retry", e.Retry, w.Retry, c),
	)
}
