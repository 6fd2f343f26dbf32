package fsm

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/tkcoord/tkcoord/escrow"
)

// A snapshot is laid out as
//
//	"TKSN" | version u16 | records | end record | sha256 of everything before it
//
// with a record as kind u8 | length uvarint | body. Records come in an order
// that depends on the state alone, so equal states are equal bytes and the hash
// is the digest that replicas compare. Compression is the caller's.
const (
	snapshotMagic   = "TKSN"
	snapshotVersion = 1

	recordEnd    = 0
	recordHead   = 1 // everything that is not in a table
	recordPolicy = 2
	recordEdge   = 3
	recordBudget = 4
	recordCell   = 5
	recordMeter  = 6
	recordSlot   = 7

	maxRecord = 1 << 30
)

// ErrSnapshot is wrapped by every error about the content of a snapshot.
var ErrSnapshot = errors.New("snapshot cannot be restored")

// WriteTo streams the view as a snapshot.
func (v *View) WriteTo(w io.Writer) (int64, error) {
	sum := sha256.New()
	out := &recordWriter{w: bufio.NewWriterSize(io.MultiWriter(w, sum), 64<<10)}
	v.write(out)
	if err := out.flush(); err != nil {
		return out.n, fmt.Errorf("write snapshot: %w", err)
	}
	n, err := w.Write(sum.Sum(nil))
	return out.n + int64(n), err
}

// Digest returns the hash of the view's snapshot as hexadecimal digits. Equal
// states, and only they, have equal digests.
func (v *View) Digest() string {
	sum := sha256.New()
	out := &recordWriter{w: bufio.NewWriterSize(sum, 64<<10)}
	v.write(out)
	_ = out.flush() // a hash takes everything
	return hex.EncodeToString(sum.Sum(nil))
}

// A recordWriter frames records. It keeps the first error.
type recordWriter struct {
	w    *bufio.Writer
	n    int64
	body []byte
	head [1 + binary.MaxVarintLen64]byte
	err  error
}

func (w *recordWriter) raw(b []byte) {
	if w.err == nil {
		var n int
		n, w.err = w.w.Write(b)
		w.n += int64(n)
	}
}

func (w *recordWriter) record(kind byte, body []byte) {
	w.body = body // keep the memory
	w.head[0] = kind
	n := binary.PutUvarint(w.head[1:], uint64(len(body)))
	w.raw(w.head[:1+n])
	w.raw(body)
}

func (w *recordWriter) flush() error { return errors.Join(w.err, w.w.Flush()) }

func (s *state) write(w *recordWriter) {
	w.raw([]byte(snapshotMagic))
	w.raw(binary.LittleEndian.AppendUint16(nil, snapshotVersion))
	w.record(recordHead, s.appendHead(w.body[:0]))
	for _, p := range s.policies.sorted() {
		w.record(recordPolicy, appendPolicyState(w.body[:0], p))
	}
	for id, e := range s.edges.sorted() {
		w.record(recordEdge, appendSession(appendString(w.body[:0], id), e))
	}
	for key, b := range s.budgets.sorted() {
		w.record(recordBudget, appendBudget(appendString(w.body[:0], key), b))
	}
	for key, c := range s.cells.sorted() {
		w.record(recordCell, c.Append(appendString(w.body[:0], key)))
	}
	for key, x := range s.meters.sorted() {
		w.record(recordMeter, appendMeter(appendString(w.body[:0], key), x))
	}
	for key, x := range s.slots.sorted() {
		w.record(recordSlot, appendSlot(append(w.body[:0], key...), x))
	}
	w.record(recordEnd, nil)
}

func (s *state) appendHead(b []byte) []byte {
	b = binary.AppendUvarint(b, s.index)
	b = binary.AppendUvarint(b, uint64(s.now))
	b = appendString(b, s.clusterID)
	b = appendSettings(b, s.settings)
	b = binary.AppendUvarint(b, uint64(s.nextHolder))
	b = binary.AppendUvarint(b, uint64(s.nextPolicy))
	b = binary.AppendUvarint(b, s.version)
	b = binary.AppendUvarint(b, uint64(s.forgotten))
	b = binary.AppendUvarint(b, uint64(s.cursor))
	b = binary.AppendUvarint(b, uint64(len(s.alarms)))
	for _, a := range s.alarms {
		b = appendString(b, a.Kind)
		b = appendString(b, a.Node)
		b = appendString(b, a.Detail)
		b = binary.AppendUvarint(b, uint64(a.At))
	}
	return b
}

func appendPolicyState(b []byte, p *policyState) []byte {
	b = appendPolicy(b, &p.Policy)
	b = binary.AppendUvarint(b, uint64(p.id))
	b = binary.AppendUvarint(b, uint64(p.states))
	b = binary.AppendUvarint(b, uint64(p.since))
	b = appendBool(b, p.deleted)
	b = appendCounters(b, &p.Counters)
	if b = appendBool(b, p.guard != nil); p.guard == nil {
		return b
	}
	b = binary.AppendUvarint(b, uint64(p.guard.id))
	b = binary.AppendUvarint(b, uint64(p.guard.inflight))
	if b = appendBool(b, p.guard.retired); p.guard.retired {
		return b
	}
	return p.guard.limiter.Append(b)
}

func appendSession(b []byte, s *session) []byte {
	b = binary.LittleEndian.AppendUint64(b, s.incarnation)
	for _, r := range s.replaced {
		b = binary.LittleEndian.AppendUint64(b, r)
	}
	b = binary.AppendUvarint(b, uint64(s.holder))
	b = binary.AppendUvarint(b, s.seq)
	return binary.AppendUvarint(b, uint64(s.seen))
}

func appendBudget(b []byte, x *budget) []byte {
	b = binary.AppendVarint(b, int64(x.Window().Start))
	b = binary.AppendVarint(b, int64(x.Window().End))
	b = binary.AppendUvarint(b, uint64(x.Capacity()))
	b = binary.AppendUvarint(b, uint64(x.Peak()))
	taken, given := x.Unheld()
	b = binary.AppendUvarint(b, uint64(taken))
	b = binary.AppendUvarint(b, uint64(given))
	b = binary.AppendUvarint(b, uint64(x.Holders()))
	x.Each(func(h escrow.HolderID, a escrow.Allotment) {
		b = binary.AppendUvarint(b, uint64(h))
		b = binary.AppendUvarint(b, uint64(a.Granted))
		b = binary.AppendUvarint(b, uint64(a.Returned))
		b = binary.AppendUvarint(b, uint64(a.Used))
	})
	return b
}

func appendMeter(b []byte, x *meter) []byte {
	b = binary.AppendVarint(b, int64(x.End))
	return binary.AppendUvarint(b, uint64(x.Served))
}

func appendSlot(b []byte, s *slotLease) []byte {
	b = append(b, s.nonce[:]...)
	b = binary.AppendUvarint(b, uint64(s.guard))
	b = binary.AppendUvarint(b, uint64(s.atAcquire))
	b = binary.AppendUvarint(b, uint64(s.start))
	return binary.AppendUvarint(b, uint64(s.end))
}
