package nemesis

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/tkcoord/tkcoord/jepsen/check"
	"github.com/tkcoord/tkcoord/jepsen/history"
	"github.com/tkcoord/tkcoord/jepsen/host"
)

// Phases of an event beside check.PhaseStart and check.PhaseStop.
const (
	PhaseSkip = "skip" // it cannot run here, see the detail
	PhaseFail = "fail" // it could not be started or taken back
	PhaseExit = "exit" // a process ended, by a fault or by itself
)

// A Timeline is the record of what was done to a cluster when: a file of
// check.Events, one JSON object per line, each written through to the operating
// system. Safe for concurrent use. The first error of a write stays, and Close
// returns it.
type Timeline struct {
	mu   sync.Mutex // guards the rest
	file *os.File
	err  error
}

// CreateTimeline begins a file, or goes on with one.
func CreateTimeline(path string) (*Timeline, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("timeline: %w", err)
	}
	return &Timeline{file: f}, nil
}

// Record adds an event, now.
func (t *Timeline) Record(e check.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e.At = history.Now() // NB: under the lock, so that the file is in order
	t.put(e)
}

// Exit adds the end of a process; it is for host.Config.Ended.
func (t *Timeline) Exit(e host.Exit) {
	detail := e.State
	if !e.Told {
		detail += ", without having been told to"
	}
	t.Record(check.Event{Phase: PhaseExit, Targets: []string{e.Name}, Detail: detail})
}

func (t *Timeline) put(e check.Event) {
	line, err := json.Marshal(e)
	if err == nil {
		_, err = t.file.Write(append(line, '\n'))
	}
	if t.err == nil {
		t.err = err
	}
}

// Close closes the file. Later events are lost.
func (t *Timeline) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return errors.Join(t.err, t.file.Close())
}
