package real

import (
	"errors"
	"fmt"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/policy"
)

// Names in the state machine. Their shards are not among the first, which an
// entry sweeps that is applied to a machine just loaded: a sweep is an action of
// its own, see sweepAll.
const (
	policyName = "requests"
	budgetKey  = "key"
	policyID   = 1
)

var edgeIDs = [maxProcesses]string{"edge-a", "edge-b", "edge-c", "edge-d", "edge-e", "edge-f"}

// Holders in the state machine: that of an edge's n-th number, those who are
// lost, and those not handed out yet.
const (
	holdersPerEdge = 16
	firstLost      = holdersPerEdge * maxProcesses
	firstNew       = 1000
)

func holder(edge, n int) escrow.HolderID {
	if n == 0 {
		return 0
	}
	return escrow.HolderID(edge*holdersPerEdge + n)
}

// A driver runs the real state machine on behalf of a state. It keeps one
// machine and loads into it what it needs.
type driver struct {
	machine *fsm.Machine
	img     fsm.Image
	batch   fsm.Batch
	keys    []byte // scratch of Canonicalise
}

func newDriver(w *World) *driver {
	d := &driver{machine: fsm.New()}
	idle := w.Idle
	if idle == 0 {
		idle = clock.MaxInstant
	}
	d.img = fsm.Image{
		Settings: fsm.Settings{
			Rates: w.Time.Rates(), LongestLease: w.Longest, SessionIdle: idle,
			MaxBudgets: 10, MaxEdges: 10, MaxHolders: 100,
		},
		Policies: make([]fsm.PolicyImage, 1),
		Edges:    make([]fsm.EdgeImage, w.Edges),
		Budgets:  make([]fsm.BudgetImage, 1),
	}
	return d
}

// sealed returns the log entry for e: what the leader proposes.
func (d *driver) sealed(s *state, e *entry) []byte {
	d.batch.Reset()
	switch e.what {
	case anAsk:
		d.batch.Add(s.exchange(e))
	case aStep:
		d.batch.Add(fsm.Step{To: e.to})
	case aChange:
		d.batch.Add(s.policies(s.w.choices()[e.change]))
	}
	return d.batch.Seal(e.stamp, 1)
}

func (s *state) exchange(e *entry) *fsm.Exchange {
	r := &e.req
	want, need := r.want, r.need
	if s.w.Rule == Increments && r.want > 0 { // as an owner would that adds what is asked for
		var have escrow.Credits
		if x := &s.edges[e.edge]; x.record.incarnation == r.incarnation && !s.head.over() {
			have = x.allotment.Granted
		}
		want, need = have+r.more, min(need, have+r.more)
	}
	return &fsm.Exchange{
		EdgeID: edgeIDs[e.edge], Incarnation: uint64(r.incarnation), Session: holder(e.edge, r.session), Seq: uint64(r.seq),
		Asks: []fsm.Ask{{
			Policy: policyName, Key: budgetKey, Window: r.window,
			Used: r.used, Returned: r.returned, Need: need, Want: want,
		}},
	}
}

func (s *state) policies(c choice) fsm.Policies {
	h := &s.head
	gone := !h.exists || h.deleted
	switch {
	case c.delete && !gone:
		return fsm.Policies{Delete: []string{policyName}}
	case c.delete:
		return fsm.Policies{Put: []policy.Policy{s.w.policy(h.limit, h.length)}}
	case c.limit != 0:
		return fsm.Policies{Put: []policy.Policy{s.w.policy(escrow.Credits(c.limit), h.length)}}
	}
	return fsm.Policies{Put: []policy.Policy{s.w.policy(h.limit, clock.Millis(c.length))}}
}

func (w *World) policy(limit escrow.Credits, length clock.Millis) policy.Policy {
	return policy.Policy{
		Name: policyName, Strategy: policy.FixedWindow, Limit: limit,
		Cadence: escrow.Cadence{Kind: escrow.Fixed, Period: length},
		MaxKeys: 10,
	}
}

// apply has the real state machine apply an entry to the state, and takes over
// what it made of it.
func (s *state) apply(entry []byte) (fsm.Outcome, error) {
	d := s.d
	s.show(&d.img)
	if err := d.machine.Load(&d.img); err != nil {
		return fsm.Outcome{}, fmt.Errorf("load: %w", err)
	}
	out, err := d.machine.Apply(d.machine.Index()+1, entry, true)
	if err != nil {
		return out, err
	}
	return out, s.take(&d.img)
}

// sweepAll applies empty entries, which are old news but for the sweep that
// follows each of them, until it has passed all shards.
func (s *state) sweepAll() error {
	d := s.d
	s.show(&d.img)
	if err := d.machine.Load(&d.img); err != nil {
		return fmt.Errorf("load: %w", err)
	}
	d.batch.Reset()
	nothing := d.batch.Seal(0, 1)
	for range entriesPerSweep {
		if _, err := d.machine.Apply(d.machine.Index()+1, nothing, false); err != nil {
			return err
		}
	}
	return s.take(&d.img)
}

// entriesPerSweep is how many entries it takes to sweep a machine with few
// records.
const entriesPerSweep = 64

// sweepable reports whether a sweep would forget something.
func (s *state) sweepable() bool {
	h := &s.head
	if h.open && h.over() || h.exists && h.deleted && !h.open {
		return true
	}
	for i := range s.edges {
		if r := &s.edges[i].record; s.w.Idle > 0 && r.exists && h.now-r.seen > s.w.Idle {
			return true
		}
	}
	return false
}

// show makes the image of a state.
func (s *state) show(img *fsm.Image) {
	h := &s.head
	img.Now, img.Forgotten, img.NextHolder, img.NextPolicy = h.now, h.forgotten, firstNew, policyID
	p := &img.Policies[0]
	*p = fsm.PolicyImage{Exists: h.exists, ID: policyID, Since: h.since, Deleted: h.deleted}
	if p.Name = policyName; h.exists {
		p.Policy, img.NextPolicy = s.w.policy(h.limit, h.length), policyID+1
	}
	b := &img.Budgets[0]
	*b = fsm.BudgetImage{BudgetState: fsm.BudgetState{Key: budgetKey, Holders: b.Holders[:0]}, PolicyID: policyID}
	if h.open {
		b.Exists, b.Policy, b.Window, b.Capacity, b.Peak = true, policyName, h.window, h.capacity, h.peak
	}
	for i := range s.edges {
		s.edges[i].show(i, &img.Edges[i], b)
	}
	for i, a := range h.lost {
		b.Holders = append(b.Holders, fsm.HolderState{Holder: escrow.HolderID(firstLost + i), Allotment: a})
	}
}

func (e *edge) show(i int, img *fsm.EdgeImage, b *fsm.BudgetImage) {
	r := &e.record
	*img = fsm.EdgeImage{ID: edgeIDs[i]}
	if !r.exists {
		return
	}
	img.Exists, img.Incarnation, img.Holder = true, uint64(r.incarnation), holder(i, r.holder)
	img.Seq, img.Seen = uint64(r.seq), r.seen
	for k, old := range r.replaced {
		img.Replaced[k] = uint64(old)
	}
	if e.known {
		b.Holders = append(b.Holders, fsm.HolderState{Holder: img.Holder, Allotment: e.allotment})
	}
}

var errStranger = errors.New("a holder that nobody was given")

// take takes over what the machine has become.
func (s *state) take(img *fsm.Image) error {
	if err := s.d.machine.Save(img); err != nil {
		return err
	}
	h := &s.head
	p, b := &img.Policies[0], &img.Budgets[0]
	h.now, h.forgotten = img.Now, img.Forgotten
	if h.exists, h.deleted, h.since = p.Exists, p.Deleted, p.Since; p.Exists {
		h.limit, h.length = p.Limit, p.Cadence.Period
	}
	h.lost = h.lost[:0]
	if h.open = b.Exists; b.Exists {
		h.window, h.capacity, h.peak = b.Window, b.Capacity, b.Peak
	}
	for i := range s.edges {
		s.edges[i].take(s, i, &img.Edges[i], b)
	}
	found := 0
	for _, x := range b.Holders {
		if x.Holder == 0 {
			return errStranger
		}
		if s.owner(x.Holder) < 0 {
			h.lost = append(h.lost, x.Allotment)
		} else {
			found++
		}
	}
	if found+len(h.lost) != len(b.Holders) {
		return errStranger
	}
	return nil
}

// owner returns the edge whose session has a holder, or -1.
func (s *state) owner(h escrow.HolderID) int {
	for i := range s.d.img.Edges {
		if e := &s.d.img.Edges[i]; e.Exists && e.Holder == h {
			return i
		}
	}
	return -1
}

func (e *edge) take(s *state, i int, img *fsm.EdgeImage, b *fsm.BudgetImage) {
	before := e.record
	e.record, e.allotment, e.known = record{}, escrow.Allotment{}, false
	if !img.Exists {
		return
	}
	r := record{exists: true, incarnation: int(img.Incarnation), seq: int(img.Seq), seen: img.Seen, holder: before.holder}
	for k, old := range img.Replaced {
		r.replaced[k] = int(old)
	}
	if !before.exists || img.Holder >= firstNew {
		r.holder = e.freshHolder(s, i, before.holder)
	}
	e.record = r
	for _, x := range b.Holders {
		if x.Holder == img.Holder {
			e.allotment, e.known = x.Allotment, true
		}
	}
}

// freshHolder returns a number that the edge has not in use.
func (e *edge) freshHolder(s *state, i, newest int) int {
	e.mentions(s, i, func(n *int) { newest = max(newest, *n) })
	return newest + 1
}
