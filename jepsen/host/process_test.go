package host

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/tkcoord/tkcoord/jepsen/netfault"
)

// patience bounds every wait for something that must happen.
const patience = 10 * time.Second

// soon returns a context that ends when patience does.
func soon(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// eventually returns once cond holds.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	limit := time.After(patience)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-limit:
			t.Fatalf("not within %v: %s", patience, what)
		case <-tick.C:
		}
	}
}

// newShell returns a process that runs a shell script.
func newShell(t testing.TB, script string) *Process {
	t.Helper()
	thread := netfault.NewThread()
	p, err := NewProcess(Spec{
		Name: "p", Argv: func(int) []string { return []string{"/bin/sh", "-c", script} },
		Dir: t.TempDir(), Log: filepath.Join(t.TempDir(), "output.log"), Thread: thread,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(p.Close(), thread.Close()); err != nil {
			t.Error(err)
		}
	})
	return p
}

func start(t testing.TB, p *Process) {
	t.Helper()
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
}

// state returns how the kernel sees a process: R, S, T for stopped, Z; "" if
// there is none.
func state(pid int) string {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return ""
	}
	return strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))[0]
}

func TestProcessLives(t *testing.T) {
	p := newShell(t, `echo "ready in $$"; exec sleep 1000`)
	if err := p.Kill(); !errors.Is(err, ErrNotRunning) {
		t.Errorf("Kill before Start = %v, want ErrNotRunning", err)
	}
	start(t, p)
	if err := p.Start(); !errors.Is(err, ErrRunning) {
		t.Errorf("Start again = %v, want ErrRunning", err)
	}
	line, err := p.AwaitReady(soon(t))
	if err != nil || line != "ready in "+strconv.Itoa(p.PID()) {
		t.Fatalf("AwaitReady = %q, %v, of process %d", line, err, p.PID())
	}
	first := p.PID()
	if err := p.Kill(); err != nil || p.Running() {
		t.Errorf("Kill = %v, runs: %t", err, p.Running())
	}
	start(t, p)
	if line, err := p.AwaitReady(soon(t)); err != nil || line == "ready in "+strconv.Itoa(first) {
		t.Errorf("the second life said %q, %v", line, err)
	}
	if err := p.Stop(soon(t)); err != nil {
		t.Errorf("Stop = %v", err)
	}
	exits := p.Exits()
	if len(exits) != 2 || !exits[0].Told || exits[0].State != "signal: killed" || !exits[1].Told || exits[1].State != "signal: terminated" {
		t.Errorf("exits %+v", exits)
	}
}

func TestProcessThatIgnoresStopIsKilled(t *testing.T) {
	p := newShell(t, `trap "" TERM; echo ready; while :; do sleep 1; done`)
	start(t, p)
	if _, err := p.AwaitReady(soon(t)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := p.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) || p.Running() {
		t.Errorf("Stop = %v, runs: %t", err, p.Running())
	}
}

func TestProcessEndsByItself(t *testing.T) {
	for _, tt := range []struct {
		script, state string
		trouble       int
	}{
		{"exit 3", "exit status 3", 0},
		{`echo "panic: at once"; exit 2`, "exit status 2", 1},
		{`echo "WARNING: DATA RACE"; echo "no panic: here"`, "exit status 0", 1},
	} {
		p := newShell(t, tt.script)
		start(t, p)
		if _, err := p.AwaitReady(soon(t)); !errors.Is(err, ErrNotRunning) {
			t.Errorf("%s: AwaitReady = %v, want ErrNotRunning", tt.script, err)
		}
		if e := p.Exits(); len(e) != 1 || e[0].Told || e[0].State != tt.state {
			t.Errorf("%s: exits %+v, want %s", tt.script, e, tt.state)
		}
		if got := p.Trouble(); len(got) != tt.trouble {
			t.Errorf("%s: trouble %q, want %d lines", tt.script, got, tt.trouble)
		}
	}
}

func TestExcusedEndIsNoSurprise(t *testing.T) {
	for _, withdrawn := range []bool{false, true} {
		p := newShell(t, `trap "exit 7" USR1; echo ready; while :; do sleep 0.01; done`)
		start(t, p)
		if _, err := p.AwaitReady(soon(t)); err != nil {
			t.Fatal(err)
		}
		withdraw, err := p.Excuse()
		if err != nil {
			t.Fatal(err)
		}
		if withdrawn {
			withdraw()
			withdraw()
		}
		if err := syscall.Kill(p.PID(), syscall.SIGUSR1); err != nil {
			t.Fatal(err)
		}
		if err := p.Wait(soon(t)); err != nil {
			t.Fatal(err)
		}
		if e := p.Exits()[0]; e.Told == withdrawn || e.State != "exit status 7" {
			t.Errorf("excuse withdrawn: %t, exit %+v", withdrawn, e)
		}
	}
}

func TestPauseCountsReasons(t *testing.T) {
	p := newShell(t, "exec sleep 1000")
	start(t, p)
	pause := func() func() error {
		t.Helper()
		resume, err := p.Pause()
		if err != nil {
			t.Fatal(err)
		}
		return resume
	}
	one, two := pause(), pause()
	eventually(t, "it is stopped", func() bool { return state(p.PID()) == "T" })
	for range 2 { // the second time does nothing
		if err := one(); err != nil {
			t.Error(err)
		}
	}
	if s := state(p.PID()); s != "T" {
		t.Errorf("one of two reasons to pause is gone, and the process is in state %s", s)
	}
	if err := two(); err != nil {
		t.Error(err)
	}
	eventually(t, "it runs", func() bool { return state(p.PID()) == "S" })

	late := pause()
	if err := p.Kill(); err != nil { // a stopped process can be killed
		t.Fatal(err)
	}
	start(t, p)
	resumed := pause()
	eventually(t, "the second life is stopped", func() bool { return state(p.PID()) == "T" })
	if err := late(); err != nil {
		t.Error(err)
	}
	if s := state(p.PID()); s != "T" {
		t.Errorf("the end of an earlier life's pause resumed the process: state %s", s)
	}
	if err := resumed(); err != nil {
		t.Error(err)
	}
}

// spins counts in its log as fast as it may.
const spin = `echo ready; i=0; while :; do i=$((i+1)); done`

// ticks is the processor time that a process has used, in 10 ms.
func ticks(pid int) int {
	data, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	f := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	return user + system
}

func TestStarve(t *testing.T) {
	for _, kind := range []string{"signals", "quota"} {
		t.Run(kind, func(t *testing.T) {
			p := newShell(t, spin)
			var q *Quota
			if kind == "quota" {
				var err error
				if q, err = OpenQuota(NewRunID()); err != nil {
					t.Skip("no processor quotas: ", err)
				}
				t.Cleanup(func() {
					if err := errors.Join(p.Close(), q.Close()); err != nil {
						t.Error(err)
					}
				})
			}
			start(t, p)
			if q != nil {
				if err := q.Add(p.Name(), p.PID()); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := p.AwaitReady(soon(t)); err != nil {
				t.Fatal(err)
			}
			before := ticks(p.PID())
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			if err := p.Starve(ctx, 0.1, q); err != nil {
				t.Fatal(err)
			}
			// 10 % of 50 ticks, and the rest of the first cycle or two.
			if used := ticks(p.PID()) - before; used > 20 {
				t.Errorf("a process left 10 %% of a processor used %d of 50 ticks", used)
			}
			before = ticks(p.PID())
			eventually(t, "it has its processor back", func() bool { return ticks(p.PID()) > before+10 })
		})
	}
}

// What runs on a thread does not outlive it, and so not the harness.
func TestProcessDiesWithItsThread(t *testing.T) {
	thread := netfault.NewThread()
	var ended atomic.Bool
	p, err := NewProcess(Spec{
		Name: "p", Argv: func(int) []string { return []string{"/bin/sh", "-c", "exec sleep 1000"} },
		Log: filepath.Join(t.TempDir(), "log"), Thread: thread, Ended: func(Exit) { ended.Store(true) },
	})
	if err != nil {
		t.Fatal(err)
	}
	start(t, p)
	if _, err := p.Pause(); err != nil { // death comes to the paused as well
		t.Fatal(err)
	}
	if err := thread.Close(); err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(soon(t)); err != nil {
		t.Fatal(err)
	}
	if !ended.Load() || p.Exits()[0].State != "signal: killed" {
		t.Errorf("ended: %t, %+v", ended.Load(), p.Exits())
	}
	if err := p.Start(); !errors.Is(err, netfault.ErrClosed) {
		t.Errorf("Start without a thread = %v, want ErrClosed", err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}
