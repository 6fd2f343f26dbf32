package run

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// A progress says what a run does, line by line, with the time since it began.
type progress struct {
	mu    sync.Mutex // guards the rest
	w     io.Writer
	began time.Time
}

func newProgress(w io.Writer) *progress { return &progress{w: w, began: time.Now()} }

func (p *progress) linef(phase, format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.w, "%6.1fs  %-8s %s\n", time.Since(p.began).Seconds(), phase, fmt.Sprintf(format, args...))
}
