package monitor

import (
	"cmp"
	"slices"
)

// A Count is a key and how often it was seen: at least as often as it was, and
// too often by at most the smallest count of a full list.
type Count struct {
	Key   string
	Count int64
}

// heavy finds the keys that are seen most, by Space-Saving (Metwally, Agrawal, El
// Abbadi 2005): a key that is not in a full list takes the place of the one with
// the smallest count m and starts at m+1. So no count is too small, and no key
// that is missing was seen more often than the smallest count.
//
// The zero value is empty.
type heavy struct {
	n  int
	at [Top]Count // the first n, in no order
}

func (h *heavy) add(key string) {
	least := 0
	for i := range h.at[:h.n] {
		c := &h.at[i]
		if c.Key == key {
			c.Count++
			return
		}
		if c.Count < h.at[least].Count {
			least = i
		}
	}
	if h.n < Top {
		h.at[h.n] = Count{key, 1}
		h.n++
		return
	}
	h.at[least] = Count{key, h.at[least].Count + 1}
}

// top returns the counts, largest first, nil if there are none.
func (h *heavy) top() []Count {
	if h.n == 0 {
		return nil
	}
	all := slices.Clone(h.at[:h.n])
	sortCounts(all)
	return all
}

func sortCounts(all []Count) {
	slices.SortFunc(all, func(a, b Count) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Key, b.Key))
	})
}

// mergeCounts merges lists as top returns them into one of their keys together.
// A key that a full list lacks may have been there up to its smallest count,
// which is added: the counts stay over-estimates, and what is missing from the
// result was not seen more often than its smallest count.
func mergeCounts(lists ...[]Count) []Count {
	sum := make(map[string]int64)
	var unseen int64 // by all lists, at most
	for _, l := range lists {
		var least int64
		if len(l) >= Top {
			least = l[len(l)-1].Count
		}
		unseen += least
		for _, c := range l {
			sum[c.Key] += c.Count - least
		}
	}
	if len(sum) == 0 {
		return nil
	}
	all := make([]Count, 0, len(sum))
	for k, n := range sum {
		all = append(all, Count{k, n + unseen})
	}
	sortCounts(all)
	return all[:min(Top, len(all))]
}
