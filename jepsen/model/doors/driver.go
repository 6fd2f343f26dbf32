package doors

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/tkcoord/tkcoord/concurrency"
	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/jepsen/model/cluster"
	"github.com/tkcoord/tkcoord/policy"
)

// Names in the state machine. Their shards are not among the first, which an
// entry sweeps that is applied to a machine just loaded: a sweep is an action of
// its own.
const (
	policyName = "requests"
	budgetKey  = "key"
	edgeID     = "edge-a"
	policyID   = 1
	partID     = 2 // of the meters or the guard
	holder     = 1
)

// A driver runs the real state machine on behalf of a state. It keeps one machine
// and loads into it what it needs.
type driver struct {
	machine *fsm.Machine
	img     fsm.Image
	batch   fsm.Batch
	ends    []*clock.Millis // of the slots in the machine, in the order of their fences
	before  []clock.Millis  // what they were
	keys    []byte          // scratch of Canonicalise
	// Machines that were checked, and restored, by what there is in them. Both are
	// functions of that and dear, and there are fewer of them than states.
	checked, restored map[string]bool
}

func newDriver(w *World) *driver {
	d := &driver{machine: fsm.New(), checked: make(map[string]bool), restored: make(map[string]bool)}
	d.img = fsm.Image{
		Settings: fsm.Settings{
			Rates: w.Rates(), LongestLease: w.Longest, SessionIdle: 1_000_000_000,
			MaxBudgets: 10, MaxEdges: 10, MaxHolders: 10,
		},
		Policies: []fsm.PolicyImage{{Policy: policy.Policy{Name: policyName}}},
		Edges:    []fsm.EdgeImage{{ID: edgeID}},
		Budgets:  []fsm.BudgetImage{{BudgetState: fsm.BudgetState{Key: budgetKey}, PolicyID: policyID}},
		Meters:   []fsm.MeterImage{{States: partID, Key: budgetKey}},
		Slots:    make([]fsm.SlotImage, maxSlots),
	}
	for i := range d.img.Slots {
		d.img.Slots[i].Fence = fence(i)
	}
	return d
}

// fence is that of the i-th slot in the machine. It is as if each had been taken by
// an entry of its own and no entry had come since.
func fence(i int) uint64 { return uint64(i+1) << 12 }

// leaseID returns the id of a client's slot: one that never was if it is no more.
func (s *state) leaseID(c *client, slot int) string {
	for i, end := range s.d.ends {
		if end == &c.slots[slot-1] {
			return s.d.img.Slots[i].LeaseID()
		}
	}
	gone := fsm.SlotImage{Fence: fence(maxSlots)}
	return gone.LeaseID()
}

// load loads the state into the machine.
func (s *state) load() error {
	s.show(&s.d.img)
	if err := s.d.machine.Load(&s.d.img); err != nil {
		return fmt.Errorf("load: %w", err)
	}
	return nil
}

// apply has the real state machine apply an entry with one command, or none, and
// takes over what it made of it. The state must have been loaded.
func (s *state) apply(cmd fsm.Command, stamp clock.Millis) (fsm.Result, error) {
	d := s.d
	d.batch.Reset()
	if cmd != nil {
		if err := cmd.Validate(); err != nil {
			return fsm.Result{}, err
		}
		d.batch.Add(cmd)
	}
	before := s.now
	out, err := d.machine.Apply(d.machine.Index()+1, d.batch.Seal(stamp, 1), true)
	if err != nil {
		return fsm.Result{}, err
	}
	if err := s.take(d.machine); err != nil {
		return fsm.Result{}, err
	}
	s.Committed()
	if err := s.audit(); err != nil {
		return fsm.Result{}, err
	}
	if s.now < before {
		return fsm.Result{}, fmt.Errorf("Monotone: now %d after %d", s.rel(s.now), s.rel(before))
	}
	if cmd == nil {
		return fsm.Result{}, nil
	}
	return out.Results[0], nil
}

// sweep applies empty entries, which are old news but for the sweep that follows
// each of them, until it has passed all shards.
func (s *state) sweep() error {
	if err := s.load(); err != nil {
		return err
	}
	s.d.batch.Reset()
	nothing := s.d.batch.Seal(0, 1)
	for range entriesPerSweep {
		if _, err := s.d.machine.Apply(s.d.machine.Index()+1, nothing, false); err != nil {
			return err
		}
	}
	return s.take(s.d.machine)
}

// entriesPerSweep is how many entries it takes to sweep a machine with few
// records.
const entriesPerSweep = 64

// sweepable reports whether a sweep would forget something.
func (s *state) sweepable() bool {
	return s.ledger.exists && s.over() || s.meter.exists && s.now >= s.meter.End
}

var errDigest = errors.New("Restore: a replica that was restored from a snapshot has another digest")

// restore goes on with a replica that was restored from a snapshot. All
// invariants of the machine are checked on the way.
func (s *state) restore() error {
	if err := s.load(); err != nil {
		return err
	}
	if s.first(s.d.restored) {
		if err := s.viaSnapshot(); err != nil {
			return err
		}
	}
	switch s.w.Rule {
	case ForgetSlots:
		s.forgetSlots()
	case ForgetMeters:
		s.meter = meter{}
	}
	return nil
}

// viaSnapshot takes over from a restored replica.
func (s *state) viaSnapshot() error {
	var snapshot bytes.Buffer
	view := s.d.machine.Freeze()
	if _, err := view.WriteTo(&snapshot); err != nil {
		return err
	}
	m, err := fsm.Restore(&snapshot)
	if err != nil {
		return err
	}
	if m.Freeze().Digest() != view.Digest() {
		return errDigest
	}
	if err := m.Check(); err != nil {
		return fmt.Errorf("Check: %w", err)
	}
	return s.take(m)
}

// audit checks all invariants of the machine, as an entry has left it.
func (s *state) audit() error {
	if !s.first(s.d.checked) {
		return nil
	}
	if err := s.d.machine.Check(); err != nil {
		return fmt.Errorf("Check: %w", err)
	}
	return nil
}

// first reports whether what is in the machine is new to a memory, and notes it.
func (s *state) first(memory map[string]bool) bool {
	out := writer{cluster.Writer{Buf: s.d.keys[:0]}}
	base := s.w.base()
	out.Int(trafficIndex(s.traffic))
	out.Bits(s.deleted, s.ledger.exists, s.meter.exists)
	out.Int(s.limit)
	out.Instant(s.now, base)
	out.ledger(&s.ledger, base)
	out.Instant(s.meter.End, base)
	out.Num(int64(s.meter.Served))
	for i := range s.clients {
		c := &s.clients[i]
		out.Bits(c.record, c.known)
		out.Num(int64(c.Granted))
		out.Num(int64(c.Used))
		out.instants(c.slots, base)
	}
	out.instants(s.orphans, base)
	s.d.keys = out.Buf
	if memory[string(out.Buf)] {
		return false
	}
	memory[string(out.Buf)] = true
	return true
}

func (s *state) forgetSlots() {
	s.orphans = s.orphans[:0]
	for i := range s.clients {
		clear(s.clients[i].slots)
	}
}

// show makes the image of a state.
func (s *state) show(img *fsm.Image) {
	img.Index, img.Now, img.NextHolder, img.NextPolicy = 0, s.now, holder+1, partID+1
	p := &img.Policies[0]
	limiter := p.Guard.Limiter[:0]
	*p = fsm.PolicyImage{Policy: s.w.policy(s.traffic, s.limit), Exists: true, ID: policyID, Deleted: s.deleted, Since: s.ledger.since}
	switch {
	case s.traffic == Slots && s.deleted && s.live() > 0:
		p.Guard = fsm.GuardImage{ID: partID, Retired: true, Limiter: limiter}
	case s.traffic == Slots && !s.deleted:
		l := concurrency.New(p.Policy.Guard) // of a fixed limit it does not matter what it has seen
		p.Guard = fsm.GuardImage{ID: partID, Limiter: l.Append(limiter)}
	case s.traffic == Tokens:
		p.States = partID
	}
	img.Meters[0] = fsm.MeterImage{States: partID, Key: budgetKey, Exists: s.meter.exists, Meter: s.meter.Meter}
	s.showUnits(img)
	s.showSlots(img)
}

func (s *state) showUnits(img *fsm.Image) {
	b, l := &img.Budgets[0], &s.ledger
	*b = fsm.BudgetImage{BudgetState: fsm.BudgetState{Key: budgetKey, Holders: b.Holders[:0]}, PolicyID: policyID}
	img.Edges[0] = fsm.EdgeImage{ID: edgeID}
	if l.exists {
		b.Exists, b.Policy, b.Window, b.Capacity, b.Peak = true, policyName, l.window, l.capacity, l.peak
		b.Taken, b.Given = l.taken, l.given
	}
	for i := range s.clients {
		c := &s.clients[i]
		if !c.edge || !c.record {
			continue
		}
		img.Edges[0] = fsm.EdgeImage{ID: edgeID, Exists: true, Incarnation: 1, Holder: holder, Seq: 1, Seen: s.now}
		if c.known {
			b.Holders = append(b.Holders, fsm.HolderState{Holder: holder, Allotment: c.Allotment})
		}
	}
}

func (s *state) showSlots(img *fsm.Image) {
	d := s.d
	d.ends, d.before = d.ends[:0], d.before[:0]
	for i := range s.clients {
		for k := range s.clients[i].slots {
			if end := &s.clients[i].slots[k]; *end != 0 {
				d.ends = append(d.ends, end)
			}
		}
	}
	for i := range s.orphans {
		if s.orphans[i] != 0 { // a state as it comes may still have one that ended
			d.ends = append(d.ends, &s.orphans[i])
		}
	}
	for i := range img.Slots {
		img.Slots[i] = fsm.SlotImage{Fence: fence(i)}
		if i < len(d.ends) {
			x := &img.Slots[i]
			x.Exists, x.Guard, x.AtAcquire, x.Start, x.End = true, partID, 1, s.now, *d.ends[i]
			d.before = append(d.before, x.End)
		}
	}
	img.Index = uint64(len(d.ends))
}

var errStranger = errors.New("a holder that nobody was given")

// take takes over what the machine has become. A slot that was taken is added to
// the orphans, as the last one.
func (s *state) take(m *fsm.Machine) error {
	img := &s.d.img
	if err := m.Save(img); err != nil {
		return err
	}
	p, b := &img.Policies[0], &img.Budgets[0]
	s.now, s.deleted, s.ledger.since = img.Now, p.Deleted, p.Since
	switch {
	case s.traffic == Slots && p.Policy.Guard.MaxLimit > 0:
		s.limit = p.Policy.Guard.MaxLimit
	case s.traffic != Slots:
		s.limit = int(p.Limit)
	}
	s.meter = meter{img.Meters[0].Exists, img.Meters[0].Meter}
	if s.ledger.exists = b.Exists; b.Exists {
		s.ledger = ledger{true, p.Since, b.Window, b.Capacity, b.Peak, b.Taken, b.Given}
	}
	for i := range s.clients {
		c := &s.clients[i]
		if !c.edge {
			continue
		}
		c.record, c.known, c.Allotment = img.Edges[0].Exists, len(b.Holders) > 0, escrow.Allotment{}
		if c.known {
			c.Allotment = b.Holders[0].Allotment
		}
	}
	if len(b.Holders) > 1 || len(b.Holders) == 1 && b.Holders[0].Holder != img.Edges[0].Holder {
		return errStranger
	}
	s.takeSlots(img)
	return nil
}

func (s *state) takeSlots(img *fsm.Image) {
	n := len(s.d.ends)
	for i, end := range s.d.ends {
		if *end = img.Slots[i].End; img.Slots[i].Guard != img.Policies[0].Guard.ID {
			*end = 0 // it is no more, or of no guard
		}
	}
	if n < len(img.Slots) && img.Slots[n].Exists {
		s.orphans = append(s.orphans, img.Slots[n].End)
	}
}
