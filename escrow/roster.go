package escrow

import "maps"

// A roster holds the allotments of a ledger with several holders, in the order
// of their first appearance. Finding one costs the same for ten holders and for
// a hundred thousand: short rosters are searched, long ones have an index.
type roster struct {
	list  []entry
	index map[HolderID]int32 // nil while the list is short
}

type entry struct {
	holder HolderID
	Allotment
}

// indexFrom is the length from which searching the list costs more than a map.
const indexFrom = 12

func (r *roster) find(h HolderID) *Allotment {
	if r.index != nil {
		if i, ok := r.index[h]; ok {
			return &r.list[i].Allotment
		}
		return nil
	}
	for i := range r.list {
		if r.list[i].holder == h {
			return &r.list[i].Allotment
		}
	}
	return nil
}

// add appends an empty allotment for h, which must not be present.
func (r *roster) add(h HolderID) *Allotment {
	r.list = append(r.list, entry{holder: h})
	switch n := len(r.list); {
	case r.index != nil:
		r.index[h] = int32(n - 1)
	case n >= indexFrom:
		r.index = make(map[HolderID]int32, 2*n)
		for i := range r.list {
			r.index[r.list[i].holder] = int32(i)
		}
	}
	return &r.list[len(r.list)-1].Allotment
}

func (r *roster) clone() *roster {
	return &roster{list: append([]entry(nil), r.list...), index: maps.Clone(r.index)}
}
