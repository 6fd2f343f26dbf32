package real

import (
	"bytes"

	"github.com/tkcoord/tkcoord/jepsen/model/cluster"
)

// Canonicalise implements model.Symmetric. Edges are alike, and so are nodes, but
// for the rates of their clocks, which are part of what is sorted. The argument:
//
//   - No action, bound or check names a process; each is offered for every
//     process under the same condition.
//   - The state machine finds sessions by name and holders by number, compares
//     them for equality, and nothing else; names and numbers are made from the
//     place of an edge in the list each time a state is shown to it. Its tables
//     are hashed by name, but the order of records in them never reaches the
//     state, and the ledger's order of holders only the order in which it lists
//     them.
//   - Everything that is about one edge is encoded with it: its process, its
//     session, its allotment, its messages, its place among sealed entries. So
//     two states that differ by exchanging edges have the same set of encodings.
func (w *World) Canonicalise(s *state) {
	s.sortEdges()
	s.sortNodes()
}

func (s *state) sortEdges() {
	keys := s.keys(len(s.edges), (*writer).edge)
	for i := 1; i < len(s.edges); i++ {
		for k := i; k > 0 && bytes.Compare(keys[k], keys[k-1]) < 0; k-- {
			keys[k], keys[k-1] = keys[k-1], keys[k]
			s.edges[k], s.edges[k-1] = s.edges[k-1], s.edges[k]
			for p := range s.pending {
				switch e := &s.pending[p]; e.edge {
				case k:
					e.edge = k - 1
				case k - 1:
					e.edge = k
				}
			}
		}
	}
}

func (s *state) sortNodes() {
	keys := s.keys(len(s.Nodes), func(w *writer, s *state, i int) { w.Node(&s.Cluster, i, s.w.base()) })
	for i := 1; i < len(s.Nodes); i++ {
		for k := i; k > 0 && bytes.Compare(keys[k], keys[k-1]) < 0; k-- {
			keys[k], keys[k-1] = keys[k-1], keys[k]
			s.Swap(k, k-1)
		}
	}
}

// keys encodes each of n processes.
func (s *state) keys(n int, encode func(*writer, *state, int)) (keys [maxProcesses][]byte) {
	out := writer{cluster.Writer{Buf: s.d.keys[:0]}}
	var ends [maxProcesses]int
	for i := range n {
		encode(&out, s, i)
		ends[i] = len(out.Buf)
	}
	from := 0
	for i := range n {
		keys[i] = out.Buf[from:ends[i]]
		from = ends[i]
	}
	s.d.keys = out.Buf
	return keys
}
