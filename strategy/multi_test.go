package strategy

import (
	"strings"
	"testing"
)

// TestMulti: a minute of 10, and an hour of 15 in which a unit costs double.
func TestMulti(t *testing.T) {
	const t0 = 1_700_002_800_000 // a boundary of an hour
	dims := []Dimension{
		{"minute", must(t, fixedOf(10, 60_000)), 1},
		{"hour", must(t, fixedOf(15, 3_600_000)), 2},
	}
	type step struct {
		at   int64
		cost float64
		want string
		left [2]int64 // in minute and hour, afterwards
	}
	for _, tt := range []struct {
		need  Need
		steps []step
	}{
		{All, []step{
			{0, 3, "allow, rem 7, reset 60000", [2]int64{7, 9}}, // the first one has least
			{0, 2, "allow, rem 5, reset 60000", [2]int64{5, 5}}, // of equal ones the first
			{0, 1, "allow, rem 3, reset 3600000", [2]int64{4, 3}},
			{0, 2, "deny, rem 3, reset 3600000, retry 3600000", [2]int64{4, 3}},  // nothing is charged
			{0, 11, "deny, rem 3, reset 3600000, retry 3600000", [2]int64{4, 3}}, // both deny: the longest wait
			{60_000, 1, "allow, rem 1, reset 3600000", [2]int64{9, 1}},
		}},
		{Any, []step{
			{0, 2, "allow, rem 11, reset 3600000", [2]int64{8, 11}},           // most is left
			{0, 4, "allow, rem 4, reset 60000", [2]int64{4, 3}},               // hour had 3 left
			{0, 2, "allow, rem 2, reset 60000", [2]int64{2, 3}},               // hour denies and is not charged
			{0, 3, "deny, rem 2, reset 60000, retry 60000", [2]int64{2, 3}},   // the shortest wait
			{59_000, 1, "allow, rem 1, reset 60000", [2]int64{1, 1}},          // the first of equal ones
			{3_600_000, 7, "allow, rem 3, reset 3660000", [2]int64{3, 1 + 0}}, // 14 of 15
		}},
	} {
		m, err := NewMulti(tt.need, dims...)
		if err != nil {
			t.Fatal(err)
		}
		minute, hour := &State{}, &State{}
		for i, s := range tt.steps {
			got := published(m.Check([]*State{minute, hour}, t0+s.at, s.cost), t0)
			left := [2]int64{dims[0].Strategy.Peek(minute, t0+s.at).Remaining, dims[1].Strategy.Peek(hour, t0+s.at).Remaining}
			if got != s.want || left != s.left {
				t.Errorf("need %d, step %d: %s and then %v; want %s and %v", tt.need, i, got, left, s.want, s.left)
			}
		}
	}
}

func TestMultiKey(t *testing.T) {
	m, err := NewMulti(All, Dimension{"ip", must(t, fixedOf(1, 1)), 1}, Dimension{"user", must(t, fixedOf(1, 1)), 1})
	if err != nil {
		t.Fatal(err)
	}
	if got := m.Key(1, "api", "bob"); got != "api:user:bob" {
		t.Errorf("Key = %q", got)
	}
	if got := m.Key(0, "", "bob"); got != "ip:bob" {
		t.Errorf("Key without a prefix = %q", got)
	}
}

func TestMultiRefuses(t *testing.T) {
	st := must(t, fixedOf(1, 1))
	many := make([]Dimension, MaxDimensions+1)
	for i := range many {
		many[i] = Dimension{strings.Repeat("x", i), st, 1}
	}
	for _, tt := range []struct {
		need Need
		dims []Dimension
		want string
	}{
		{All, nil, "0 dimensions: must be 1 to 64"},
		{Any, many, "65 dimensions: must be 1 to 64"},
		{0, many[:1], "need 0: must be All or Any"},
		{All, []Dimension{{"a", st, 1}, {"a", st, 1}}, `dimension "a": declared twice`},
		{All, []Dimension{{"a", nil, 1}}, `dimension "a": has no strategy`},
		{All, []Dimension{{"a", st, 0}}, `dimension "a": weight 0: must be above 0`},
	} {
		if _, err := NewMulti(tt.need, tt.dims...); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("NewMulti = %v, want %q", err, tt.want)
		}
	}
}

func TestLeakyBucket(t *testing.T) {
	l, err := NewLeakyBucket(3, 1000) // a unit every 333.3 ms
	if err != nil {
		t.Fatal(err)
	}
	const t0 = 1_700_000_000_000
	var s State
	for i, step := range []struct {
		at   int64
		cost float64
		want Shape
	}{
		{0, 1, Shape{true, 0, 0}},
		{0, 1, Shape{true, 334, 0}},
		{0, 1, Shape{true, 667, 0}},
		{0, 1, Shape{true, 1000, 0}},
		{0, 1, Shape{false, 0, 334}},
		{0, 5, Shape{false, 0, 334}}, // and nothing was put into the queue
		{333, 1, Shape{false, 0, 1}},
		{334, 9, Shape{true, 1000, 0}}, // the queue is measured before the request
		{3000, 1, Shape{false, 0, 334}},
		{2000, 1, Shape{false, 0, 1334}}, // the clock ran back
		{4333, 1, Shape{true, 1, 0}},
		{9000, 1, Shape{true, 0, 0}},
		{9000, 0, Shape{}},
	} {
		before := s
		if got := l.Check(&s, t0+step.at, step.cost); got != step.want {
			t.Errorf("step %d: %+v, want %+v", i, got, step.want)
		}
		if !step.want.Admitted && s != before {
			t.Errorf("step %d changed the state", i)
		}
	}
	exact, err := NewLeakyBucket(1000, 1)
	if err != nil {
		t.Fatal(err)
	}
	s = State{}
	for i, want := range []Shape{{true, 0, 0}, {true, 1, 0}, {false, 0, 1}} { // a delay of just maxQueue is admitted
		if got := exact.Check(&s, t0, 1); got != want {
			t.Errorf("request %d at once: %+v, want %+v", i, got, want)
		}
	}
	for _, bad := range [][2]float64{{0, 1}, {-1, 1}, {1e-20, 1}, {1, -1}} {
		if _, err := NewLeakyBucket(bad[0], bad[1]); err == nil {
			t.Errorf("NewLeakyBucket(%v, %v) was accepted", bad[0], bad[1])
		}
	}
	if _, err := NewLeakyBucket(1, 0); err != nil {
		t.Errorf("a queue of no length: %v", err)
	}
}
