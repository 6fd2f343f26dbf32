package fsm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/tkcoord/tkcoord/fsm/clock"
)

// An entry of the log is laid out as
//
//	version u8 | stamp uvarint | proposer u64 | count uvarint | commands | crc32c u32
//
// with numbers little endian, and a command as kind u8 followed by its fields
// in the order of its type. Strings and lists carry their length in front.
// Signed numbers that are never negative are uvarints.

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errCorrupt = errors.New("entry is damaged")

// A Batch builds one log entry. Commands are encoded as they are added; the
// stamp is given when the batch is sealed, so that it is later than the sending
// of everything in it. The zero Batch is empty and ready for use.
type Batch struct {
	buf   []byte
	count int
}

// Len returns the number of commands.
func (b *Batch) Len() int { return b.count }

// Size returns the bytes of the commands.
func (b *Batch) Size() int { return len(b.buf) }

// Add appends a command, see Encode.
func (b *Batch) Add(c Command) {
	n := len(b.buf)
	b.buf = appendCommand(b.buf, c)
	mustRead(c, b.buf[n:])
	b.count++
}

// AddEncoded appends a command that Encode encoded.
func (b *Batch) AddEncoded(c []byte) {
	b.buf = append(b.buf, c...)
	b.count++
}

// Encode returns the encoding of one command, for AddEncoded. It panics if the
// command cannot be read back, which never happens to a valid one: in the log it
// would halt all replicas, and again after each restart.
func Encode(c Command) []byte {
	b := appendCommand(nil, c)
	mustRead(c, b)
	return b
}

func mustRead(c Command, encoded []byte) {
	r := reader{buf: encoded}
	if r.skip(); r.err != nil || len(r.buf) > 0 {
		panic(fmt.Sprintf("fsm: invalid %T was not validated: %v", c, r.err))
	}
}

// Reset empties the batch and keeps its memory.
func (b *Batch) Reset() { b.buf, b.count = b.buf[:0], 0 }

// Seal returns the entry: the commands under one stamp. proposer names the
// process that waits for the results, any number but 0. It panics if no replica
// could read the entry: more than MaxBatchCmds, or a stamp outside
// [0, clock.MaxInstant].
func (b *Batch) Seal(stamp clock.Millis, proposer uint64) []byte {
	if b.count > MaxBatchCmds || stamp < 0 || stamp > clock.MaxInstant {
		panic(fmt.Sprintf("fsm: %d commands at %d are no entry", b.count, stamp))
	}
	e := make([]byte, 0, 1+2*binary.MaxVarintLen64+8+len(b.buf)+4)
	e = append(e, Version)
	e = binary.AppendUvarint(e, uint64(stamp))
	e = binary.LittleEndian.AppendUint64(e, proposer)
	e = binary.AppendUvarint(e, uint64(b.count))
	e = append(e, b.buf...)
	return binary.LittleEndian.AppendUint32(e, crc32.Checksum(e, castagnoli))
}

// A header is what precedes the commands of an entry.
type header struct {
	stamp    clock.Millis
	proposer uint64
	count    int
}

// openEntry checks an entry as a whole and returns a reader at its commands.
func openEntry(e []byte) (header, reader, error) {
	var h header
	if len(e) < 1+1+8+1+4 {
		return h, reader{}, fmt.Errorf("%w: %d bytes are too few", errCorrupt, len(e))
	}
	if e[0] != Version {
		return h, reader{}, fmt.Errorf("entry has format %d, this version reads up to %d", e[0], Version)
	}
	body, sum := e[:len(e)-4], binary.LittleEndian.Uint32(e[len(e)-4:])
	if got := crc32.Checksum(body, castagnoli); got != sum {
		return h, reader{}, fmt.Errorf("%w: checksum is %08x, want %08x", errCorrupt, got, sum)
	}
	r := reader{buf: body[1:]}
	h.stamp = clock.Millis(r.count(uint64(clock.MaxInstant)))
	h.proposer = r.u64()
	h.count = int(r.count(MaxBatchCmds))
	return h, r, r.err
}

func appendCommand(b []byte, c Command) []byte {
	b = append(b, byte(c.kind()))
	switch c := c.(type) {
	case Genesis:
		b = appendString(b, c.ClusterID)
		b = appendSettings(b, c.Settings)
	case Step:
		b = binary.AppendUvarint(b, uint64(c.To))
	case *Exchange:
		b = appendString(b, c.EdgeID)
		b = binary.LittleEndian.AppendUint64(b, c.Incarnation)
		b = binary.AppendUvarint(b, uint64(c.Session))
		b = binary.AppendUvarint(b, c.Seq)
		b = binary.AppendUvarint(b, uint64(len(c.Asks)))
		for i := range c.Asks {
			b = appendAsk(b, &c.Asks[i])
		}
	case Policies:
		b = binary.AppendUvarint(b, uint64(len(c.Put)))
		for i := range c.Put {
			b = appendPolicy(b, &c.Put[i])
		}
		b = binary.AppendUvarint(b, uint64(len(c.Delete)))
		for _, name := range c.Delete {
			b = appendString(b, name)
		}
		b = binary.AppendUvarint(b, c.Expect)
	case Digest:
	case Alarm:
		b = appendString(b, c.Kind)
		b = appendString(b, c.Node)
		b = appendString(b, c.Detail)
		b = appendBool(b, c.Clear)
	case *Check:
		b = appendCheck(b, c)
	case *Reserve:
		b = appendAmount(b, c.Policy, c.Key, c.Wants)
	case *Debit:
		b = appendAmount(b, c.Policy, c.Key, c.Tokens)
	case *Admit:
		b = appendAdmit(b, c)
	case *Release:
		b = appendString(b, c.LeaseID)
		b = appendBool(b, c.Dropped)
	case *Heartbeat:
		b = appendStrings(b, c.LeaseIDs)
	default:
		panic(fmt.Sprintf("fsm: command %T has no encoding", c))
	}
	return b
}

func appendAsk(b []byte, a *Ask) []byte {
	b = appendString(b, a.Policy)
	b = appendString(b, a.Key)
	b = binary.AppendUvarint(b, uint64(a.Window))
	b = binary.AppendUvarint(b, uint64(a.Used))
	b = binary.AppendUvarint(b, uint64(a.Returned))
	b = binary.AppendUvarint(b, uint64(a.Need))
	return binary.AppendUvarint(b, uint64(a.Want))
}

func appendSettings(b []byte, s Settings) []byte {
	for _, n := range [...]int64{
		int64(s.Rates.Drift), int64(s.Rates.Slew), int64(s.LongestLease), int64(s.SessionIdle),
		int64(s.MaxBudgets), int64(s.MaxEdges), int64(s.MaxHolders),
	} {
		b = binary.AppendUvarint(b, uint64(n))
	}
	return b
}

func appendString(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}
