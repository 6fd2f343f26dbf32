package sim

import (
	"time"

	"github.com/tkcoord/tkcoord/fsm/clock"
)

// An entry of the log. Barriers carry nothing: a new leader commits one to learn
// what was committed before it.
type entry struct {
	term    uint64
	barrier bool
	data    []byte
	calls   []*call       // what it was made of
	made    time.Duration // when its stamp was read
	stamp   clock.Millis
	by      uint64 // the proposer
}

const maxAppend = 64 // entries in one message

// append adds an entry to the leader's log and sends it on once it is on the disk.
func (n *node) append(e *entry) {
	n.log = append(n.log, e)
	term := n.term
	n.persist(func(upTo uint64) {
		if n.role != leader || n.term != term {
			return
		}
		n.match[n.id] = upTo
		n.advance()
		for _, to := range n.w.nodes {
			if to != n {
				n.replicate(to, false)
			}
		}
	})
}

// replicate sends a follower what it lacks. One message is under way at a time;
// an idle follower gets an empty one if it must hear from the leader.
func (n *node) replicate(to *node, beat bool) {
	if n.sending[to.id] > n.w.now || !beat && n.next[to.id] > n.last() {
		return
	}
	prev := n.next[to.id] - 1
	prevTerm, known := n.termAt(prev)
	if !known && prev > 0 {
		n.sendSnapshot(to)
		return
	}
	var entries []*entry
	if prev < n.match[n.id] { // NB: only what is on the own disk
		from := prev + 1 - n.first
		entries = n.log[from:min(from+maxAppend, n.match[n.id]+1-n.first)]
		entries = append([]*entry(nil), entries...)
	}
	number := n.dispatch(to, n.w.cfg.election/2+100*time.Millisecond)
	term, commit := n.term, n.commit
	n.tell(to, func() { to.received(n, number, term, prev, prevTerm, entries, commit) })
}

// dispatch numbers the message that is then under way to a follower, until it is
// answered or given up.
func (n *node) dispatch(to *node, patience time.Duration) (number uint64) {
	number = n.w.id()
	n.awaits[to.id], n.sending[to.id] = number, n.w.now+patience
	return number
}

func (n *node) sendSnapshot(to *node) {
	number := n.dispatch(to, time.Second)
	term, s := n.term, n.snap
	n.w.note("install", to.id, int64(s.index), int64(len(s.data)), int64(term))
	n.tell(to, func() {
		if !to.hears(n, term) {
			return
		}
		if s.index > to.commit {
			// NB: entries after one that agrees with the snapshot may be committed on
			// the strength of this disk. Only a log that disagrees goes.
			if t, known := to.termAt(s.index); !known || t != s.term {
				to.truncate(to.first)
			}
			to.compact(s, 0)
			to.commit = s.index
			to.restore(s)
		}
		to.fsync(func() { to.answer(n, number, term, true, s.index) })
	})
}

// hears reports whether a message of a leader is of the current term.
func (n *node) hears(from *node, term uint64) bool {
	n.observe(term)
	if term < n.term {
		newer := n.term
		n.tell(from, func() { from.observe(newer) })
		return false
	}
	n.follow(from.id)
	n.awaitElection()
	return true
}

// received takes over entries that follow one that both logs have.
func (n *node) received(from *node, number, term, prev, prevTerm uint64, entries []*entry, commit uint64) {
	if !n.hears(from, term) {
		return
	}
	have, known := n.termAt(prev)
	if prev > 0 && prev > n.snap.index && (!known || have != prevTerm) {
		n.answer(from, number, term, false, min(n.last(), prev-1))
		return
	}
	wrote := false
	for i, e := range entries {
		index := prev + 1 + uint64(i)
		if index <= n.snap.index || index < n.first {
			continue // committed long ago
		}
		if t, ok := n.termAt(index); ok && t == e.term {
			continue
		}
		if index <= n.commit {
			n.w.fail("node %d: entry %d was committed and is to be replaced", n.id, index)
			return
		}
		n.truncate(index)
		n.log = append(n.log, e)
		wrote = true
	}
	match := prev + uint64(len(entries))
	n.learn(min(commit, match))
	if !wrote && match <= n.durable {
		n.answer(from, number, term, true, match)
		return
	}
	n.persist(func(uint64) { n.answer(from, number, term, true, match) })
}

// answer tells the leader how far the log agrees, or where it may.
func (n *node) answer(to *node, number, term uint64, agreed bool, index uint64) {
	wall := n.wallClock()
	n.tell(to, func() { to.answered(n.id, number, term, agreed, index, wall) })
}

func (n *node) answered(from int, number, term uint64, agreed bool, index uint64, wall clock.Millis) {
	if n.role != leader || n.term != term {
		return
	}
	n.contact[from] = n.w.now
	n.offsets[from], n.heard[from] = wall-n.monoMillis(), true
	if agreed && index > n.match[from] {
		n.match[from] = index
		n.advance()
	}
	n.next[from] = max(n.next[from], n.match[from]+1)
	// NB: only the answer to the message under way sends the next one. With
	// others, such as those that come twice, messages would multiply.
	if number == 0 || n.awaits[from] != number {
		return
	}
	n.awaits[from], n.sending[from] = 0, 0
	n.next[from] = max(n.match[from], index) + 1
	n.replicate(n.w.nodes[from], !agreed)
}

// advance commits what a majority has on its disks, if it is of this term.
func (n *node) advance() {
	for _, m := range n.match {
		have := 0
		for _, o := range n.match {
			if o >= m {
				have++
			}
		}
		if t, ok := n.termAt(m); have >= majority && ok && t == n.term && m > n.commit {
			n.learn(m)
		}
	}
}
