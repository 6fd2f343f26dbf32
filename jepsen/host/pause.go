package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"
)

// Pause stops the process as it is, with SIGSTOP. It runs again when every
// reason to be paused is gone: resume takes back this one, and may be called
// twice. A process that was ended and started again in between is not paused.
func (p *Process) Pause() (resume func() error, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.life
	if l == nil {
		return nil, fmt.Errorf("pause %s: %w", p.spec.Name, ErrNotRunning)
	}
	if err := p.stopped(l, +1); err != nil {
		return nil, err
	}
	var once sync.Once
	return func() (err error) {
		once.Do(func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			err = p.stopped(l, -1)
		})
		return err
	}, nil
}

// stopped adds to the reasons for a life to be paused. The caller holds mu.
func (p *Process) stopped(l *life, by int) error {
	before := l.stops
	l.stops += by
	if p.life != l || (before > 0) == (l.stops > 0) {
		return nil
	}
	signal := syscall.SIGCONT
	if l.stops > 0 {
		signal = syscall.SIGSTOP
	}
	if err := l.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("%v to %s: %w", signal, p.spec.Name, err)
	}
	return nil
}

// The cycle of a process that is starved with signals.
const starveCycle = 100 * time.Millisecond

// Starve leaves the process only a share of one processor, between 0 and 1,
// until ctx ends: with the kernel's quota if it has one, else by pausing it for
// the rest of each cycle. It returns when ctx has ended. Lives that begin in
// between are starved as well.
func (p *Process) Starve(ctx context.Context, share float64, q *Quota) error {
	if q != nil {
		if err := q.Set(p.spec.Name, share); err != nil {
			return err
		}
		<-ctx.Done()
		return q.Set(p.spec.Name, 0)
	}
	run := time.Duration(share * float64(starveCycle))
	for ctx.Err() == nil {
		resume, err := p.Pause()
		if err == nil {
			pass(ctx, starveCycle-run)
			err = resume()
		}
		if err != nil && !errors.Is(err, ErrNotRunning) {
			return err
		}
		pass(ctx, run)
	}
	return nil
}

// pass waits, or until ctx ends.
func pass(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
