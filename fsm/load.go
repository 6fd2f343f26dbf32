package fsm

import (
	"encoding/binary"
	"fmt"

	"github.com/tkcoord/tkcoord/concurrency"
	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/internal/bug"
	"github.com/tkcoord/tkcoord/strategy"
)

// A loader fills a machine with the records of a snapshot. They come by kind, the
// head and the policies first, so each is checked against those before it.
type loader struct {
	m       *Machine
	kind    byte             // of the record before
	records map[uint32]int64 // budgets, cells, meters and slots so far, by the id that they have
}

func (l *loader) load(kind byte, body []byte) error {
	if kind < l.kind || kind == recordHead && l.kind == recordHead || l.kind == 0 && kind != recordHead {
		return fmt.Errorf("a record of kind %d comes after one of kind %d", kind, l.kind)
	}
	l.kind = kind
	r := reader{buf: body}
	var err error
	switch kind {
	case recordHead:
		l.m.loadHead(&r)
		err = l.m.checkHead()
	case recordPolicy:
		err = l.policy(&r)
	case recordEdge:
		if bug.Planted(bug.DropSessions) {
			return nil
		}
		err = l.edge(&r)
	case recordBudget:
		err = l.budget(&r)
	case recordCell:
		err = l.cell(&r)
	case recordMeter:
		err = l.meter(&r)
	case recordSlot:
		err = l.slot(&r)
	default:
		err = fmt.Errorf("record kind %d is unknown to this version", kind)
	}
	if r.err != nil {
		return r.err
	}
	if err == nil && len(r.buf) > 0 {
		return fmt.Errorf("%d bytes follow a record of kind %d", len(r.buf), kind)
	}
	return err
}

func (l *loader) policy(r *reader) error {
	p := &policyState{Policy: r.policy(), id: r.id(), states: r.id(), since: r.millis(), deleted: r.bool(), Counters: r.counters()}
	if err := p.prepare(); r.err == nil && err != nil {
		return fmt.Errorf("policy %q: %w", p.Name, err)
	}
	if r.bool() {
		p.guard = r.guardState(p.Guard)
	}
	if r.err != nil {
		return r.err
	}
	if l.m.policies.get([]byte(p.Name)) != nil {
		return fmt.Errorf("policy %q is there twice", p.Name)
	}
	l.m.policies.put([]byte(p.Name), p)
	for _, id := range p.ids() {
		if l.m.names[id] != "" {
			return fmt.Errorf("policy %q: id %d is there twice", p.Name, id)
		}
		l.m.names[id] = p.Name
	}
	return l.m.checkPolicy(p.Name, p)
}

func (r *reader) id() uint32 { return uint32(r.count(1<<32 - 1)) }

func (r *reader) guardState(c concurrency.Config) *guard {
	g := &guard{id: r.id(), inflight: int64(r.count(maxSlots)), retired: r.bool()}
	if r.err != nil {
		return nil
	}
	if g.retired {
		return g
	}
	var err error
	if g.limiter, r.buf, err = concurrency.Decode(c, r.buf); err != nil {
		r.fail(err.Error())
	}
	return g
}

func (l *loader) edge(r *reader) error {
	id, s := r.string(MaxEdgeIDLen), r.session()
	if l.m.edges.get([]byte(id)) != nil {
		return fmt.Errorf("edge %q is there twice", id)
	}
	l.m.edges.put([]byte(id), s)
	return l.m.checkSession(id, s)
}

func (l *loader) budget(r *reader) error {
	key := r.string(4 + MaxKeyLen)
	if r.err != nil || len(key) < 4 {
		return fmt.Errorf("%w: budget without an id", errCorrupt)
	}
	b, err := r.budget(key)
	if err != nil {
		return err
	}
	if l.m.budgets.get([]byte(key)) != nil {
		return fmt.Errorf("budget %q is there twice", key[4:])
	}
	l.m.budgets.put([]byte(key), b)
	l.records[b.policy]++
	return l.m.checkBudget(key, b)
}

// stateKey reads the key of a cell or a meter, with the id in front.
func (l *loader) stateKey(r *reader) (key string, id uint32) {
	if key = r.string(4 + MaxKeyLen); r.err == nil && len(key) < 4 {
		r.fail("a state without an id")
	}
	if r.err != nil {
		return "", 0
	}
	id = binary.BigEndian.Uint32([]byte(key))
	if l.records[id]++; l.m.names[id] == "" {
		l.m.orphans[id]++
	}
	return key, id
}

func (l *loader) cell(r *reader) error {
	key, id := l.stateKey(r)
	if r.err != nil {
		return r.err
	}
	c := &cell{policy: id}
	var err error
	if c.State, r.buf, err = strategy.Decode(r.buf); err != nil {
		return fmt.Errorf("cell %q: %w", key[4:], err)
	}
	if l.m.cells.get([]byte(key)) != nil {
		return fmt.Errorf("cell %q is there twice", key[4:])
	}
	l.m.cells.put([]byte(key), c)
	return l.m.checkCell(key, c)
}

func (l *loader) meter(r *reader) error {
	key, id := l.stateKey(r)
	x := &meter{escrow.Meter{End: clock.Millis(r.varint()), Served: escrow.Credits(r.count(2 * uint64(escrow.MaxCredits)))}, id}
	if r.err != nil {
		return r.err
	}
	if l.m.meters.get([]byte(key)) != nil {
		return fmt.Errorf("meter %q is there twice", key[4:])
	}
	l.m.meters.put([]byte(key), x)
	return l.m.checkMeter(key, x)
}

func (l *loader) slot(r *reader) error {
	fence, s := r.slot()
	if r.err != nil {
		return r.err
	}
	key := l.m.slotKey(fence)
	if l.m.slots.get(key) != nil {
		return fmt.Errorf("slot %x is there twice", fence)
	}
	l.m.slots.put(key, s)
	l.records[s.guard]++
	return l.m.checkSlot(fence, s)
}

// complete checks what only the whole snapshot shows: a policy is forgotten once
// it counts no keys, so the count must be right.
func (l *loader) complete() error {
	if l.kind == 0 {
		return fmt.Errorf("%w: it is empty", errCorrupt)
	}
	for name, p := range l.m.policies.sorted() {
		if p.Counters.keys != l.records[p.id] {
			return fmt.Errorf("policy %q counts %d keys and has %d", name, p.Counters.keys, l.records[p.id])
		}
		if p.states != 0 && p.Counters.states != l.records[p.states] {
			return fmt.Errorf("policy %q counts %d states and has %d", name, p.Counters.states, l.records[p.states])
		}
		if p.guard != nil && p.guard.inflight != l.records[p.guard.id] {
			return fmt.Errorf("policy %q counts %d slots and has %d", name, p.guard.inflight, l.records[p.guard.id])
		}
	}
	l.m.endings.rebuild(l.m.slots)
	return nil
}

func (m *Machine) loadHead(r *reader) {
	m.index = r.uvarint()
	m.now = r.millis()
	m.clusterID = r.string(maxClusterID)
	m.settings = r.settings()
	m.nextHolder = escrow.HolderID(r.uvarint())
	m.nextPolicy = uint32(r.count(1<<32 - 1))
	m.version = r.uvarint()
	m.forgotten = r.millis()
	m.cursor = uint32(r.count(budgetShards - 1))
	n := int(r.count(maxAlarms))
	for range n {
		m.alarms = append(m.alarms, RaisedAlarm{
			Kind: r.string(maxAlarmKind), Node: r.string(maxNodeIDLen), Detail: r.string(maxDetailLen), At: r.millis(),
		})
	}
}

func (r *reader) session() *session {
	s := &session{incarnation: r.u64()}
	for i := range s.replaced {
		s.replaced[i] = r.u64()
	}
	s.holder = escrow.HolderID(r.uvarint())
	s.seq = r.uvarint()
	s.seen = r.millis()
	return s
}

func (r *reader) budget(key string) (*budget, error) {
	w := escrow.Window{Start: clock.Millis(r.varint()), End: clock.Millis(r.varint())}
	capacity, peak := r.credits(), r.credits()
	taken, given := r.credits(), r.credits()
	b := &budget{Ledger: escrow.Open(w, peak), policy: binary.BigEndian.Uint32([]byte(key))}
	for n := r.count(1 << 32); n > 0 && r.err == nil; n-- {
		h := escrow.HolderID(r.uvarint())
		a := escrow.Allotment{Granted: r.credits(), Returned: r.credits(), Used: r.credits()}
		if r.err != nil {
			break
		}
		if err := b.Load(h, a); err != nil {
			return nil, fmt.Errorf("budget %q: %w", key[4:], err)
		}
	}
	b.SetCapacity(capacity)
	if err := b.LoadUnheld(taken, given); r.err == nil && err != nil {
		return nil, fmt.Errorf("budget %q: %w", key[4:], err)
	}
	return b, r.err
}

func (r *reader) slot() (fence uint64, s *slotLease) {
	key := r.fixed(8)
	if key == nil {
		return 0, nil
	}
	return binary.BigEndian.Uint64(key), &slotLease{
		nonce: r.nonce(), guard: r.id(), atAcquire: int64(r.count(maxSlots)), start: r.millis(),
		end: clock.Millis(r.count(uint64(clock.MaxInstant + SlotTTL))),
	}
}
