package fsm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"

	"github.com/tkcoord/tkcoord/escrow"
	"github.com/tkcoord/tkcoord/fsm/clock"
	"github.com/tkcoord/tkcoord/policy"
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

// Add appends a command.
func (b *Batch) Add(c Command) {
	b.buf = appendCommand(b.buf, c)
	b.count++
}

// AddEncoded appends a command that Encode encoded.
func (b *Batch) AddEncoded(c []byte) {
	b.buf = append(b.buf, c...)
	b.count++
}

// Encode returns the encoding of one command, for AddEncoded.
func Encode(c Command) []byte { return appendCommand(nil, c) }

// Reset empties the batch and keeps its memory.
func (b *Batch) Reset() { b.buf, b.count = b.buf[:0], 0 }

// Seal returns the entry: the commands under one stamp. proposer names the
// process that waits for the results, any number but 0.
func (b *Batch) Seal(stamp clock.Millis, proposer uint64) []byte {
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

func appendPolicy(b []byte, p *policy.Policy) []byte {
	b = appendString(b, p.Name)
	b = appendString(b, string(p.Strategy))
	b = binary.AppendUvarint(b, uint64(p.Limit))
	b = append(b, byte(p.Cadence.Kind))
	b = binary.AppendVarint(b, int64(p.Cadence.Period))
	b = binary.AppendVarint(b, int64(p.Cadence.Anchor))
	b = binary.AppendVarint(b, int64(p.Cadence.OffsetMinutes))
	b = binary.AppendVarint(b, int64(p.Cadence.WeekStart))
	return binary.AppendUvarint(b, uint64(p.MaxKeys))
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

// A reader takes values off the front of a buffer. After the first failure it
// yields zeros; err says what failed.
type reader struct {
	buf []byte
	err error
}

func (r *reader) fail(what string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", errCorrupt, what)
	}
	r.buf = nil
}

func (r *reader) u8() uint8 {
	if len(r.buf) < 1 {
		r.fail("it ends early")
		return 0
	}
	v := r.buf[0]
	r.buf = r.buf[1:]
	return v
}

func (r *reader) u64() uint64 {
	if len(r.buf) < 8 {
		r.fail("it ends early")
		return 0
	}
	v := binary.LittleEndian.Uint64(r.buf)
	r.buf = r.buf[8:]
	return v
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.buf)
	if n <= 0 {
		r.fail("bad number")
		return 0
	}
	r.buf = r.buf[n:]
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.buf)
	if n <= 0 {
		r.fail("bad number")
		return 0
	}
	r.buf = r.buf[n:]
	return v
}

// count reads a number that is at most limit.
func (r *reader) count(limit uint64) uint64 {
	v := r.uvarint()
	if v > limit {
		r.fail(fmt.Sprintf("%d is above the limit of %d", v, limit))
		return 0
	}
	return v
}

func (r *reader) credits() escrow.Credits {
	return escrow.Credits(r.count(uint64(escrow.MaxCredits)))
}

func (r *reader) millis() clock.Millis { return clock.Millis(r.count(uint64(clock.MaxInstant))) }

func (r *reader) int() int { return int(r.count(math.MaxInt64)) }

// bytes returns a piece of the buffer itself.
func (r *reader) bytes(limit int) []byte {
	n := r.count(uint64(limit))
	if n > uint64(len(r.buf)) {
		r.fail("it ends early")
		return nil
	}
	v := r.buf[:n]
	r.buf = r.buf[n:]
	return v
}

func (r *reader) string(limit int) string { return string(r.bytes(limit)) }

func (r *reader) bool() bool { return r.u8() == 1 }

func (r *reader) settings() Settings {
	return Settings{
		Rates:        clock.Rates{Drift: clock.PPM(r.count(uint64(clock.MaxRate))), Slew: clock.PPM(r.count(uint64(clock.MaxRate)))},
		LongestLease: r.millis(),
		SessionIdle:  r.millis(),
		MaxBudgets:   r.int(),
		MaxEdges:     r.int(),
		MaxHolders:   r.int(),
	}
}

func (r *reader) policy() policy.Policy {
	return policy.Policy{
		Name:     r.string(policy.MaxNameLen),
		Strategy: policy.Strategy(r.string(64)),
		Limit:    r.credits(),
		Cadence: escrow.Cadence{
			Kind:          escrow.Kind(r.u8()),
			Period:        clock.Millis(r.varint()),
			Anchor:        clock.Millis(r.varint()),
			OffsetMinutes: int32(r.varint()),
			WeekStart:     int32(r.varint()),
		},
		MaxKeys: r.int(),
	}
}

// An askView is an Ask whose strings lie in the entry.
type askView struct {
	policy, key    []byte
	window         clock.Millis
	used, returned escrow.Credits
	need, want     escrow.Credits
}

func (r *reader) ask() askView {
	return askView{
		policy: r.bytes(policy.MaxNameLen), key: r.bytes(MaxKeyLen), window: r.millis(),
		used: r.credits(), returned: r.credits(), need: r.credits(), want: r.credits(),
	}
}

func (r *reader) policies() Policies {
	var c Policies
	n := int(r.count(maxPolicyBatch))
	for range n {
		if r.err != nil {
			return c
		}
		c.Put = append(c.Put, r.policy())
	}
	n = int(r.count(maxPolicyBatch))
	for range n {
		if r.err != nil {
			return c
		}
		c.Delete = append(c.Delete, r.string(policy.MaxNameLen))
	}
	c.Expect = r.uvarint()
	return c
}

func (r *reader) alarm() Alarm {
	return Alarm{Kind: r.string(64), Node: r.string(maxNodeIDLen), Detail: r.string(maxDetailLen), Clear: r.bool()}
}
