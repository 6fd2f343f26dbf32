// Package fsm is the replicated state machine: commands and their encoding in
// the log, the ledgers of all budgets, sessions of edges, policies, the cluster
// clock, snapshots and digests.
//
// It is a pure function of (state, entry). It reads no clock, draws no random
// number, starts no goroutine and never lets the order of a Go map reach the
// state, so equal logs give equal bytes on every replica. Identity and time are
// in the commands, put there by the leader that proposed them.
package fsm

import (
	"encoding/binary"
	"fmt"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/policy"
	"github.com/tkcoord/tkcoord/strategy"
)

// A Machine holds the replicated state. Its methods belong to the goroutine that
// applies the log; a View taken with Freeze may be read by any one goroutine
// beside it.
//
// Invariant: now only grows; every ledger satisfies its own invariant; the
// live counters of a policy are the sums over its ledgers and states; the slots
// of a guard are as many as it counts, and none has ended.
type Machine struct {
	state

	// Made from the state.
	names   map[uint32]string // policies by their ids, see policyState
	orphans map[uint32]int    // cells and meters whose id has no policy any more, by id
	endings endings           // of the slots

	// Of the entry in hand.
	scratch  []byte     // key of the budget in hand
	errands  [32]errand // asks in hand
	wishes   [32]wish   // keys of a Check in hand
	touched  uint32     // what gather read, so that it reads
	newKeys  int        // asked for, granted or not
	position int        // of the command
	cold     strategy.State
	slab     []strategy.Decision // not handed out yet
}

// state is everything that replicas agree on.
type state struct {
	index      uint64 // of the last applied entry
	now        clock.Millis
	clusterID  string // empty before Genesis
	settings   Settings
	nextHolder escrow.HolderID
	nextPolicy uint32
	version    uint64       // of the policies
	forgotten  clock.Millis // when a policy was last forgotten, 0 if none was
	cursor     uint32       // shard that the sweep visits next
	alarms     []RaisedAlarm
	policies   *table[policyState] // by name
	edges      *table[session]     // by edge id
	budgets    *table[budget]      // by policy id and key
	cells      *table[cell]        // by id of the policy's states and key
	meters     *table[meter]       // likewise
	slots      *table[slotLease]   // by fence
}

// Shards of the tables. More shards make the copies after a freeze smaller and
// the freeze itself dearer; 4096 pointers are copied in a few microseconds.
const (
	budgetShards = 4096 // also of cells and meters
	edgeShards   = 1024 // also of slots
	policyShards = 256
)

// A policyState is a policy with its counters.
type policyState struct {
	policy.Policy
	// No two ids are equal, whatever they are of.
	id     uint32 // of its budgets; a name keeps its id while ledgers live
	states uint32 // of its cells or meters; 0 if it has neither kind
	// Windows that are opened from now on begin at since or later. It is where
	// the cadence last changed or, if that is later, where the last forgotten
	// window ended: a budget without a record may have had windows until then,
	// and no two windows of a budget may overlap or begin at the same instant.
	since    clock.Millis
	deleted  bool   // kept because windows with credits out are still running
	guard    *guard // nil unless Guarded
	Counters counters

	// Made from the Policy.
	ledger bool              // Policy.Ledger
	rate   strategy.Strategy // of cells, nil without
}

// A budget is the ledger of one key of a policy.
type budget struct {
	escrow.Ledger
	policy uint32 // id
}

// New returns a machine that waits for its Genesis.
func New() *Machine {
	return &Machine{
		names:   make(map[uint32]string),
		orphans: make(map[uint32]int),
		state: state{
			nextHolder: 1,
			nextPolicy: 1,
			policies:   newTable(policyShards, (*policyState).part),
			edges:      newTable[session](edgeShards, nil),
			budgets:    newTable(budgetShards, func(b *budget) { b.Ledger = b.Clone() }),
			cells:      newTable(budgetShards, func(c *cell) { c.State = c.Clone() }),
			meters:     newTable[meter](budgetShards, nil),
			slots:      newTable[slotLease](edgeShards, nil),
		},
	}
}

// Now returns the cluster clock: the newest stamp applied.
func (m *Machine) Now() clock.Millis { return m.now }

// Index returns the index of the last applied entry.
func (m *Machine) Index() uint64 { return m.index }

// ClusterID returns the identity drawn at Genesis, or "".
func (m *Machine) ClusterID() string { return m.clusterID }

// Settings returns those of Genesis; zero before.
func (m *Machine) Settings() Settings { return m.settings }

// Proposer returns the number that the proposer of an entry gave it, 0 if the
// entry is too short to hold one. It does not check the rest.
func Proposer(entry []byte) uint64 {
	r := reader{buf: entry}
	r.u8()
	r.uvarint()
	return r.u64()
}

// Apply executes the entry at index, which must be larger than those before.
// Results are built only if wanted: a follower has no use for them. An error
// wraps ErrHalt and means that this replica must stop: the entry is damaged or
// of a newer format, and going on would make replicas differ.
func (m *Machine) Apply(index uint64, entry []byte, results bool) (Outcome, error) {
	h, r, err := openEntry(entry)
	if err != nil {
		return Outcome{}, fmt.Errorf("%w: entry %d: %w", ErrHalt, index, err)
	}
	if index <= m.index {
		return Outcome{}, fmt.Errorf("%w: entry %d comes after %d", ErrHalt, index, m.index)
	}
	m.index = index
	m.newKeys = 0
	m.advance(h.stamp)
	m.reclaim()
	out := Outcome{Index: index}
	if results {
		out.Results = make([]Result, 0, h.count)
	}
	for m.position = range h.count {
		res, err := m.dispatch(&r, &out, results)
		if err != nil {
			return Outcome{}, fmt.Errorf("%w: entry %d: %w", ErrHalt, index, err)
		}
		if results {
			out.Results = append(out.Results, res)
		}
	}
	if len(r.buf) > 0 {
		return Outcome{}, fmt.Errorf("%w: entry %d: %d bytes follow its last command", ErrHalt, index, len(r.buf))
	}
	m.sweep()
	out.Now = m.now
	return out, nil
}

// advance moves the clock to an entry's stamp. A leader whose clock is behind
// leaves it where it is, so now never runs back on any replica.
func (m *Machine) advance(stamp clock.Millis) { m.now = max(m.now, stamp) }

// dispatch executes the next command. Its error means that the entry cannot be
// read; a refused command is a Result.
func (m *Machine) dispatch(r *reader, out *Outcome, results bool) (Result, error) {
	kind := Kind(r.u8())
	switch {
	case r.err != nil:
		return Result{}, r.err
	case m.clusterID == "" && kind != KindGenesis:
		// Nothing precedes Genesis in a cluster's own log.
		return Result{}, ErrUnborn
	}
	switch kind {
	case KindGenesis:
		c := r.genesis()
		if r.err != nil {
			return Result{}, r.err
		}
		return m.genesis(c), nil
	case KindStep:
		to := r.millis()
		if r.err != nil {
			return Result{}, r.err
		}
		out.Stepped = m.step(to) || out.Stepped
		return Result{}, nil
	case KindExchange:
		return m.exchange(r, results)
	case KindPolicies:
		c := r.policies()
		if r.err != nil {
			return Result{}, r.err
		}
		res, changed := m.applyPolicies(c)
		out.ChangedPolicies = append(out.ChangedPolicies, changed...)
		return res, nil
	case KindDigest:
		out.DigestDue = true
		return Result{}, nil
	case KindAlarm:
		c := r.alarm()
		if r.err != nil {
			return Result{}, r.err
		}
		res, changed := m.alarm(c)
		out.AlarmsChanged = out.AlarmsChanged || changed
		return res, nil
	}
	return m.request(kind, r, results)
}

// request executes the commands of the public unary doors.
func (m *Machine) request(kind Kind, r *reader, results bool) (Result, error) {
	switch kind {
	case KindCheck:
		return m.check(r, results)
	case KindReserve:
		if c := r.amountOf(); r.err == nil {
			return m.reserve(c), nil
		}
	case KindDebit:
		if c := r.amountOf(); r.err == nil {
			return m.debit(c), nil
		}
	case KindAdmit:
		if c := r.admit(); r.err == nil {
			return m.admit(c), nil
		}
	case KindRelease:
		if id, dropped := r.leaseID(), r.bool(); r.err == nil {
			m.release(id, dropped)
		}
	case KindHeartbeat:
		return m.heartbeat(r, results)
	default:
		return Result{}, fmt.Errorf("command kind %d is unknown to this version", kind)
	}
	return Result{}, r.err
}

func (m *Machine) genesis(c Genesis) Result {
	if m.clusterID != "" {
		return Result{Err: fmt.Errorf("cluster_id: %q, this one is %q: %w", c.ClusterID, m.clusterID, ErrBorn)}
	}
	m.clusterID, m.settings = c.ClusterID, c.Settings
	return Result{}
}

// budgetKey builds the key of a budget in the scratch buffer.
func (m *Machine) budgetKey(policyID uint32, key []byte) []byte {
	m.scratch = binary.BigEndian.AppendUint32(m.scratch[:0], policyID)
	m.scratch = append(m.scratch, key...)
	return m.scratch
}
