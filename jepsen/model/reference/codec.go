package reference

import (
	"encoding/binary"
	"errors"
)

var errCorrupt = errors.New("not a state of this model")

// appendInts appends small numbers, none of them negative. One below 128 takes a
// byte.
func appendInts(dst []byte, values ...int) []byte {
	for _, v := range values {
		dst = binary.AppendUvarint(dst, uint64(v))
	}
	return dst
}

// A reader takes apart what appendInts wrote. After its end was passed it
// answers zero, and done reports that.
type reader struct {
	data []byte
	bad  bool
}

func (r *reader) int() int {
	if len(r.data) > 0 && r.data[0] < 0x80 { // nearly always
		v := r.data[0]
		r.data = r.data[1:]
		return int(v)
	}
	v, n := binary.Uvarint(r.data)
	if n <= 0 {
		r.bad = true
		return 0
	}
	r.data = r.data[n:]
	return int(v)
}

// done reports whether exactly what was written has been read.
func (r *reader) done() error {
	if r.bad || len(r.data) > 0 {
		return errCorrupt
	}
	return nil
}
