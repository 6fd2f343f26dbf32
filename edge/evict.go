package edge

import (
	"fmt"

	"github.com/tkcoord/tkcoord/fsm/clock"
)

// The table of keys is bounded. What a key spent in a window must stay known
// until that window is over at its owner: a key that was forgotten would be told
// its grant again and spend it twice. The local clock cannot tell that a window
// is over, since a step of the cluster clock stretches it. So:
//
//   - a key that holds and spent nothing is forgotten as soon as its place is
//     needed;
//   - once three quarters of the table are taken, the loop asks about idle keys
//     whose window seems to be over. An answer about a later window shows that it
//     is, and such a key then holds and has spent nothing;
//   - otherwise the new key is refused.
const (
	crowdedNum, crowdedDen = 3, 4
	relievePeriod          = clock.NanosPerMilli * 1000
	evictScan              = 512 // slots that one insertion looks at, and as many of other limiters
)

// addKey returns the key of that name, adding it if there is room.
func (e *Edge) addKey(l *Limiter, name string) (*Key, error) {
	e.tables.Lock()
	defer e.tables.Unlock()
	if k := l.keys.find(name); k != nil {
		return k, nil
	}
	if e.keys >= e.cfg.MaxKeys && !e.evict(l) {
		e.crowdedOut++
		e.queue.signal() // so that the loop makes room
		return nil, fmt.Errorf("%d keys are in use: %w", e.cfg.MaxKeys, ErrTooManyKeys)
	}
	k := &Key{edge: e, limiter: l, name: name}
	k.low.Store(-1)
	k.size = firstSize
	l.keys.add(k)
	e.keys++
	return k, nil
}

// evict forgets a key that holds and spent nothing, one of l rather than one of
// another limiter: a flood of made-up keys under one policy should not cost the
// others what they remember.
func (e *Edge) evict(l *Limiter) bool {
	budget := evictScan
	if e.evictFrom(l, &budget) {
		return true
	}
	budget = evictScan
	for _, other := range e.limiters {
		if other != l && e.evictFrom(other, &budget) {
			return true
		}
	}
	return false
}

// evictFrom looks at the slots of a limiter where the last call left off.
func (e *Edge) evictFrom(l *Limiter, budget *int) bool {
	slots := *l.keys.slots.Load()
	for n := min(*budget, len(slots)); n > 0; n-- {
		*budget--
		l.hand = (l.hand + 1) % len(slots)
		k := slots[l.hand].Load()
		if k == nil || k == grave || !k.state.CompareAndSwap(clean, gone) {
			continue
		}
		l.keys.remove(k)
		e.keys--
		e.evicted++
		return true
	}
	return false
}

// relieve asks about idle keys whose window seems to be over while the table is
// crowded, at most once per second and as many as one exchange takes. Call it
// with mu held.
func (e *Edge) relieve(now clock.Nanos) {
	e.tables.Lock()
	defer e.tables.Unlock()
	if e.keys*crowdedDen < e.cfg.MaxKeys*crowdedNum || now < e.relieveAt {
		return
	}
	e.relieveAt = now + relievePeriod
	room := maxAsks - len(e.pending)
	for _, l := range e.limiters {
		if int64(now) < l.unknown.Load() {
			continue
		}
		l.keys.each(func(k *Key) bool {
			if room <= 0 {
				return false
			}
			if k.state.Load() == held && k.rollAt <= now && k.place == 0 {
				e.askAbout(k, true)
				room--
			}
			return true
		})
	}
}
