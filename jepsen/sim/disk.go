package sim

import "time"

// A disk keeps what was fsynced: term, vote, log and the newest snapshot.
//
// Invariant: entries up to durable survive a crash; log[0] has index first, and
// entries before it are in snap.
type disk struct {
	term    uint64
	vote    int // 0 for none, else the node's id + 1
	first   uint64
	log     []*entry
	durable uint64
	snap    snapshot

	waiting []func()      // for the fsync after the one under way
	syncing bool          // one is under way
	writes  uint64        // goes up when unwritten entries are lost or replaced
	stall   time.Duration // added to each fsync
}

// A snapshot is the state after the entry at index.
type snapshot struct {
	index, term uint64
	data        []byte // nil if there is none
}

// last returns the index of the newest entry.
func (d *disk) last() uint64 { return d.first + uint64(len(d.log)) - 1 }

// termAt returns the term of the entry at index, and whether it is known.
func (d *disk) termAt(index uint64) (uint64, bool) {
	switch {
	case index >= d.first && index <= d.last():
		return d.log[index-d.first].term, true
	case index == d.snap.index:
		return d.snap.term, true
	}
	return 0, false
}

// lastTerm returns the term of the newest entry.
func (d *disk) lastTerm() uint64 {
	t, _ := d.termAt(d.last())
	return t
}

// truncate drops the entries from index on.
func (d *disk) truncate(index uint64) {
	if index > d.last() {
		return
	}
	clear(d.log[index-d.first:])
	d.log = d.log[:index-d.first]
	d.durable = min(d.durable, d.last())
	d.writes++
}

// compact replaces the log up to the snapshot's index by the snapshot, except for
// a trail for followers that lag a little.
func (d *disk) compact(s snapshot, trail uint64) {
	d.snap = s
	d.durable = max(d.durable, s.index)
	if s.index >= d.last() {
		d.log, d.first = nil, s.index+1
		return
	}
	keep := s.index + 1
	if keep > trail {
		keep -= trail
	}
	if keep > d.first {
		d.log = append([]*entry(nil), d.log[keep-d.first:]...)
		d.first = keep
	}
}

// fsync calls done once everything written so far is on the disk. One fsync is
// under way at a time; those who come meanwhile share the next one.
func (n *node) fsync(done func()) {
	n.waiting = append(n.waiting, done)
	if !n.syncing {
		n.sync()
	}
}

func (n *node) sync() {
	covered := n.waiting
	n.waiting, n.syncing = nil, true
	n.in(n.w.cfg.fsync/4+n.w.gap(n.w.cfg.fsync*3/4)+n.stall, func() {
		n.syncing = false
		if len(n.waiting) > 0 {
			n.sync()
		}
		for _, done := range covered {
			done()
		}
	})
}

// persist fsyncs the log and calls done, unless what was written has since been
// replaced.
func (n *node) persist(done func(upTo uint64)) {
	upTo, writes := n.last(), n.writes
	n.fsync(func() {
		if n.writes == writes {
			n.durable = max(n.durable, upTo)
			done(upTo)
		}
	})
}
