package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/tkcoord/tkcoord/jepsen/history"
	"github.com/tkcoord/tkcoord/jepsen/netfault"
)

var (
	// ErrRunning means that a process cannot be started, since it runs.
	ErrRunning = errors.New("it runs already")
	// ErrNotRunning means that there is nobody to signal or to wait for.
	ErrNotRunning = errors.New("it does not run")
)

// A Spec says what a process runs and where.
type Spec struct {
	Name string // of the host, unique in a run
	// Argv returns the command line of a life, counted from 0; its first element
	// is the path of the program.
	Argv func(life int) []string
	Env  []string // added to the harness's own
	Dir  string   // working directory
	// Log is the file that standard output and standard error are appended to.
	Log string
	// Thread is what the process is started on. It lives in the thread's network
	// namespace and dies with the thread, so also when the harness is killed.
	Thread *netfault.Thread
	// Started and Ended are told of each life of the process; both may be nil.
	Started func(pid int)
	Ended   func(Exit)
}

// An Exit is the end of one life of a process.
type Exit struct {
	Name  string
	PID   int
	At    history.Time
	State string // as in "signal: killed", "exit status 1"
	// Told is whether the harness ended it, or had excused its end.
	Told bool
}

// A Process is one program of a run, which can be started, stopped, paused and
// killed over and over. Safe for concurrent use.
type Process struct {
	spec Spec
	log  *logFile

	mu     sync.Mutex // guards the rest
	life   *life      // nil while it does not run
	lives  int        // begun so far
	closed bool
	exits  []Exit
}

// A life is the time from one start of a process to its end.
type life struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed when it has been waited for
	told  bool          // it has been ended, or will be in a moment
	maybe int           // faults that may make it end by itself
	stops int           // reasons to be paused; the process runs at 0
}

// NewProcess opens the log. Close ends the process and closes it.
func NewProcess(s Spec) (*Process, error) {
	l, err := openLog(s.Name, s.Log)
	if err != nil {
		return nil, err
	}
	return &Process{spec: s, log: l}, nil
}

// Name returns the name of the process's host.
func (p *Process) Name() string { return p.spec.Name }

// Start begins a new life, or fails with ErrRunning.
func (p *Process) Start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return fmt.Errorf("start %s: %w", p.spec.Name, os.ErrClosed)
	case p.life != nil:
		return fmt.Errorf("start %s: %w", p.spec.Name, ErrRunning)
	}
	argv := p.spec.Argv(p.lives)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(cleanEnviron(), p.spec.Env...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.spec.Dir, p.log, p.log
	cmd.SysProcAttr, cmd.WaitDelay = dieWithParent(), outputTime
	p.log.begin()
	if err := p.spec.Thread.Do(cmd.Start); err != nil {
		return fmt.Errorf("start %s: %w", p.spec.Name, err)
	}
	l := &life{cmd: cmd, ended: make(chan struct{})}
	p.life = l
	p.lives++
	if p.spec.Started != nil {
		p.spec.Started(cmd.Process.Pid)
	}
	go p.wait(l)
	return nil
}

// outputTime bounds the wait for output after a process has ended, as when a
// child of it still holds the pipe.
const outputTime = 200 * time.Millisecond

// cleanEnviron is the harness's environment less what the program under test
// would take for its settings.
func cleanEnviron() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "TKCOORD_") })
}

// wait sees to the end of a life.
func (p *Process) wait(l *life) {
	_ = l.cmd.Wait() // how it ended is in ProcessState
	p.mu.Lock()
	p.life = nil
	e := Exit{Name: p.spec.Name, PID: l.cmd.Process.Pid, At: history.Now(), State: l.cmd.ProcessState.String(), Told: l.told || l.maybe > 0}
	p.exits = append(p.exits, e)
	p.mu.Unlock()
	if p.spec.Ended != nil {
		p.spec.Ended(e)
	}
	close(l.ended)
}

// Running reports whether the process runs; one that is paused does.
func (p *Process) Running() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.life != nil
}

// Exits returns how the process ended so far, oldest first.
func (p *Process) Exits() []Exit {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Exit(nil), p.exits...)
}

// PID returns the process id, 0 if it does not run.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.life == nil {
		return 0
	}
	return p.life.cmd.Process.Pid
}

// tell says that an end of the present life is no surprise, and returns it.
func (p *Process) tell() (*life, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.life == nil {
		return nil, fmt.Errorf("%s: %w", p.spec.Name, ErrNotRunning)
	}
	p.life.told = true
	return p.life, nil
}

// Excuse says that the present life may end by itself, as a fault that is about
// to be injected asks for it. withdraw says that it may no longer; it may be
// called twice.
func (p *Process) Excuse() (withdraw func(), err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.life
	if l == nil {
		return nil, fmt.Errorf("%s: %w", p.spec.Name, ErrNotRunning)
	}
	l.maybe++
	var once sync.Once
	return func() {
		once.Do(func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			l.maybe--
		})
	}, nil
}

// Kill ends the process at once, as a crash would, and waits until it is gone.
func (p *Process) Kill() error {
	l, err := p.tell()
	if err != nil {
		return err
	}
	if err := l.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill %s: %w", p.spec.Name, err)
	}
	<-l.ended
	return nil
}

// Stop asks the process to end and waits until it has. When ctx ends before, it
// is killed, and the error says so.
func (p *Process) Stop(ctx context.Context) error {
	l, err := p.tell()
	if err != nil {
		return err
	}
	if err := l.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", p.spec.Name, err)
	}
	select {
	case <-l.ended:
		return nil
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("stop %s: it did not end: %w", p.spec.Name, ctx.Err()), p.Kill())
	}
}

// Wait returns when the process has ended, at once if it does not run.
func (p *Process) Wait(ctx context.Context) error {
	p.mu.Lock()
	l := p.life
	p.mu.Unlock()
	if l == nil {
		return nil
	}
	select {
	case <-l.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the end of %s: %w", p.spec.Name, ctx.Err())
	}
}

// closeTime bounds the wait for a process that was killed: one in an
// uninterruptible sleep cannot be.
const closeTime = 10 * time.Second

// Close kills the process if it runs and closes its log. It cannot be started
// again, and Close may be called twice.
func (p *Process) Close() error {
	p.mu.Lock()
	p.closed = true
	l := p.life
	if l != nil {
		l.told = true
	}
	p.mu.Unlock()
	if l != nil {
		_ = l.cmd.Process.Kill() // fails only if it has ended
		select {
		case <-l.ended:
		case <-time.After(closeTime):
			return fmt.Errorf("%s, process %d, cannot be killed", p.spec.Name, l.cmd.Process.Pid)
		}
	}
	return p.log.Close()
}
