package strategy

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/tkcoord/tkcoord/fsm/clock"
)

// Errors of Decode.
var (
	ErrTruncated = errors.New("a state ends early")
	ErrCorrupt   = errors.New("no strategy leaves such a state")
)

// Append appends the state to b: one byte for a cold one, 15 to 23 for others, and
// about 9 for each bucket or 3 for each instant of a past. Equal states give equal
// bytes, and every double keeps all its bits.
func (s *State) Append(b []byte) []byte {
	b = append(b, byte(s.kind))
	if s.kind == kindCold {
		return b
	}
	b = binary.AppendUvarint(b, uint64(s.exp))
	switch s.kind {
	case kindGCRA, kindLeaky:
		return appendDouble(b, s.a)
	case kindLog:
		return appendLog(b, s.past)
	}
	b = appendDouble(appendDouble(b, s.a), s.b)
	if s.kind == kindRing {
		b = appendRing(b, s.past)
	}
	return b
}

func appendDouble(b []byte, x float64) []byte {
	return binary.LittleEndian.AppendUint64(b, math.Float64bits(x))
}

// appendRing appends each bucket with the distance of its tick to the one before.
func appendRing(b []byte, p *past) []byte {
	b = binary.AppendUvarint(b, uint64(len(p.entries())))
	at := int64(0)
	for _, e := range p.entries() {
		b = binary.AppendUvarint(b, uint64(e.at-at))
		b = binary.LittleEndian.AppendUint64(b, e.n)
		at = e.at
	}
	return b
}

// appendLog appends each instant as the distance to the one before, with the units
// admitted at it.
func appendLog(b []byte, p *past) []byte {
	b = binary.AppendUvarint(b, uint64(len(p.entries())))
	at, n := int64(0), p.before
	for _, e := range p.entries() {
		b = binary.AppendUvarint(b, uint64(e.at-at))
		b = binary.AppendUvarint(b, e.n-n)
		at, n = e.at, e.n
	}
	return b
}

// Decode reads a state that Append wrote, and returns what follows it. It accepts
// nothing that Append would write in another way, and no numbers that no strategy
// computes with. The errors are ErrTruncated and ErrCorrupt.
func Decode(b []byte) (State, []byte, error) {
	d := decoder{buf: b}
	s := d.state()
	if d.err != nil {
		return State{}, nil, d.err
	}
	return s, d.buf, nil
}

// A decoder reads from buf until the first error, and zeros after it.
type decoder struct {
	buf []byte
	err error
}

func (d *decoder) state() State {
	if len(d.buf) == 0 {
		d.err = ErrTruncated
		return State{}
	}
	s := State{kind: kind(d.buf[0])}
	d.buf = d.buf[1:]
	if s.kind == kindCold {
		return s
	}
	if s.kind > kindLeaky {
		d.err = fmt.Errorf("kind %d: %w", s.kind, ErrCorrupt)
		return State{}
	}
	// 2^55 is above every instant plus every period.
	s.exp = int64(d.within("expiry", d.uvarint(), 1, 1<<55))
	switch s.kind {
	case kindGCRA, kindLeaky:
		s.a = d.double("arrival", 0, 1<<55)
	case kindBucket:
		s.a = d.double("tokens", 0, MaxNumber)
		s.b = d.instant()
	case kindWindow:
		s.a = d.double("start", -1<<55, 1<<55)
		s.b = d.double("count", 0, MaxNumber)
	case kindRing:
		s.a = d.instant()
		s.b = d.double("bucket", MinSpan, MaxNumber)
		s.past = d.ring(math.Floor(s.a / s.b))
	case kindLog:
		s.past = d.log()
	}
	return s
}

// ring reads the buckets up to the newest one, which has a tick.
func (d *decoder) ring(newest float64) *past {
	p := &past{all: make([]entry, 0, d.count(9, MaxBuckets+1))}
	at := uint64(0)
	for i := range cap(p.all) {
		at += d.step(i, at)
		p.put(float64(at), d.double("units", math.SmallestNonzeroFloat64, maxUnits))
	}
	if d.err == nil && (float64(at) != newest || int64(at)-p.all[0].at > MaxBuckets) {
		d.err = fmt.Errorf("ticks %d to %d, the newest one is %v: %w", p.all[0].at, at, newest, ErrCorrupt)
	}
	return p
}

func (d *decoder) log() *past {
	p := &past{all: make([]entry, 0, d.count(2, MaxStamps+1))}
	at, n := uint64(0), uint64(0)
	for i := range cap(p.all) {
		at += d.step(i, at)
		n += d.within("units", d.uvarint(), 1, MaxNumber-min(n, MaxNumber))
		p.all = append(p.all, entry{int64(at), n})
	}
	d.within("instant", at, 0, uint64(clock.MaxInstant))
	return p
}

// count reads how many entries of at least some bytes follow.
func (d *decoder) count(bytes, most int) int {
	n := d.within("entries", d.uvarint(), 1, uint64(most))
	if d.err == nil && n > uint64(len(d.buf)/bytes) {
		d.err = ErrTruncated
	}
	if d.err != nil {
		return 0
	}
	return int(n)
}

// step reads the distance of entry i to the one before, which is not 0, so that the
// sum stays below 2^53.
func (d *decoder) step(i int, at uint64) uint64 {
	return d.within("distance", d.uvarint(), uint64(min(i, 1)), MaxNumber-at)
}

// uvarint reads a number in as few bytes as it fits in.
func (d *decoder) uvarint() uint64 {
	if d.err != nil {
		return 0
	}
	v, n := binary.Uvarint(d.buf)
	switch {
	case n == 0:
		d.err = ErrTruncated
		return 0
	case n < 0 || n > 1 && d.buf[n-1] == 0:
		d.err = fmt.Errorf("number of %d bytes: %w", max(n, -n), ErrCorrupt)
		return 0
	}
	d.buf = d.buf[n:]
	return v
}

func (d *decoder) within(what string, v, lowest, highest uint64) uint64 {
	if d.err == nil && (v < lowest || v > highest) {
		d.err = fmt.Errorf("%s %d is outside [%d, %d]: %w", what, v, lowest, highest, ErrCorrupt)
	}
	if d.err != nil {
		return 0
	}
	return v
}

// double reads a double in a range; a zero has no sign.
func (d *decoder) double(what string, lowest, highest float64) float64 {
	if d.err == nil && len(d.buf) < 8 {
		d.err = ErrTruncated
	}
	if d.err != nil {
		return 0
	}
	x := math.Float64frombits(binary.LittleEndian.Uint64(d.buf))
	d.buf = d.buf[8:]
	if !(x >= lowest && x <= highest) || x == 0 && math.Signbit(x) {
		d.err = fmt.Errorf("%s %v is outside [%v, %v]: %w", what, x, lowest, highest, ErrCorrupt)
		return 0
	}
	return x
}

// instant reads a whole number of ms that is kept as a double.
func (d *decoder) instant() float64 {
	x := d.double("instant", 0, float64(clock.MaxInstant))
	if d.err == nil && x != math.Floor(x) {
		d.err = fmt.Errorf("instant %v has a fraction: %w", x, ErrCorrupt)
	}
	return x
}
