package check

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/jepsen/history"
)

// spent is what was admitted in one window.
type spent struct {
	units  escrow.Credits
	byEdge map[string]escrow.Credits
	last   history.Time // the last admission
	edge   string       // that made it
}

// admissions sums the edges' own records by window.
func admissions(h history.History) map[WindowID]*spent {
	all := make(map[WindowID]*spent)
	for _, c := range h {
		for i := range c.Admitted {
			a := &c.Admitted[i]
			id := WindowID{a.Budget, a.Window}
			s := all[id]
			if s == nil {
				s = &spent{byEdge: make(map[string]escrow.Credits)}
				all[id] = s
			}
			s.units += a.Units
			s.byEdge[c.Edge] += a.Units
			if a.Last > s.last {
				s.last, s.edge = a.Last, c.Edge
			}
		}
	}
	return all
}

// limits checks I1 on the edges' own records.
func limits(x *Case, p *problems) {
	all := admissions(x.History)
	edgeOf := x.edgeOf()
	var units, most escrow.Credits
	full, unknown := 0, 0
	for _, id := range sortedWindows(all) {
		s, w := all[id], x.Story.Windows[id]
		units += s.units
		if w == nil {
			unknown++
			if len(x.Story.Bridged)+len(x.Story.Missing) == 0 {
				p.add(Problem{At: s.last, Client: s.edge, Budget: id.String()}, "%d units were admitted in window %d, which the log does not know", s.units, id.Start)
			}
			continue
		}
		at := Problem{At: s.last, Client: s.edge, Budget: id.String()}
		if s.units > w.Peak {
			p.add(at, "%d units were admitted in window %d, its limit was never above %d", s.units, id.Start, w.Peak)
		}
		most = max(most, s.units-w.Peak)
		if s.units == w.Peak {
			full++
		}
		if !w.Partial {
			holders(s, w, edgeOf, at, p)
		}
	}
	claims(x, all, edgeOf, p)
	p.stat("windows", "%d, %d of them spent to the last unit", len(all), full)
	p.stat("units admitted", "%d", units)
	if unknown > 0 {
		p.stat("windows in gaps of the log", "%d", unknown)
	}
}

// holders checks each edge against what the log says it was given. An edge takes
// credits out of what it may spend before it reports them as returned, so this
// holds whichever of its reports arrived.
func holders(s *spent, w *Window, edgeOf map[escrow.HolderID]string, at Problem, p *problems) {
	kept := make(map[string]escrow.Credits)
	for h, a := range w.Holders {
		kept[edgeOf[h]] += a.Granted - a.Returned
	}
	for _, edge := range slices.Sorted(maps.Keys(s.byEdge)) {
		at.Client = edge
		if n := s.byEdge[edge]; n > kept[edge] {
			p.add(at, "%d units were admitted by %s in window %d, for which it was granted %d more than it returned", n, edge, w.Start, kept[edge])
		}
	}
}

// claims checks that no edge reported more than it admitted. A client that was
// killed may have admitted more than it wrote down, so only complete records
// count.
func claims(x *Case, all map[WindowID]*spent, edgeOf map[escrow.HolderID]string, p *problems) {
	incomplete := make(map[string]bool)
	sdk := make(map[string]bool)
	for _, c := range x.History {
		sdk[c.Edge] = sdk[c.Edge] || c.Role == history.RoleEdge
		incomplete[c.Edge] = incomplete[c.Edge] || !c.Complete
	}
	for _, id := range sortedWindows(x.Story.Windows) {
		used := make(map[string]escrow.Credits)
		for h, a := range x.Story.Windows[id].Holders {
			used[edgeOf[h]] += a.Used
		}
		for _, edge := range slices.Sorted(maps.Keys(used)) {
			var admitted escrow.Credits
			if s := all[id]; s != nil {
				admitted = s.byEdge[edge]
			}
			if sdk[edge] && !incomplete[edge] && used[edge] > admitted {
				p.add(Problem{Client: edge, Budget: id.String()}, "%s reported %d units as spent in window %d, and admitted %d", edge, used[edge], id.Start, admitted)
			}
		}
	}
}

// placeWithin is how far an entry's date may be off beside the bend of the wall
// clock: the error of one reading.
const placeWithin = 50 * time.Microsecond

// owners checks I1 on the owner's time line. The instant of an admission is read
// before the edge reads its clock to decide, and an entry's date after its stamp
// was made, so an admission after the first entry at or beyond its window's end
// was made after that stamp.
func owners(x *Case, p *problems) {
	slack := placeWithin + x.Wall.Bend()
	ended, unplaced, known := 0, 0, false
	var closest time.Duration
	for _, c := range x.History {
		for i := range c.Admitted {
			a := &c.Admitted[i]
			w := x.Story.Windows[WindowID{a.Budget, a.Window}]
			switch {
			case a.Last == 0:
				unplaced++
				continue
			case w == nil || w.Ended == history.Never:
				continue
			}
			ended++
			late := a.Last.Sub(w.Ended)
			if late > slack {
				p.add(Problem{At: a.Last, Client: c.Client, Budget: a.Budget.String(), Index: w.EndedAt},
					"admitted %v after window [%d, %d) had ended at its owner, by entry %d", late, w.Start, w.End, w.EndedAt)
			}
			if !known || late > closest {
				known, closest = true, late
			}
		}
	}
	p.stat("slots of admissions in windows that ended", "%d", ended)
	if known {
		p.stat("closest to the end", "%v before it", (-closest).Round(time.Microsecond))
	}
	if unplaced > 0 {
		p.stat("slots whose instant is not known", "%d", unplaced)
	}
}

func sortedWindows[V any](m map[WindowID]V) []WindowID {
	return slices.SortedFunc(maps.Keys(m), func(a, b WindowID) int {
		return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.Policy, b.Policy), cmp.Compare(a.Key, b.Key))
	})
}
