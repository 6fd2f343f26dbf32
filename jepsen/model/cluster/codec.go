package cluster

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/tkcoord/tkcoord/fsm/clock"
)

// A Writer appends small numbers, most of them to one byte each.
type Writer struct{ Buf []byte }

// Num writes a number.
func (w *Writer) Num(n int64) {
	if 0 <= n && n < 0x40 {
		w.Buf = append(w.Buf, byte(n)<<1)
		return
	}
	w.Buf = binary.AppendVarint(w.Buf, n)
}

// Int writes a number.
func (w *Writer) Int(n int) { w.Num(int64(n)) }

// Instant writes an instant on the cluster clock by its distance to base, and 0
// as itself.
func (w *Writer) Instant(t, base clock.Millis) {
	if t == 0 {
		w.Num(0)
		return
	}
	if t -= base; t >= 0 {
		t++
	}
	w.Num(int64(t))
}

// Bits writes booleans as one number.
func (w *Writer) Bits(bits ...bool) {
	n := 0
	for i, b := range bits {
		if b {
			n |= 1 << i
		}
	}
	w.Int(n)
}

// Node writes the i-th node, and whether it leads.
func (w *Writer) Node(c *Cluster, i int, base clock.Millis) {
	n := &c.Nodes[i]
	w.Bits(n.Fast, n.Fresh, c.Leader == i, n.Source.Leading)
	at := c.At(n)
	w.pair(n.Source.Newest, base, at)
	w.pair(n.Source.Base, base, at)
	w.Num(int64(n.Source.Slew))
	w.Instant(n.Stamp, base)
}

func (w *Writer) pair(p clock.Pair, base clock.Millis, at clock.Nanos) {
	if p == (clock.Pair{}) {
		w.Num(0)
		return
	}
	w.Instant(p.Now, base)
	w.Num(int64(at - p.At))
}

// A Reader takes apart what a Writer wrote. Bad is set when it cannot.
type Reader struct {
	Buf []byte
	Bad bool
}

// Num reads a number.
func (r *Reader) Num() int64 {
	if len(r.Buf) > 0 && r.Buf[0] < 0x80 {
		n := int64(r.Buf[0])
		r.Buf = r.Buf[1:]
		return n>>1 ^ -(n & 1)
	}
	n, k := binary.Varint(r.Buf)
	if k <= 0 {
		r.Bad = true
		return 0
	}
	r.Buf = r.Buf[k:]
	return n
}

// Int reads a number.
func (r *Reader) Int() int { return int(r.Num()) }

// Instant reads an instant.
func (r *Reader) Instant(base clock.Millis) clock.Millis {
	switch n := clock.Millis(r.Num()); {
	case n == 0:
		return 0
	case n > 0:
		return base + n - 1
	default:
		return base + n
	}
}

// Bits reads booleans.
func (r *Reader) Bits(bits ...*bool) {
	n := r.Int()
	for i, b := range bits {
		*b = n>>i&1 == 1
	}
}

// Count reads the length of a list.
func (r *Reader) Count() int {
	n := r.Int()
	if n < 0 || n > 255 {
		r.Bad = true
		return 0
	}
	return n
}

// Node reads the i-th node. The leader must be none before the first is read.
func (r *Reader) Node(c *Cluster, i int, base clock.Millis) {
	n := &c.Nodes[i]
	*n = Node{}
	var leads bool
	r.Bits(&n.Fast, &n.Fresh, &leads, &n.Source.Leading)
	if leads {
		c.Leader = i
	}
	at := c.At(n)
	n.Source.Newest = r.pair(base, at)
	n.Source.Base = r.pair(base, at)
	n.Source.Slew = clock.PPM(r.Num())
	n.Stamp = r.Instant(base)
}

func (r *Reader) pair(base clock.Millis, at clock.Nanos) clock.Pair {
	now := r.Instant(base)
	if now == 0 {
		return clock.Pair{}
	}
	return clock.Pair{Now: now, At: at - clock.Nanos(r.Num())}
}

// Describe appends a node with the cluster clock that it would stamp, by its
// distance from base: "A+=5!" for a fast one that leads.
func (c *Cluster) Describe(b *strings.Builder, i int, base clock.Millis) {
	n := &c.Nodes[i]
	src := clock.SourceOf(n.Source)
	fmt.Fprintf(b, " %c", 'A'+i)
	if n.Fast {
		b.WriteByte('+')
	} else {
		b.WriteByte('-')
	}
	switch {
	case c.Leader == i:
		fmt.Fprintf(b, "=%d!", c.Clock()-base)
	case n.Source.Newest != (clock.Pair{}) && n.Fresh:
		fmt.Fprintf(b, "=%d", src.At(c.At(n))-base)
	default:
		b.WriteString("=?")
	}
}
