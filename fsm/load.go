package fsm

import (
	"encoding/binary"
	"fmt"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/internal/bug"
)

// A loader fills a machine with the records of a snapshot. They come by kind, the
// head first and budgets last, so each is checked against those before it.
type loader struct {
	m    *Machine
	kind byte             // of the record before
	keys map[uint32]int64 // budgets so far, by policy
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
	p := &policyState{Policy: r.policy(), id: uint32(r.count(1<<32 - 1)), since: r.millis(), deleted: r.bool(), Counters: r.counters()}
	if l.m.names[p.id] != "" || l.m.policies.get([]byte(p.Name)) != nil {
		return fmt.Errorf("policy %q is there twice", p.Name)
	}
	l.m.policies.put([]byte(p.Name), p)
	l.m.names[p.id] = p.Name
	return l.m.checkPolicy(p.Name, p)
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
	if r.err != nil || len(key) < 5 {
		return fmt.Errorf("%w: budget without a key", errCorrupt)
	}
	b, err := r.budget(key)
	if err != nil {
		return err
	}
	if l.m.budgets.get([]byte(key)) != nil {
		return fmt.Errorf("budget %q is there twice", key[4:])
	}
	l.m.budgets.put([]byte(key), b)
	l.keys[b.policy]++
	return l.m.checkBudget(key, b)
}

// complete checks what only the whole snapshot shows: a policy is forgotten once
// it counts no keys, so the count must be right.
func (l *loader) complete() error {
	if l.kind == 0 {
		return fmt.Errorf("%w: it is empty", errCorrupt)
	}
	for name, p := range l.m.policies.sorted() {
		if p.Counters.keys != l.keys[p.id] {
			return fmt.Errorf("policy %q counts %d keys and has %d", name, p.Counters.keys, l.keys[p.id])
		}
	}
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
	return b, r.err
}
