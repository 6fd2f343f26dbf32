package doors

import (
	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/jepsen/model/cluster"
)

// New implements model.Model.
func (w *World) New() *state { return w.with(newDriver(w)) }

// with returns an empty state that is driven by d.
func (w *World) with(d *driver) *state {
	return &state{
		w: w, d: d, clients: make([]client, w.Clients),
		Cluster: cluster.Cluster{Time: &w.Time, Leader: -1, Nodes: make([]cluster.Node, w.Leaders)},
	}
}

// Init implements model.Model. A cluster was founded, all nodes have applied its
// log, the first of them leads, and a window begins. There is one such state for
// each traffic and each way to assign rates to the processes.
func (w *World) Init(emit func(*state)) {
	for _, t := range w.Traffic {
		if w.Clocks == WorstClocks {
			emit(w.begin(Traffic(t), func(process int) bool { return process >= w.Clients }))
			continue
		}
		for rates := range 1 << (w.Clients + w.Leaders) {
			emit(w.begin(Traffic(t), func(process int) bool { return rates>>process&1 == 1 }))
		}
	}
}

// begin returns an initial state. Processes are the clients and after them the
// nodes.
func (w *World) begin(t Traffic, fast func(process int) bool) *state {
	s := w.New()
	s.traffic, s.now, s.limit = t, w.base(), w.Limit
	s.ledger.window = escrow.Window{Start: s.now - w.Length, End: s.now} // none yet: one that is over
	if t == Slots {
		s.most = int64(w.Limit)
	}
	s.left = budget{w.Duplicates, w.Elections, w.Crashes, w.Restarts, w.Steps, w.Changes, w.Deaths, w.Restores, w.Faults}
	for i := range s.clients {
		s.clients[i] = client{fast: fast(i), edge: t == Units && i == 0}
	}
	for i := range s.Nodes {
		s.Nodes[i].Fast = fast(w.Clients + i)
		s.Note(&s.Nodes[i], s.now)
	}
	s.Elect(0, 0)
	s.left.normalise()
	s.normalise()
	return s
}
