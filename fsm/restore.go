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

	"github.com/tkcoord/tkcoord/internal/bug"
)

// Restore reads a snapshot and returns the machine that wrote it. The result is
// byte-equal to one that applied the same entries. An error wraps ErrSnapshot
// or is r's own.
//
// A snapshot with a good checksum is not trusted either: what the machine relies
// on, such as that the policy of each budget exists, is checked. Sums that only
// operators look at are not; a wrong one must not keep a cluster down.
func Restore(r io.Reader) (*Machine, error) {
	in := &recordReader{r: bufio.NewReaderSize(r, 64<<10), sum: sha256.New()}
	if err := in.preamble(); err != nil {
		return nil, err
	}
	l := loader{m: New(), records: make(map[uint32]int64)}
	for {
		kind, body, err := in.next()
		if err != nil {
			return nil, err
		}
		if kind == recordEnd {
			break
		}
		if err := l.load(kind, body); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrSnapshot, err)
		}
	}
	if err := in.trailer(); err != nil {
		return nil, err
	}
	if err := l.complete(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSnapshot, err)
	}
	switch {
	case bug.Planted(bug.DebitForgotten):
		l.m.meters.editAll(func(x *meter) { x.Served = 0 })
	case bug.Planted(bug.SlotForgotten):
		l.m.slots.editAll(func(s *slotLease) { s.end = 0 })
		l.m.endings.rebuild(l.m.slots)
	}
	return l.m, nil
}

// A recordReader reads the frames of a snapshot and hashes them.
type recordReader struct {
	r    *bufio.Reader
	sum  hash.Hash
	head [1 + 5]byte // kind and length
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
		return early(err)
	}
	in.sum.Write(b)
	return nil
}

// early explains why reading stopped before the end.
func early(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it ends early", ErrSnapshot)
	}
	return fmt.Errorf("read snapshot: %w", err)
}

// next returns the next record; body is valid until the call after.
func (in *recordReader) next() (kind byte, body []byte, err error) {
	head := in.head[:0]
	for len(head) < 2 || head[len(head)-1] >= 0x80 {
		b, err := in.r.ReadByte()
		if err != nil {
			return 0, nil, early(err)
		}
		if head = append(head, b); len(head) == cap(head) && b >= 0x80 {
			return 0, nil, fmt.Errorf("%w: record length is not a number", ErrSnapshot)
		}
	}
	in.sum.Write(head)
	size, _ := binary.Uvarint(head[1:])
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
	return head[0], in.body, nil
}

func (in *recordReader) trailer() error {
	want := in.sum.Sum(nil)
	got := make([]byte, len(want))
	if _, err := io.ReadFull(in.r, got); err != nil {
		return early(err)
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%w: checksum is %x, want %x", ErrSnapshot, want, got)
	}
	return nil
}
