package transport

import (
	"errors"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"go.uber.org/goleak"
)

// A faultyStore fails each operation with err, if that is set.
type faultyStore struct {
	*raft.InmemStore
	err error
}

func (s *faultyStore) FirstIndex() (uint64, error)      { return 0, s.err }
func (s *faultyStore) LastIndex() (uint64, error)       { return 0, s.err }
func (s *faultyStore) GetLog(uint64, *raft.Log) error   { return s.err }
func (s *faultyStore) StoreLogs([]*raft.Log) error      { return s.err }
func (s *faultyStore) DeleteRange(uint64, uint64) error { return s.err }
func (s *faultyStore) Set([]byte, []byte) error         { return s.err }
func (s *faultyStore) SetUint64([]byte, uint64) error   { return s.err }
func (s *faultyStore) Get([]byte) ([]byte, error)       { return nil, s.err }
func (s *faultyStore) GetUint64([]byte) (uint64, error) { return 0, s.err }

// newFailStop returns a fail-stop before a store that can be made to fail, and
// what fatal was told so far.
func newFailStop(deadline time.Duration) (s *failStop, inner *faultyStore, told func() []error) {
	inner = &faultyStore{InmemStore: raft.NewInmemStore()}
	var mu sync.Mutex
	var errs []error
	s = &failStop{store: inner, deadline: deadline, now: time.Now, fatal: func(err error) {
		mu.Lock()
		defer mu.Unlock()
		errs = append(errs, err)
	}}
	return s, inner, func() []error {
		mu.Lock()
		defer mu.Unlock()
		return errs
	}
}

// storeOps calls each operation that raft may call.
var storeOps = map[string]func(s *failStop) error{
	"FirstIndex":  func(s *failStop) error { _, err := s.FirstIndex(); return err },
	"LastIndex":   func(s *failStop) error { _, err := s.LastIndex(); return err },
	"GetLog":      func(s *failStop) error { return s.GetLog(1, &raft.Log{}) },
	"StoreLog":    func(s *failStop) error { return s.StoreLog(&raft.Log{Index: 1}) },
	"StoreLogs":   func(s *failStop) error { return s.StoreLogs([]*raft.Log{{Index: 1}}) },
	"DeleteRange": func(s *failStop) error { return s.DeleteRange(1, 2) },
	"Set":         func(s *failStop) error { return s.Set([]byte("k"), []byte("v")) },
	"SetUint64":   func(s *failStop) error { return s.SetUint64([]byte("k"), 1) },
	"Get":         func(s *failStop) error { _, err := s.Get([]byte("k")); return err },
	"GetUint64":   func(s *failStop) error { _, err := s.GetUint64([]byte("k")); return err },
}

// Raft lives on with a store that fails: it wins elections that it cannot
// record (hashicorp/raft#614), and panics later. Here the first error ends it,
// whichever operation met it.
func TestFailStopOnError(t *testing.T) {
	for name, op := range storeOps {
		t.Run(name, func(t *testing.T) {
			s, inner, told := newFailStop(time.Minute)
			inner.err = syscall.EIO
			if err := op(s); !errors.Is(err, ErrStoreFailed) || !errors.Is(err, syscall.EIO) {
				t.Errorf("%s = %v, want ErrStoreFailed for EIO", name, err)
			}
			inner.err = nil // the disk is well again, but it is too late
			for other, op := range storeOps {
				if err := op(s); !errors.Is(err, ErrStoreFailed) || !errors.Is(err, syscall.EIO) {
					t.Errorf("%s after it = %v, want the same refusal", other, err)
				}
			}
			if errs := told(); len(errs) != 1 || !errors.Is(errs[0], syscall.EIO) {
				t.Errorf("fatal was told %v, want EIO once", errs)
			}
		})
	}
}

// Not found is an answer, in the form that raft compares it in.
func TestFailStopNotFound(t *testing.T) {
	s, inner, told := newFailStop(time.Minute)
	s.store = inner.InmemStore
	if err := s.GetLog(7, &raft.Log{}); err != raft.ErrLogNotFound {
		t.Errorf("GetLog = %v, want raft.ErrLogNotFound itself", err)
	}
	if _, err := s.Get([]byte("none")); err == nil || err.Error() != "not found" {
		t.Errorf("Get = %v, want the text raft knows", err)
	}
	if errs := told(); len(errs) > 0 {
		t.Errorf("fatal was told %v", errs)
	}
}

// A leader whose write hangs goes on leading (hashicorp/raft#503). The write
// itself cannot report that; a watchdog does.
func TestFailStopOnHungWrite(t *testing.T) {
	for name, op := range storeOps {
		switch name {
		case "FirstIndex", "LastIndex", "GetLog", "Get", "GetUint64":
			continue // reads have no deadline
		}
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, _, told := newFailStop(5 * time.Second)
				release := make(chan struct{})
				s.delay = func(string) { <-release }
				result := make(chan error)
				go func() { result <- op(s) }()
				time.Sleep(5*time.Second - time.Millisecond)
				if errs := told(); len(errs) > 0 {
					t.Fatalf("fatal was told %v before the deadline", errs)
				}
				time.Sleep(time.Millisecond)
				synctest.Wait()
				if errs := told(); len(errs) != 1 || !errors.Is(errs[0], ErrStoreFailed) {
					t.Fatalf("fatal was told %v, want ErrStoreFailed once", errs)
				}
				if s.close() {
					t.Error("close() = true with a write that hangs: closing the file would hang too")
				}
				close(release)
				if err := <-result; !errors.Is(err, ErrStoreFailed) {
					t.Errorf("%s = %v after all, want ErrStoreFailed", name, err)
				}
			})
		})
	}
}

// Slow writes that keep the deadline are nobody's business but the histogram's.
func TestFailStopObserves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, told := newFailStop(5 * time.Second)
		took := map[string]time.Duration{}
		s.observe = func(op string, d time.Duration) { took[op] += d }
		s.delay = func(op string) {
			time.Sleep(map[string]time.Duration{OpStoreLogs: 3, OpDeleteRange: 4, OpSet: 1}[op] * time.Second)
		}
		for name, op := range storeOps {
			if err := op(s); err != nil {
				t.Errorf("%s = %v", name, err)
			}
		}
		for op, want := range map[string]time.Duration{OpStoreLogs: 6 * time.Second, OpDeleteRange: 4 * time.Second, OpSet: 2 * time.Second} {
			if took[op] != want {
				t.Errorf("observed %v of %s, want %v", took[op], op, want)
			}
		}
		time.Sleep(time.Hour) // no watchdog is left behind
		if errs := told(); len(errs) > 0 {
			t.Errorf("fatal was told %v", errs)
		}
	})
}

// A process that was stopped for longer than the deadline in the middle of a
// write has learnt nothing about its disk.
func TestFailStopForgivesPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, told := newFailStop(5 * time.Second)
		base, paused := time.Now(), time.Duration(0)
		var mu sync.Mutex
		s.now = func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			return base.Add(time.Since(base) + paused)
		}
		release := make(chan struct{})
		s.delay = func(string) { <-release }
		result := make(chan error)
		go func() { result <- s.StoreLogs(nil) }()
		time.Sleep(time.Second)
		mu.Lock()
		paused = 10 * time.Second // timers do not run while the process does not
		mu.Unlock()
		time.Sleep(5 * time.Second) // the watchdog wakes
		synctest.Wait()
		if errs := told(); len(errs) > 0 {
			t.Fatalf("fatal was told %v", errs)
		}
		close(release)
		if err := <-result; err != nil {
			t.Errorf("StoreLogs = %v", err)
		}
	})
}

// While the node shuts down, raft's metrics may still read; that is no failure.
func TestFailStopAfterClose(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	s, inner, told := newFailStop(time.Minute)
	if !s.close() {
		t.Error("close() = false, want true")
	}
	inner.err = errors.New("database not open")
	if _, err := s.FirstIndex(); err == nil || errors.Is(err, ErrStoreFailed) {
		t.Errorf("FirstIndex = %v, want an ordinary error", err)
	}
	if errs := told(); len(errs) > 0 {
		t.Errorf("fatal was told %v", errs)
	}
}

// The whole point: with the watchdog, a leader with a hung disk leaves, and the
// others elect another one within the deadline and an election. Without it,
// they do not for as long as the disk hangs.
func TestFailStopFreesTheCluster(t *testing.T) {
	release := make(chan struct{})
	var hung [3]chan struct{}
	died := make(chan int, 3)
	c := newMemCluster(t, 3, func(i int, n *memNode) {
		n.shortTimeouts()
		hung[i] = make(chan struct{})
		s := &failStop{store: n.logs.(*raft.InmemStore), deadline: 100 * time.Millisecond, now: time.Now}
		s.fatal = func(error) { died <- i }
		s.delay = func(op string) {
			select {
			case <-hung[i]:
				if op == OpStoreLogs {
					<-release
				}
			default:
			}
		}
		n.logs, n.stable = s, s
	})
	lead := c.leader(t)
	close(hung[lead])
	t.Cleanup(func() { close(release) }) // before the nodes are shut down
	c[lead].Apply([]byte("stuck"), time.Second)
	select {
	case i := <-died:
		if i != lead {
			t.Fatalf("node %d was given up, want the leader %d", i, lead)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the leader's disk hangs and nobody noticed")
	}
	c.cut(lead) // what the end of its process does
	pollUntil(t, "another leader commits", func() bool {
		return c[c.leader(t, lead)].Apply([]byte("after"), time.Second).Error() == nil
	})
}
