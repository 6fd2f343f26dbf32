package raftlog

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/hashicorp/raft"
	"github.com/klauspost/compress/zstd"
)

// A stored log is zstd over
//
//	"TKLG" | committed uvarint | conflicts | entries to the end of the file
//
// with an entry as index, term, type, wall (all varints), and the data with its
// length in front, and conflicts as a count and strings with their lengths.
const magic = "TKLG"

// maxField bounds what is read into memory at once.
const maxField = 64 << 20

// Save writes the log, without its snapshots, to a file.
func (l *Log) Save(path string) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	z, err := zstd.NewWriter(f, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	b := append([]byte(magic), binary.AppendUvarint(nil, l.Committed)...)
	b = binary.AppendUvarint(b, uint64(len(l.Conflicts)))
	for _, c := range l.Conflicts {
		b = appendBytes(b, []byte(c))
	}
	for i := range l.Entries {
		e := &l.Entries[i]
		b = binary.AppendUvarint(b, e.Index)
		b = binary.AppendUvarint(b, e.Term)
		b = binary.AppendUvarint(b, uint64(e.Type))
		b = binary.AppendVarint(b, e.Wall)
		b = appendBytes(b, e.Data)
		if _, err := z.Write(b); err != nil {
			return errors.Join(err, z.Close())
		}
		b = b[:0]
	}
	_, err = z.Write(b)
	return errors.Join(err, z.Close())
}

func appendBytes(b, v []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(v))), v...)
}

// Load reads a log that Save wrote, and lists the snapshots of an archive.
func Load(path, archive string) (*Log, error) {
	snapshots, err := ReadArchive(archive)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := zstd.NewReader(f, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	l, err := decode(bufio.NewReader(z))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	l.Snapshots = snapshots
	return l, nil
}

func decode(r *bufio.Reader) (*Log, error) {
	var head [len(magic)]byte
	if _, err := io.ReadFull(r, head[:]); err != nil || string(head[:]) != magic {
		return nil, fmt.Errorf("it does not begin with %q", magic)
	}
	d := decoder{r: r}
	l := &Log{Committed: d.uvarint()}
	for n := d.uvarint(); n > 0 && d.err == nil; n-- {
		l.Conflicts = append(l.Conflicts, string(d.bytes()))
	}
	for d.err == nil {
		if _, err := r.Peek(1); errors.Is(err, io.EOF) {
			return l, nil
		}
		e := Entry{Index: d.uvarint(), Term: d.uvarint(), Type: raft.LogType(d.uvarint()), Wall: d.varint()}
		if e.Data = d.bytes(); d.err == nil {
			l.Entries = append(l.Entries, e)
		}
	}
	return nil, d.err
}

// A decoder keeps the first error and yields zeros after it.
type decoder struct {
	r   *bufio.Reader
	err error
}

func (d *decoder) fail(err error) {
	if d.err == nil {
		d.err = fmt.Errorf("the log is damaged: %w", err)
	}
}

func (d *decoder) uvarint() uint64 {
	v, err := binary.ReadUvarint(d.r)
	if err != nil {
		d.fail(err)
	}
	return v
}

func (d *decoder) varint() int64 {
	v, err := binary.ReadVarint(d.r)
	if err != nil {
		d.fail(err)
	}
	return v
}

func (d *decoder) bytes() []byte {
	n := d.uvarint()
	if n > maxField {
		d.fail(fmt.Errorf("a field of %d bytes", n))
	}
	if d.err != nil || n == 0 {
		return nil
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(d.r, b); err != nil {
		d.fail(err)
	}
	return b
}
