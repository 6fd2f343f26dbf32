package real

import (
	"fmt"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/jepsen/model/cluster"
	"github.com/tkcoord/tkcoord/policy"
)

// New implements model.Model.
func (w *World) New() *state { return w.with(newDriver(w)) }

// with returns an empty state that is driven by d.
func (w *World) with(d *driver) *state {
	return &state{w: w, d: d, Cluster: cluster.Cluster{Time: &w.Time, Leader: -1, Nodes: make([]cluster.Node, w.Leaders)}, edges: make([]edge, w.Edges)}
}

// Init implements model.Model. A cluster was founded, all nodes have applied its
// log, the first of them leads, and a window begins. There is one such state for
// each way to assign rates to the processes.
func (w *World) Init(emit func(*state)) {
	if w.Clocks == WorstClocks {
		emit(w.begin(func(process int) bool { return process >= w.Edges }))
		return
	}
	for rates := range 1 << (w.Edges + w.Leaders) {
		emit(w.begin(func(process int) bool { return rates>>process&1 == 1 }))
	}
}

// begin returns an initial state. Processes are the edges and after them the
// nodes.
func (w *World) begin(fast func(process int) bool) *state {
	s := w.New()
	s.found()
	s.left = budget{w.Duplicates, w.Elections, w.Crashes, w.Restarts, w.Steps, w.Changes, w.Deaths, w.Faults, w.Returns}
	for i := range s.edges {
		s.edges[i] = edge{fast: fast(i), incarnation: 1}
	}
	for i := range s.Nodes {
		n := &s.Nodes[i]
		n.Fast = fast(w.Edges + i)
		s.note(n)
	}
	s.Elect(0, 0)
	s.left.normalise()
	s.normalise()
	return s
}

// found has the state machine apply the first entries of a cluster.
func (s *state) found() {
	base, d := s.w.base(), s.d
	for _, cmd := range []fsm.Command{
		fsm.Genesis{ClusterID: "world", Settings: d.img.Settings},
		fsm.Step{To: base},
		fsm.Policies{Put: []policy.Policy{s.w.policy(s.w.Limit, s.w.Length)}},
	} {
		d.batch.Reset()
		d.batch.Add(cmd)
		out, err := d.machine.Apply(d.machine.Index()+1, d.batch.Seal(0, 1), true)
		if err == nil {
			err = out.Results[0].Err
		}
		if err != nil {
			panic(fmt.Sprintf("real: %T: %v", cmd, err)) // Validate lets only good ones through
		}
	}
	s.show(&d.img) // names the records
	if err := s.take(&d.img); err != nil {
		panic(fmt.Sprintf("real: after the first entries: %v", err))
	}
	s.head.window = escrow.Window{Start: base - s.w.Length, End: base} // none yet: one that is over
}
