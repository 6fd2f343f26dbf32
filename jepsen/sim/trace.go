package sim

import (
	"fmt"
	"io"
	"math/bits"
	"time"
)

// A trace is everything that happened: a running hash of it, the newest part for
// reports, and the whole of it as text if somebody wants to read it.
type trace struct {
	hash  uint64
	count uint64
	last  [64]record
	text  io.Writer // nil for none
	err   error     // the first of text
}

// A record is one line of a trace: what happened to whom, with a few numbers
// whose meaning depends on the kind.
type record struct {
	at   time.Duration
	kind string
	who  int
	n    [3]int64
}

func (r record) String() string {
	return fmt.Sprintf("%15d %-10s %4d %d %d %d", int64(r.at), r.kind, r.who, r.n[0], r.n[1], r.n[2])
}

// note adds a record. The kind is a constant of the source, so its length and
// first letters tell it apart.
func (w *world) note(kind string, who int, a, b, c int64) {
	r := record{w.now, kind, who, [3]int64{a, b, c}}
	t := &w.trace
	t.last[t.count%uint64(len(t.last))] = r
	t.count++
	h := mix(t.hash, uint64(r.at))
	for i := range len(kind) {
		h = h*31 + uint64(kind[i])
	}
	h = mix(h, uint64(who))
	for _, n := range r.n {
		h = mix(h, uint64(n))
	}
	t.hash = h
	if t.text != nil && t.err == nil {
		_, t.err = fmt.Fprintln(t.text, r)
	}
}

// mix folds a word into a hash: a multiplication whose halves are joined, as in
// wyhash.
func mix(h, v uint64) uint64 {
	hi, lo := bits.Mul64(h^0x9e3779b97f4a7c15, v^0xd1b54a32d192ed03)
	return hi ^ lo ^ bits.RotateLeft64(h, 23)
}

// tail returns the newest records, oldest first.
func (t *trace) tail() []string {
	var lines []string
	size := uint64(len(t.last))
	for i := t.count - min(t.count, size); i < t.count; i++ {
		lines = append(lines, t.last[i%size].String())
	}
	return lines
}
