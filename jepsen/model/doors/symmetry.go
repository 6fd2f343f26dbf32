package doors

import (
	"bytes"

	"github.com/tkcoord/tkcoord/jepsen/model/cluster"
)

// Canonicalise implements model.Symmetric. Clients are alike but for the rates of
// their clocks and for being an edge, which are part of what is sorted, and so are
// nodes. No action, bound or check names a process. Public calls carry no identity,
// and fences are made from the places of slots in the lists each time a state is
// shown to the machine, which compares them with each other only to reclaim slots
// of one instant in an order, and of a fixed limit that order does not matter.
func (w *World) Canonicalise(s *state) {
	s.sort(len(s.clients), func(out *writer, i int) { out.client(s, i) }, func(i, k int) {
		s.clients[i], s.clients[k] = s.clients[k], s.clients[i]
	})
	s.sort(len(s.Nodes), func(out *writer, i int) { out.Node(&s.Cluster, i, w.base()) }, s.Swap)
}

// sort sorts n processes by their encodings.
func (s *state) sort(n int, encode func(*writer, int), swap func(i, k int)) {
	out := writer{cluster.Writer{Buf: s.d.keys[:0]}}
	var ends [maxProcesses]int
	for i := range n {
		encode(&out, i)
		ends[i] = len(out.Buf)
	}
	var keys [maxProcesses][]byte
	from := 0
	for i := range n {
		keys[i] = out.Buf[from:ends[i]]
		from = ends[i]
	}
	s.d.keys = out.Buf
	for i := 1; i < n; i++ {
		for k := i; k > 0 && bytes.Compare(keys[k], keys[k-1]) < 0; k-- {
			keys[k], keys[k-1] = keys[k-1], keys[k]
			swap(k, k-1)
		}
	}
}
