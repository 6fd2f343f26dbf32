package model

// A candidate is a successor that was not visited before the round in which it
// was generated; within the round it may occur more than once.
type candidate struct {
	sum    digest
	parent stateID
	action Action // an initial state's number if parent is noState
	offset uint32 // of its bytes in batch.data; they end where the next one's begin
	flaw   uint32 // index+1 into batch.flaws if it breaks an invariant, else 0
}

// A flaw is something that must not be: a state, or a step. A state counts when
// it turns out to be new.
type flaw struct {
	parent stateID
	action Action
	err    error
	step   bool
	counts bool
}

// A batch is what expanding one block yields. A worker fills it; then each shard
// takes its candidates, in the order in which they were generated.
type batch struct {
	cands []candidate
	data  []byte
	flaws []flaw

	// cands[order[i]], starts[s] <= i < starts[s+1], belong to shard s.
	order  []uint32
	starts [shards + 1]uint32
}

func (b *batch) reset() {
	b.cands, b.data, b.flaws = b.cands[:0], b.data[:0], b.flaws[:0]
	b.order = b.order[:0]
	b.starts = [shards + 1]uint32{}
}

// sort arranges the candidates by shard, keeping their order within each: a
// counting sort of their indices.
func (b *batch) sort() {
	for i := range b.cands {
		b.starts[b.cands[i].sum.shard()+1]++
	}
	for s := range shards {
		b.starts[s+1] += b.starts[s]
	}
	if cap(b.order) < len(b.cands) {
		b.order = make([]uint32, len(b.cands))
	}
	b.order = b.order[:len(b.cands)]
	next := b.starts
	for i := range b.cands {
		s := b.cands[i].sum.shard()
		b.order[next[s]] = uint32(i)
		next[s]++
	}
}

// bytes returns the encoded state of a candidate.
func (b *batch) bytes(i uint32) []byte {
	end := uint32(len(b.data))
	if int(i)+1 < len(b.cands) {
		end = b.cands[i+1].offset
	}
	return b.data[b.cands[i].offset:end]
}
