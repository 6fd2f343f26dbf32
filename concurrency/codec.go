package concurrency

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/tkcoord/tkcoord/fsm/clock"
)

// ErrCorrupt: the bytes are no limiter.
var ErrCorrupt = errors.New("limiter is damaged")

// Append appends the state to b, without the parameters. Equal states give equal
// bytes.
func (l *Limiter) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, math.Float64bits(l.estimate))
	b = binary.AppendUvarint(b, uint64(l.lastRTT))
	b = binary.AppendUvarint(b, l.low.seq)
	b = binary.AppendUvarint(b, uint64(l.low.n))
	for i := range l.low.n {
		s := l.low.at(i)
		b = binary.AppendUvarint(b, l.low.seq-s.seq)
		b = binary.AppendUvarint(b, uint64(s.rtt))
	}
	return b
}

// Decode reads a state that Append wrote, of a limiter with these parameters, and
// returns what follows it. An error wraps ErrCorrupt: nothing that breaks the
// limiter's invariant passes.
func Decode(cfg Config, b []byte) (Limiter, []byte, error) {
	d := decoder{buf: b}
	l := Limiter{cfg: cfg, estimate: d.double(), lastRTT: d.millis()}
	l.low.seq = d.uvarint()
	for n := d.uvarint(); n > 0 && d.err == nil; n-- {
		age, rtt := d.uvarint(), d.millis()
		switch {
		case d.err != nil:
		case age >= l.low.seq || l.low.n == MaxRTTWindow:
			d.fail("a sample before the first")
		case l.low.n > 0 && (l.low.at(l.low.n-1).seq >= l.low.seq-age || l.low.at(l.low.n-1).rtt >= rtt):
			d.fail("samples out of order")
		default:
			l.low.put(sample{l.low.seq - age, rtt})
		}
	}
	switch {
	case d.err != nil:
	case !(l.estimate >= float64(cfg.MinLimit) && l.estimate <= float64(cfg.MaxLimit)):
		d.fail(fmt.Sprintf("estimate %v is outside [%d, %d]", l.estimate, cfg.MinLimit, cfg.MaxLimit))
	case l.low.seq > 0 && (l.low.n == 0 || *l.low.at(l.low.n - 1) != sample{l.low.seq, l.lastRTT}):
		d.fail("the newest sample is not the last")
	case l.low.seq == 0 && l.lastRTT != 0:
		d.fail("a round trip without a sample")
	}
	if d.err != nil {
		return Limiter{}, nil, d.err
	}
	return l, d.buf, nil
}

// A decoder takes numbers off the front of a buffer. After the first failure it
// yields zeros.
type decoder struct {
	buf []byte
	err error
}

func (d *decoder) fail(what string) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s", ErrCorrupt, what)
	}
	d.buf = nil
}

func (d *decoder) double() float64 {
	if len(d.buf) < 8 {
		d.fail("it ends early")
		return 0
	}
	x := math.Float64frombits(binary.LittleEndian.Uint64(d.buf))
	d.buf = d.buf[8:]
	return x
}

// uvarint refuses numbers that are longer than they need to be: equal states are
// equal bytes.
func (d *decoder) uvarint() uint64 {
	x, n := binary.Uvarint(d.buf)
	if n <= 0 || n > 1 && d.buf[n-1] == 0 {
		d.fail("bad number")
		return 0
	}
	d.buf = d.buf[n:]
	return x
}

func (d *decoder) millis() Millis {
	x := d.uvarint()
	if x > uint64(clock.MaxInstant) {
		d.fail(fmt.Sprintf("a round trip of %d ms", x))
		return 0
	}
	return Millis(x)
}
