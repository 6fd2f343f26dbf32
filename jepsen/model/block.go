package model

import "encoding/binary"

// Visited states are spread over shards by their digest. The number is fixed, so
// that the numbering of states does not depend on the number of workers.
const (
	shardBits = 6
	shards    = 1 << shardBits
)

// A stateID numbers a visited state: its shard in the low bits, above them its
// place among the states of that shard, in the order of discovery.
type stateID uint32

// noState is the parent of an initial state.
const noState = ^stateID(0)

func makeID(shard, index int) stateID { return stateID(index)<<shardBits | stateID(shard) }

func (id stateID) shard() int { return int(id & (shards - 1)) }
func (id stateID) index() int { return int(id >> shardBits) }

func (d digest) shard() int { return int(d.a & (shards - 1)) }

// blockStates is how many states a block holds: enough to make handing one out
// cheap, few enough to share a level of some thousands among workers.
const blockStates = 256

// A block is a part of the frontier: encoded states of one shard with
// consecutive numbers, each preceded by its length.
type block struct {
	first stateID
	n     int
	data  []byte
}

func (b *block) full() bool { return b.n == blockStates }

func (b *block) push(state []byte) {
	b.data = binary.AppendUvarint(b.data, uint64(len(state)))
	b.data = append(b.data, state...)
	b.n++
}

// each calls yield with every state and its number, until yield returns false.
func (b *block) each(yield func(stateID, []byte) bool) {
	rest := b.data
	for i := range b.n {
		size, k := binary.Uvarint(rest)
		state := rest[k : k+int(size)]
		rest = rest[k+int(size):]
		if !yield(b.first+stateID(i)<<shardBits, state) {
			return
		}
	}
}
