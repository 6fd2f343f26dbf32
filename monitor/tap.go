package monitor

import (
	"sync"

	"github.com/tkcoord/tkcoord/strategy"
)

// A tap counts what is decided under one policy.
type tap struct {
	name string

	mu       sync.Mutex // guards the rest
	kind     Kind
	strategy string
	window   int64 // the start of the one that analytics counts
	analytics
	totals  totals
	latency latencies
	limit   int64 // last seen
	limitAt int64 // when; 0 is never
}

// analytics are counts of one window.
type analytics struct {
	allowed, denied int64
	byLane          [lanes]int64
	requested       heavy
	refused         heavy
	refusedByLane   [lanes]heavy
}

// totals never fall. They begin with the process.
type totals struct {
	Allowed, Denied int64
	ByLane          [lanes]int64
	Units           int64 // of the requests admitted; stays at the largest int64
}

// An event is one decision.
type event struct {
	now      int64
	kind     Kind
	strategy string
	key      string // shown
	cost     int64
	d        strategy.Decision
	lane     Lane
	ms       float64
}

// record counts an event. It takes as long whatever was recorded before.
func (t *tap) record(e *event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.roll(e.now)
	t.kind, t.strategy = e.kind, e.strategy
	t.requested.add(e.key)
	if e.d.Allowed {
		t.allowed++
		t.totals.Allowed++
		if t.totals.Units += e.cost; t.totals.Units < 0 {
			t.totals.Units = 1<<63 - 1
		}
	} else {
		t.denied++
		t.totals.Denied++
		t.refused.add(e.key)
		if e.lane != None {
			t.byLane[e.lane-1]++
			t.totals.ByLane[e.lane-1]++
			t.refusedByLane[e.lane-1].add(e.key)
		}
	}
	t.limit, t.limitAt = e.d.Limit, e.now
	t.latency.add(e.ms)
}

// roll forgets the counts of an earlier window. A clock that lags counts into the
// newest one.
func (t *tap) roll(now int64) {
	if w := windowOf(now); w > t.window {
		t.window, t.analytics = w, analytics{}
	}
}

func windowOf(now int64) int64 { return now - now%Window }

// observed returns what the tap counted.
func (t *tap) observed() Observed {
	t.mu.Lock()
	defer t.mu.Unlock()
	o := Observed{
		Name: t.name, Kind: t.kind, Strategy: t.strategy, Window: t.window,
		Allowed: t.allowed, Denied: t.denied, ByLane: t.byLane,
		TopRequested: t.requested.top(), TopDenied: t.refused.top(),
		Limit: t.limit, LimitAt: t.limitAt, Latency: t.latency.all(),
	}
	for i := range t.refusedByLane {
		o.TopByLane[i] = t.refusedByLane[i].top()
	}
	return o
}
