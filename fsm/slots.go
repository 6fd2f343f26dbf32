package fsm

import (
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"

	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/internal/bug"
)

// SlotTTL is how long a slot is held after its Admit, and after each Heartbeat
// for it.
const SlotTTL clock.Millis = 2000

// maxSlots bounds the slots of all policies. One takes about 150 bytes.
const maxSlots = 1_000_000

// A slotLease is the right of one client to have a request in flight. Its key is the
// fence.
type slotLease struct {
	nonce     [16]byte     // makes the lease id unguessable
	guard     uint32       // id
	atAcquire int64        // slots of the guard when it was taken, itself included
	start     clock.Millis // when it was taken
	end       clock.Millis // when it is reclaimed
}

// A fence is the index of the slot's entry and its command's position there, so
// it grows from each slot to the next.
const (
	positionBits = 12 // MaxBatchCmds positions
	maxIndex     = 1<<(64-positionBits) - 1
)

// A lease id is FENCE-NONCE in hexadecimal digits. Only the one spelling is good.
func leaseID(fence uint64, nonce [16]byte) string {
	b := make([]byte, 0, 16+1+2*len(nonce))
	b = strconv.AppendUint(b, fence, 16)
	b = append(b, '-')
	return string(hex.AppendEncode(b, nonce[:]))
}

// slotKey builds the key of a slot in the scratch buffer.
func (m *Machine) slotKey(fence uint64) []byte {
	m.scratch = binary.BigEndian.AppendUint64(m.scratch[:0], fence)
	return m.scratch
}

// lookUp returns the slot that a lease id names, for writing, or nil.
func (m *Machine) lookUp(id []byte) (fence uint64, s *slotLease) {
	digits := len(id) - 1 - 2*len(slotLease{}.nonce)
	if digits < 1 || id[digits] != '-' || id[0] == '0' {
		return 0, nil
	}
	for _, c := range id[:digits] {
		n := unhex(c)
		if n > 15 || fence >= 1<<60 {
			return 0, nil
		}
		fence = fence<<4 | uint64(n)
	}
	s = m.slots.edit(m.slotKey(fence))
	if s == nil {
		return 0, nil
	}
	for i, want := range s.nonce {
		if hi, lo := unhex(id[digits+1+2*i]), unhex(id[digits+2+2*i]); hi > 15 || lo > 15 || hi<<4|lo != want {
			return 0, nil
		}
	}
	return fence, s
}

// unhex returns the value of a lower-case digit, 255 of any other byte.
func unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	}
	return 255
}

func (m *Machine) roomForSlot() error {
	if m.slots.len >= maxSlots {
		return fmt.Errorf("slots: the cluster holds %d, the most it may: %w", m.slots.len, ErrExhausted)
	}
	return nil
}

// addSlot keeps a slot of the command in hand and returns its fence.
func (m *Machine) addSlot(s *slotLease) uint64 {
	fence := m.index<<positionBits | uint64(m.position)
	m.slots.put(m.slotKey(fence), s)
	m.endings.push(ending{s.end, fence}, m.slots)
	return fence
}

// release gives a slot back. An id that names none changes nothing.
func (m *Machine) release(id []byte, dropped bool) {
	if fence, s := m.lookUp(id); s != nil {
		m.free(fence, s, dropped)
	}
}

// heartbeat keeps slots for SlotTTL from now, unless their policy is gone.
func (m *Machine) heartbeat(r *reader, results bool) (Result, error) {
	n := int(r.count(MaxLeaseIDs))
	var beat Beat
	for ; n > 0 && r.err == nil; n-- {
		id := r.leaseID()
		fence, s := m.lookUp(id)
		live := s != nil && !m.guardOf(s).retired
		if live && !bug.Planted(bug.SlotNotKept) && s.end != m.now+SlotTTL {
			s.end = m.now + SlotTTL
			m.endings.push(ending{s.end, fence}, m.slots)
		}
		switch {
		case !results:
		case live:
			beat.Live = append(beat.Live, string(id))
		default:
			beat.Reclaimed = append(beat.Reclaimed, string(id))
		}
	}
	if r.err != nil || !results {
		return Result{}, r.err
	}
	beat.NextDeadline = m.now + SlotTTL
	return Result{Beat: &beat}, nil
}

// reclaim ends the slots that were not kept, as dropped. It comes before the
// commands of an entry, so none of them revives a slot that has ended, and in an
// order that the slots alone decide, so that replicas agree on the estimates.
func (m *Machine) reclaim() {
	for _, e := range m.endings.due(m.now) {
		if s := m.slots.edit(m.slotKey(e.fence)); s != nil && s.end == e.at {
			if bug.Planted(bug.SlotRevived) {
				m.guardOf(s).inflight--
				continue
			}
			m.free(e.fence, s, true)
		}
	}
}

// An ending says when a slot ends. It is stale once the slot is gone or was kept.
type ending struct {
	at    clock.Millis
	fence uint64
}

// endings are a queue of slots in the order in which they end, which is that in
// which they were taken and kept, since all are for the same time.
//
// Invariant: each slot has one ending that is not stale; at never descends.
type endings struct {
	list []ending
	next int // list[:next] is done with
}

// push appends an ending. It makes room by dropping what is done with and, if that
// is not much, what is stale. So a queue is at most a few times as long as there
// are slots, however often they are kept.
func (q *endings) push(e ending, slots *table[slotLease]) {
	if n := len(q.list); n == cap(q.list) && n > 0 {
		keep := q.list[q.next:]
		if len(keep) > 4*slots.len+64 {
			keep = slices.DeleteFunc(keep, func(e ending) bool { return e.stale(slots) })
		}
		if 2*len(keep) <= n {
			q.list, q.next = q.list[:copy(q.list, keep)], 0
		}
	}
	q.list = append(q.list, e)
}

func (e ending) stale(slots *table[slotLease]) bool {
	var key [8]byte
	binary.BigEndian.PutUint64(key[:], e.fence)
	s := slots.get(key[:])
	return s == nil || s.end != e.at
}

// due takes the endings up to now, in the order of instants and fences.
func (q *endings) due(now clock.Millis) []ending {
	from := q.next
	for q.next < len(q.list) && q.list[q.next].at <= now {
		q.next++
	}
	due := q.list[from:q.next]
	slices.SortFunc(due, ending.compare)
	if q.next == len(q.list) {
		q.list, q.next = q.list[:0], 0 // nothing is pushed before due is read
	}
	return due
}

func (e ending) compare(f ending) int {
	return cmp.Or(cmp.Compare(e.at, f.at), cmp.Compare(e.fence, f.fence))
}

// rebuild makes the queue of the slots that there are.
func (q *endings) rebuild(slots *table[slotLease]) {
	q.list, q.next = make([]ending, 0, slots.len+slots.len/2), 0
	for key, s := range slots.sorted() {
		q.list = append(q.list, ending{s.end, binary.BigEndian.Uint64([]byte(key))})
	}
	slices.SortFunc(q.list, ending.compare)
}
