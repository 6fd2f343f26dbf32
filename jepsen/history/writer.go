package history

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
)

// A Writer records one client. Calls and returns are with the operating system
// when its methods return, so they survive the client's death. All methods may
// be called by any number of goroutines at once; the first error stays, and Err
// and Close return it.
type Writer struct {
	mu    sync.Mutex // guards the rest
	file  *os.File
	buf   *bufio.Writer
	enc   *json.Encoder
	ops   int64
	names map[name]int
	sums  sums
	err   error
}

type name struct{ policy, key string }

// Create begins a record. A file that exists is an error: a client that starts
// again is another client.
func Create(path string, h Head) (*Writer, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, fmt.Errorf("begin a history: %w", err)
	}
	w := &Writer{file: f, buf: bufio.NewWriterSize(f, 64<<10), names: make(map[name]int), sums: newSums()}
	w.enc = json.NewEncoder(w.buf)
	h.Version = Version
	if h.Began == 0 {
		h.Began = Now()
	}
	w.put(line{Head: &h})
	w.flush()
	return w, w.err
}

// put encodes one line. mu is held, or nobody else has w yet.
func (w *Writer) put(l line) {
	if w.err == nil {
		w.err = w.enc.Encode(l)
	}
}

func (w *Writer) flush() {
	if w.err == nil {
		w.err = w.buf.Flush()
	}
}

// Key returns the number of a key in this file.
func (w *Writer) Key(policy, key string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.key(policy, key)
}

func (w *Writer) key(policy, key string) int {
	n := name{policy, key}
	k, ok := w.names[n]
	if !ok {
		k = len(w.names) + 1
		w.names[n] = k
		w.put(line{Name: &KeyName{Key: k, Policy: policy, Name: key}})
	}
	return k
}

// Call records that an operation is about to be sent, and returns its number.
// The time is read last, so nothing is sent before it.
func (w *Writer) Call(c Call) int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ops++
	c.Op, c.At = w.ops, Now()
	w.put(line{Call: &c})
	w.flush()
	return c.Op
}

// Return records how an operation ended. The time is that of the answer's
// arrival: read it before anything else is done with the answer.
func (w *Writer) Return(r Return) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.put(line{Return: &r})
	w.flush()
}

// Admit adds an admission that was decided at an instant, 0 if that cannot be
// told.
func (w *Writer) Admit(policy, key string, window, units int64, at Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sums.add(w, slotKey{key: w.key(policy, key), window: window}, units, at)
}

// Deny adds a request that was refused at an instant.
func (w *Writer) Deny(policy, key, why string, units int64, at Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sums.add(w, slotKey{key: w.key(policy, key), why: why}, units, at)
}

// Hold records for how long a slot was held.
func (w *Writer) Hold(h Held) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.put(line{Held: &h})
	w.flush()
}

// Settle writes out all sums whose slots are over, and returns the first error
// of the record. Call it about once per Slot: what it has not written is lost
// when the process is killed.
func (w *Writer) Settle() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sums.settle(w, Now())
	w.flush()
	return w.err
}

// Close writes what is left and ends the record.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sums.settle(w, Never)
	now := Now()
	w.put(line{End: &now})
	w.flush()
	return errors.Join(w.err, w.file.Close())
}
