package fsm

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm/clock"
)

// Restore reads a snapshot and returns the machine that wrote it. The result is
// byte-equal to one that applied the same entries. An error wraps ErrSnapshot
// or is r's own.
func Restore(r io.Reader) (*Machine, error) {
	m := New()
	in := &recordReader{r: bufio.NewReaderSize(r, 64<<10), sum: sha256.New()}
	if err := in.preamble(); err != nil {
		return nil, err
	}
	for {
		kind, body, err := in.next()
		if err != nil {
			return nil, err
		}
		if kind == recordEnd {
			break
		}
		if err := m.load(kind, body); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrSnapshot, err)
		}
	}
	if err := in.trailer(); err != nil {
		return nil, err
	}
	return m, nil
}

// A recordReader reads the frames of a snapshot and hashes them.
type recordReader struct {
	r    *bufio.Reader
	sum  hash.Hash
	body []byte
}

func (in *recordReader) preamble() error {
	var b [len(snapshotMagic) + 2]byte
	if err := in.full(b[:]); err != nil {
		return err
	}
	if string(b[:4]) != snapshotMagic {
		return fmt.Errorf("%w: it does not begin with %q", ErrSnapshot, snapshotMagic)
	}
	if v := binary.LittleEndian.Uint16(b[4:]); v != snapshotVersion {
		return fmt.Errorf("%w: it has version %d, this program reads %d", ErrSnapshot, v, snapshotVersion)
	}
	return nil
}

func (in *recordReader) full(b []byte) error {
	if _, err := io.ReadFull(in.r, b); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("%w: it ends early", ErrSnapshot)
		}
		return fmt.Errorf("read snapshot: %w", err)
	}
	in.sum.Write(b)
	return nil
}

// next returns the next record; body is valid until the call after.
func (in *recordReader) next() (kind byte, body []byte, err error) {
	var k [1]byte
	if err := in.full(k[:]); err != nil {
		return 0, nil, err
	}
	var size uint64
	for shift := 0; ; shift += 7 {
		var b [1]byte
		if err := in.full(b[:]); err != nil {
			return 0, nil, err
		}
		size |= uint64(b[0]&0x7f) << shift
		if b[0] < 0x80 {
			break
		}
		if shift >= 28 {
			return 0, nil, fmt.Errorf("%w: record length is not a number", ErrSnapshot)
		}
	}
	if size > maxRecord {
		return 0, nil, fmt.Errorf("%w: record of %d bytes", ErrSnapshot, size)
	}
	// Grow with what is really there: a damaged length must not allocate much.
	in.body = in.body[:0]
	for uint64(len(in.body)) < size {
		step := min(size-uint64(len(in.body)), 1<<20)
		n := len(in.body)
		in.body = append(in.body, make([]byte, step)...)
		if err := in.full(in.body[n:]); err != nil {
			return 0, nil, err
		}
	}
	return k[0], in.body, nil
}

func (in *recordReader) trailer() error {
	want := in.sum.Sum(nil)
	got := make([]byte, len(want))
	if _, err := io.ReadFull(in.r, got); err != nil {
		return fmt.Errorf("%w: it ends before its checksum", ErrSnapshot)
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%w: checksum is %x, want %x", ErrSnapshot, want, got)
	}
	return nil
}

func (m *Machine) load(kind byte, body []byte) error {
	r := reader{buf: body}
	switch kind {
	case recordHead:
		m.loadHead(&r)
	case recordPolicy:
		p := &policyState{Policy: r.policy(), id: uint32(r.count(1<<32 - 1)), since: r.millis(), deleted: r.bool(), Counters: r.counters()}
		m.policies.put([]byte(p.Name), p)
		m.names[p.id] = p.Name
	case recordEdge:
		id := r.string(MaxEdgeIDLen)
		m.edges.put([]byte(id), r.session())
	case recordBudget:
		key := r.string(4 + MaxKeyLen)
		b, err := r.budget(key)
		if err != nil {
			return err
		}
		m.budgets.put([]byte(key), b)
	default:
		return fmt.Errorf("record kind %d is unknown to this version", kind)
	}
	if r.err == nil && len(r.buf) > 0 {
		return fmt.Errorf("%d bytes follow a record of kind %d", len(r.buf), kind)
	}
	return r.err
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
	if len(key) < 5 {
		return nil, fmt.Errorf("%w: budget without a key", errCorrupt)
	}
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
