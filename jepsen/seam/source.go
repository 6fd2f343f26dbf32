package seam

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"
)

// PollEvery is how often a Source looks at its file.
const PollEvery = 5 * time.Millisecond

// A Source is the process's end of a seam: clocks and delays as its file says.
// Until Run is called it stays with what the file said when it was opened.
type Source struct {
	*clocks
	path string
	seen os.FileInfo // of the version in effect; nil while there is none

	mu      sync.Mutex // guards the rest
	faults  Faults
	changed chan struct{} // closed when faults are replaced
}

// Open reads the file once. It is an error if it cannot be understood, and none
// if it is not there yet.
func Open(path string) (*Source, error) {
	s := &Source{clocks: newClocks(time.Now), path: path, changed: make(chan struct{})}
	if err := s.poll(); err != nil {
		return nil, err
	}
	return s, nil
}

// Run follows the file until ctx ends. It returns an error if the file turns
// into something that cannot be obeyed; the process should not go on then.
func (s *Source) Run(ctx context.Context) error {
	t := time.NewTicker(PollEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		if err := s.poll(); err != nil {
			return fmt.Errorf("fault file: %w", err)
		}
	}
}

// poll puts the file into effect if it is another one than before. The suite
// replaces files as a whole, so looking at what does not change costs one stat.
func (s *Source) poll() error {
	info, err := os.Stat(s.path)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	if same(s.seen, info) {
		return nil
	}
	f, err := Read(s.path)
	if err != nil {
		return err
	}
	s.seen = info
	s.follow(f)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = f
	close(s.changed)
	s.changed = make(chan struct{})
	return nil
}

func same(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}

// Delay holds up a write to the log store as the file says; it is for
// transport.NodeConfig.Delay. A write that hangs goes on when the file no
// longer says so.
func (s *Source) Delay(string) {
	began := time.Now()
	for {
		f, changed := s.current()
		wait := time.Until(began.Add(time.Duration(f.StoreDelayMS) * time.Millisecond))
		var due <-chan time.Time // never, while writes hang
		if !f.StoreHang {
			if wait <= 0 {
				return
			}
			due = time.After(wait)
		}
		select {
		case <-due:
			return
		case <-changed:
		}
	}
}

// current returns the faults in effect, and a channel that is closed when they
// change.
func (s *Source) current() (Faults, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.faults, s.changed
}
