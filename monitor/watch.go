package monitor

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
)

// ErrTooManyWatchers says that MaxWatchers watch the Hub.
var ErrTooManyWatchers = errors.New("too many watchers")

// unread is how many denials may wait for a watcher. What comes while that many
// wait is dropped.
const unread = 64

// A Watcher receives denials from its beginning on. It misses those that come
// while it does not keep up.
type Watcher struct {
	C      <-chan Denial
	c      chan Denial
	policy string
	hub    *Hub
}

// Watch returns a watcher of one policy, of all if the name is empty. It reports
// ErrTooManyWatchers. Close ends it.
func (h *Hub) Watch(policy string) (*Watcher, error) {
	if h == nil {
		h = new(Hub) // which nothing is told
	}
	w := &Watcher{c: make(chan Denial, unread), policy: policy, hub: h}
	w.C = w.c
	if !h.watch.add(w) {
		return nil, ErrTooManyWatchers
	}
	return w, nil
}

// Close stops the watcher. What it has received can still be read; nothing is
// added. C is not closed.
func (w *Watcher) Close() { w.hub.watch.remove(w) }

// watchers are those of a Hub.
type watchers struct {
	mu  sync.Mutex // guards changes
	all atomic.Pointer[[]*Watcher]
}

// tell offers a denial to those who watch its policy.
func (s *watchers) tell(d Denial) {
	all := s.all.Load()
	if all == nil {
		return
	}
	for _, w := range *all {
		if w.policy != "" && w.policy != d.Policy {
			continue
		}
		select {
		case w.c <- d:
		default: // it does not keep up
		}
	}
}

func (s *watchers) add(w *Watcher) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*Watcher
	if p := s.all.Load(); p != nil {
		all = *p
	}
	if len(all) >= MaxWatchers {
		return false
	}
	next := append(slices.Clip(all), w) // a copy: others read the old one
	s.all.Store(&next)
	return true
}

func (s *watchers) remove(w *Watcher) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.all.Load()
	if p == nil {
		return
	}
	next := slices.DeleteFunc(slices.Clone(*p), func(x *Watcher) bool { return x == w })
	if len(next) == 0 {
		s.all.Store(nil)
		return
	}
	s.all.Store(&next)
}

// EventsPerSecond is how many denials one stream carries at most.
const EventsPerSecond = 500

// A Gate passes EventsPerSecond events in each second since it was opened, counted
// in seconds that do not overlap. It is for one goroutine.
type Gate struct {
	opened int64 // ms
	second int64
	passed int
}

// NewGate returns a gate that is opened at an instant in ms.
func NewGate(now int64) *Gate { return &Gate{opened: now} }

// Pass reports whether an event may pass at an instant, in ms on the clock that the
// gate was opened by.
func (g *Gate) Pass(now int64) bool {
	if s := (now - g.opened) / 1000; s != g.second {
		g.second, g.passed = s, 0
	}
	if g.passed == EventsPerSecond {
		return false
	}
	g.passed++
	return true
}
