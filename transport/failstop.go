package transport

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// Operations on the stores, as named to StoreConfig.Observe and Delay.
const (
	OpStoreLogs   = "store_logs"
	OpDeleteRange = "delete_range"
	OpSet         = "set"
)

// A store is the log and the stable store of one node in one file.
type store interface {
	raft.LogStore
	raft.StableStore
}

// A failStop stands in front of a store that a node cannot do without, and
// turns every way in which it can let the node down into one: the first error,
// or the first write that takes longer than deadline, is reported to fatal,
// once, and from then on every call answers ErrStoreFailed. Not found is an
// answer, not an error.
//
// It is needed because raft lives on with a broken disk, and harms others:
//
//   - a leader whose write hangs keeps leading, since heartbeats come from
//     other goroutines than the one that hangs: nothing commits, no follower
//     starts an election, Apply and VerifyLeader never answer
//     (hashicorp/raft#503);
//   - a node that cannot write goes on winning elections (#614);
//   - a follower whose write fails after it truncated its log remembers a last
//     entry that is gone, and a failed read of a committed entry panics.
//
// The deadline is watched from a timer's goroutine, since the one that hangs
// cannot. Reads have none: bbolt reads mapped memory, and a page fault that
// never returns stops the whole process, this code included. Only a probe from
// outside can see that.
type failStop struct {
	store    store
	deadline time.Duration
	fatal    func(error)
	observe  func(op string, took time.Duration) // may be nil
	delay    func(op string)                     // may be nil
	now      func() time.Time

	once   sync.Once
	cause  atomic.Pointer[error] // what fatal was told
	closed atomic.Bool           // errors are no longer news: raft's stragglers still read while the file closes
	writes atomic.Int64          // in flight
}

// fail reports the first failure and returns it; later ones return the first.
func (s *failStop) fail(op string, err error) error {
	if s.closed.Load() {
		return fmt.Errorf("%s after close: %w", op, err)
	}
	s.once.Do(func() {
		cause := fmt.Errorf("%w: %s: %w", ErrStoreFailed, op, err)
		s.cause.Store(&cause)
		s.fatal(cause)
	})
	return s.failed()
}

// failed returns why the store failed, or nil.
func (s *failStop) failed() error {
	if cause := s.cause.Load(); cause != nil {
		return *cause
	}
	return nil
}

// write runs one write under the deadline. A write that was given up on and
// then returns after all is still reported as failed: the process is ending,
// and nobody may build on it.
func (s *failStop) write(op string, f func() error) error {
	if err := s.failed(); err != nil {
		return err
	}
	s.writes.Add(1)
	defer s.writes.Add(-1)
	start := s.now()
	var done atomic.Bool
	dog := s.watch(op, &done)
	defer func() { // NB: also if f ends the goroutine, as a test's disk does in a process that crashed
		done.Store(true)
		dog.Stop()
	}()
	if s.delay != nil {
		s.delay(op)
	}
	err := f()
	if s.observe != nil {
		s.observe(op, s.now().Sub(start))
	}
	if err != nil {
		return s.fail(op, err)
	}
	return s.failed()
}

// watch fails the store unless done is set within the deadline. A timer that
// fires much too late was held up together with the whole process (a stopped
// container, a migrated VM), which says nothing about the disk: the write gets
// a fresh deadline.
func (s *failStop) watch(op string, done *atomic.Bool) *time.Timer {
	armed := s.now()
	return time.AfterFunc(s.deadline, func() {
		late := s.now().Sub(armed) - s.deadline
		switch {
		case done.Load():
		case late > s.deadline/4:
			s.watch(op, done)
		default:
			s.fail(op, fmt.Errorf("no answer within %v", s.deadline))
		}
	})
}

// read passes on the result of a read; notFound tells an answer from an error.
func (s *failStop) read(op string, f func() error, notFound func(error) bool) error {
	if err := s.failed(); err != nil {
		return err
	}
	err := f()
	if err == nil || notFound(err) {
		return err // NB: unwrapped, raft compares with == and by text
	}
	return s.fail(op, err)
}

func never(error) bool { return false }

func isLogNotFound(err error) bool { return errors.Is(err, raft.ErrLogNotFound) }

// isKeyNotFound tells by the text, as raft itself does: its stores have no
// sentinel in common.
func isKeyNotFound(err error) bool { return err.Error() == "not found" }

// FirstIndex implements raft.LogStore, as do the methods up to DeleteRange.
func (s *failStop) FirstIndex() (index uint64, err error) {
	err = s.read("first_index", func() (err error) { index, err = s.store.FirstIndex(); return err }, never)
	return index, err
}

func (s *failStop) LastIndex() (index uint64, err error) {
	err = s.read("last_index", func() (err error) { index, err = s.store.LastIndex(); return err }, never)
	return index, err
}

func (s *failStop) GetLog(index uint64, out *raft.Log) error {
	return s.read("get_log", func() error { return s.store.GetLog(index, out) }, isLogNotFound)
}

func (s *failStop) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

func (s *failStop) StoreLogs(logs []*raft.Log) error {
	return s.write(OpStoreLogs, func() error { return s.store.StoreLogs(logs) })
}

func (s *failStop) DeleteRange(low, high uint64) error {
	return s.write(OpDeleteRange, func() error { return s.store.DeleteRange(low, high) })
}

// Set implements raft.StableStore, as do the methods below.
func (s *failStop) Set(key, value []byte) error {
	return s.write(OpSet, func() error { return s.store.Set(key, value) })
}

func (s *failStop) SetUint64(key []byte, value uint64) error {
	return s.write(OpSet, func() error { return s.store.SetUint64(key, value) })
}

func (s *failStop) Get(key []byte) (value []byte, err error) {
	err = s.read("get", func() (err error) { value, err = s.store.Get(key); return err }, isKeyNotFound)
	return value, err
}

func (s *failStop) GetUint64(key []byte) (value uint64, err error) {
	err = s.read("get", func() (err error) { value, err = s.store.GetUint64(key); return err }, isKeyNotFound)
	return value, err
}

// close makes later errors ordinary ones. It reports false if a write hangs:
// then the file cannot be closed either, and has to be left to the end of the
// process.
func (s *failStop) close() bool {
	s.closed.Store(true)
	return s.failed() == nil || s.writes.Load() == 0
}
