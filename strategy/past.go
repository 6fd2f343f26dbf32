package strategy

import (
	"math"
	"slices"
)

// A past is a list that grows at its end and is forgotten from its front. The
// instants in it ascend.
type past struct {
	all    []entry
	head   int    // all[:head] is forgotten
	before uint64 // of a log: n of what was forgotten last
	tally  tally  // of a ring
}

// A tally sums up the buckets of a ring. It is exact unless it is broken.
type tally struct {
	sum    float64
	broken bool // some summand has a fraction, or the sum was too large
}

func (t *tally) add(n float64) {
	t.sum += n
	t.broken = t.broken || n != math.Floor(n) || t.sum > MaxNumber
}

// An entry is a bucket of a ring or the admissions of one instant of a log.
type entry struct {
	at int64  // tick of the bucket, or instant
	n  uint64 // bits of the double that counts the bucket; or units up to and with this instant, modulo 2^64
}

// keepRoom is up to how many entries the room of a list is kept whatever is in
// it.
const keepRoom = 64

// entries returns what is remembered. It is valid until the next change.
func (p *past) entries() []entry { return p.all[p.head:] }

// forget drops the first n entries.
func (p *past) forget(n int) {
	if n > 0 {
		p.head += n
		p.before = p.all[p.head-1].n
	}
}

// add appends an entry. A list that is forgotten as fast as it grows needs no new
// room: the forgotten half is used again. Room is given back when three quarters
// are not needed.
func (p *past) add(e entry) {
	if len(p.all) == cap(p.all) && p.head > 0 {
		kept, room := p.entries(), p.all[:0]
		if wide := cap(p.all) > keepRoom && len(kept) < cap(p.all)/4; wide || p.head < len(p.all)/2 {
			room = make([]entry, 0, len(kept)+len(kept)+1)
		}
		p.all, p.head = append(room, kept...), 0
	}
	p.all = append(p.all, e)
}

// clear forgets everything.
func (p *past) clear() {
	if cap(p.all) > keepRoom {
		p.all = nil
	}
	*p = past{all: p.all[:0]}
}

func (p *past) clone() *past {
	return &past{all: slices.Clone(p.entries()), before: p.before, tally: p.tally}
}
