package model

// A link leads from a visited state to the one it was first reached from.
type link struct {
	parent stateID
	action Action
}

const (
	slotBytes = 16 // of a digest
	linkBytes = 8
)

// A shard owns the visited states whose digests select it. Between two phases of
// a round it may be read by all workers; within the merging phase one worker has
// it.
type shard struct {
	number int
	seen   hashSet
	links  []link   // by index of the state; as many as seen has members
	next   []*block // states of the next depth
	free   []*block // to be filled again
}

// merge adopts the shard's candidates of a round, batch after batch, so that the
// first to reach a state is its parent whatever the workers' pace was.
func (sh *shard) merge(batches []*batch) {
	for _, b := range batches {
		for _, i := range b.order[b.starts[sh.number]:b.starts[sh.number+1]] {
			c := &b.cands[i]
			if !sh.seen.insert(c.sum) {
				continue
			}
			sh.push(b.bytes(i))
			sh.links = append(sh.links, link{c.parent, c.action})
			if c.flaw > 0 {
				b.flaws[c.flaw-1].counts = true
			}
		}
	}
}

// push adds a state to the frontier under the number that its link will have.
func (sh *shard) push(state []byte) {
	if len(sh.next) == 0 || sh.next[len(sh.next)-1].full() {
		sh.next = append(sh.next, sh.newBlock(makeID(sh.number, len(sh.links))))
	}
	sh.next[len(sh.next)-1].push(state)
}

func (sh *shard) newBlock(first stateID) *block {
	if len(sh.free) == 0 {
		return &block{first: first}
	}
	b := sh.free[len(sh.free)-1]
	sh.free = sh.free[:len(sh.free)-1]
	*b = block{first: first, data: b.data[:0]}
	return b
}

// take hands over the frontier of the next depth.
func (sh *shard) take() []*block {
	blocks := sh.next
	sh.next = nil
	return blocks
}

func (sh *shard) recycle(b *block) { sh.free = append(sh.free, b) }

func (sh *shard) memory() uint64 {
	return uint64(cap(sh.seen.slots))*slotBytes + uint64(cap(sh.links))*linkBytes
}
