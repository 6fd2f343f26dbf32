package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
)

// maxLine bounds what is searched of a line; the file gets all of it.
const maxLine = 64 << 10

// trouble are the beginnings of lines that no fault excuses.
var trouble = []string{"panic: ", "fatal error: ", "WARNING: DATA RACE"}

// A logFile takes what a process prints, and watches for lines.
type logFile struct {
	name string

	mu      sync.Mutex // guards the rest
	file    *os.File
	partial []byte
	life    []string      // "listening" and "ready" lines of the present life
	trouble []string      // lines of all lives
	changed chan struct{} // closed when life grows
}

// maxKept bounds the lines that are remembered, of each kind.
const maxKept = 100

func openLog(name, path string) (*logFile, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("log of %s: %w", name, err)
	}
	return &logFile{name: name, file: f, changed: make(chan struct{})}, nil
}

// begin forgets what an earlier life said.
func (l *logFile) begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.life, l.partial = nil, nil
}

// Write implements io.Writer.
func (l *logFile) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	rest := p
	for {
		line, after, found := bytes.Cut(rest, []byte("\n"))
		l.partial = append(l.partial, line[:min(len(line), maxLine-len(l.partial))]...)
		if !found {
			break
		}
		l.see(string(l.partial))
		l.partial, rest = l.partial[:0], after
	}
	return l.file.Write(p)
}

func (l *logFile) see(line string) {
	for _, t := range trouble {
		if strings.HasPrefix(line, t) && len(l.trouble) < maxKept {
			l.trouble = append(l.trouble, line)
		}
	}
	for _, s := range []string{saysListening, saysReady} {
		if strings.HasPrefix(line, s) && len(l.life) < maxKept {
			l.life = append(l.life, line)
			close(l.changed)
			l.changed = make(chan struct{})
		}
	}
}

// What a program of the suite prints at the beginning of a line once it listens,
// and once it serves.
const (
	saysListening = "listening"
	saysReady     = "ready"
)

// said returns the first line of the present life that begins with a word, and a
// channel that is closed when there are more.
func (l *logFile) said(word string) (line string, ok bool, more <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.life {
		if strings.HasPrefix(s, word) {
			return s, true, nil
		}
	}
	return "", false, l.changed
}

// Close closes the file. It may be called twice.
func (l *logFile) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.file.Close(); !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}

// Trouble returns the lines of the log that no fault excuses: panics, fatal
// errors, data races.
func (p *Process) Trouble() []string {
	p.log.mu.Lock()
	defer p.log.mu.Unlock()
	return append([]string(nil), p.log.trouble...)
}

// AwaitListening returns when the process has printed that it listens, and the
// line. It fails if the process ends before.
func (p *Process) AwaitListening(ctx context.Context) (string, error) {
	return p.await(ctx, saysListening)
}

// AwaitReady returns when the process has printed that it serves, and the line.
// It fails if the process ends before.
func (p *Process) AwaitReady(ctx context.Context) (string, error) { return p.await(ctx, saysReady) }

func (p *Process) await(ctx context.Context, word string) (string, error) {
	for {
		line, ok, more := p.log.said(word)
		if ok {
			return line, nil
		}
		p.mu.Lock()
		l := p.life
		p.mu.Unlock()
		if l == nil {
			return "", fmt.Errorf("%s ended before it was %s, see %s: %w", p.spec.Name, word, p.spec.Log, ErrNotRunning)
		}
		select {
		case <-more:
		case <-l.ended:
		case <-ctx.Done():
			return "", fmt.Errorf("%s is not %s, see %s: %w", p.spec.Name, word, p.spec.Log, ctx.Err())
		}
	}
}
