package transport

import "github.com/hashicorp/raft"

// deleteChunk is how many entries one write may delete. bbolt deletes about
// 500 entries per millisecond and lets no append pass meanwhile, so a chunk
// holds an append up for some 10 to 20 ms.
const deleteChunk = 8192

// A chunkedLog deletes long ranges in pieces. Compaction after a busy hour
// deletes hundreds of thousands of entries; as one write it holds up every
// append behind it (190 000 entries, 400 ms), commits with them, and it would
// force a deadline on writes that is useless for finding a hung disk.
//
// A crash may fall between two pieces, so the order keeps the log free of
// holes: a range at the beginning of the log goes from its low end, any other,
// which reaches to the end of the log, from its high end.
type chunkedLog struct {
	raft.LogStore
	chunk uint64 // entries per write, at least 1
}

// DeleteRange implements raft.LogStore; the range is inclusive.
func (l chunkedLog) DeleteRange(low, high uint64) error {
	first, err := l.FirstIndex()
	if err != nil {
		return err
	}
	last, err := l.LastIndex()
	if err != nil || first == 0 {
		return err // or nothing to delete
	}
	low, high = max(low, first), min(high, last)
	if low == first {
		return l.deleteUpwards(low, high)
	}
	return l.deleteDownwards(low, high)
}

func (l chunkedLog) deleteUpwards(low, high uint64) error {
	for low <= high {
		end := min(high, low+l.chunk-1)
		if err := l.LogStore.DeleteRange(low, end); err != nil {
			return err
		}
		low = end + 1
	}
	return nil
}

func (l chunkedLog) deleteDownwards(low, high uint64) error {
	for low <= high { // high never passes below low-1 >= 1, since low is above the first entry
		begin := low
		if high-low >= l.chunk {
			begin = high - l.chunk + 1
		}
		if err := l.LogStore.DeleteRange(begin, high); err != nil {
			return err
		}
		high = begin - 1
	}
	return nil
}
