package tier

import (
	"hash/maphash"
	"sync"
	"sync/atomic"

	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/strategy"
)

// bookID numbers books.
var bookID atomic.Uint64

// maxShards is how many parts the table of keys has, each with a lock of its own.
const (
	maxShards    = 64
	keysPerShard = 64 // at least, or there are fewer shards
)

// A shard holds a part of the keys.
type shard struct {
	mu   sync.Mutex // guards the rest, and the entries
	by   map[id]*entry
	most int

	// The entries in the order of their last use, the newest first.
	newest, oldest *entry

	leases, refused, evicted uint64

	closed bool // no entry is made and no debit begins any more
}

type id struct {
	book *book
	key  string
}

// An entry is what the node holds and knows of one key.
type entry struct {
	id
	credits     int64
	last        strategy.Decision // newest reply of the log; zero while there is none
	rollAt      clock.Nanos       // reading from which last.ResetAt is past
	deniedUntil clock.Nanos       // reading until which last is repeated
	usedAt      clock.Nanos
	lease       *lease // the debit under way, nil for none
	gone        bool   // made room: no longer in the table

	newer, older *entry
}

func newShards(maxKeys int) []shard {
	n := 1
	for n < maxShards && maxKeys/(2*n) >= keysPerShard {
		n *= 2
	}
	all := make([]shard, n)
	for i := range all {
		all[i].by = make(map[id]*entry)
		all[i].most = maxKeys / n
	}
	return all
}

// shard returns where a key is.
func (t *Tier) shard(b *book, key string) *shard {
	h := maphash.String(t.seed, key) + b.id*0x9E3779B97F4A7C15
	return &t.shards[h>>32&uint64(len(t.shards)-1)]
}

// find returns the entry of a key and notes its use, nil if there is none. What the
// key has lost meanwhile is gone when it returns.
func (s *shard) find(b *book, key string, now clock.Nanos) *entry {
	e := s.by[id{b, key}]
	if e == nil {
		return nil
	}
	if b.idle > 0 && now-e.usedAt > b.idle && e.lease == nil {
		e.credits, e.last, e.rollAt = 0, strategy.Decision{}, 0
	}
	e.usedAt = max(e.usedAt, now)
	if b.coupled && e.credits > 0 && now >= e.rollAt {
		e.credits = 0
	}
	if s.newest != e {
		s.unlink(e)
		s.link(e)
	}
	return e
}

// enter is find that makes an entry if there is none. It returns nil if there is no
// room for it.
func (s *shard) enter(b *book, key string, now clock.Nanos) *entry {
	if e := s.find(b, key, now); e != nil {
		return e
	}
	if s.closed || len(s.by) >= s.most && !s.evict() {
		return nil
	}
	e := &entry{id: id{b, key}, usedAt: now}
	s.by[e.id] = e
	s.link(e)
	return e
}

// maxScan bounds the search for an entry that can go.
const maxScan = 64

// evict makes room: the entry unused for longest goes, but not one whose debit is
// under way, since a second one could then begin beside it.
func (s *shard) evict() bool {
	e := s.oldest
	for range maxScan {
		if e == nil {
			return false
		}
		if e.lease == nil {
			s.unlink(e)
			delete(s.by, e.id)
			e.gone = true
			s.evicted++
			return true
		}
		e = e.newer
	}
	return false
}

// close forgets everything.
func (s *shard) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, e := range s.by {
		e.gone = true
	}
	s.by, s.newest, s.oldest = nil, nil, nil
}

func (s *shard) link(e *entry) {
	e.older, e.newer = s.newest, nil
	if s.newest != nil {
		s.newest.newer = e
	} else {
		s.oldest = e
	}
	s.newest = e
}

func (s *shard) unlink(e *entry) {
	if e.newer != nil {
		e.newer.older = e.older
	} else {
		s.newest = e.older
	}
	if e.older != nil {
		e.older.newer = e.newer
	} else {
		s.oldest = e.newer
	}
	e.newer, e.older = nil, nil
}

func (s *shard) count(st *Stats) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st.Keys += len(s.by)
	st.Evicted += s.evicted
	st.Leases += s.leases
	st.Refused += s.refused
	for e := s.newest; e != nil; e = e.older {
		st.Credits += e.credits
	}
}
