package host

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// crashingEnv makes the test binary a harness of its own: it starts a cluster in
// the directory and mode that the variable names, says which processes it has,
// and waits to be killed.
const crashingEnv = "TKJEPSEN_CRASHING"

func crashingHarness(arg string) error {
	dir, mode, _ := strings.Cut(arg, "|")
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cfg := DefaultConfig()
	cfg.Dir, cfg.RunID, cfg.Binary, cfg.Mode = dir, NewRunID(), self, Mode(mode)
	cfg.Env = []string{crashingEnv + "=", "TKJEPSEN_STANDIN=1"}
	c, err := Open(cfg)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.Start(ctx); err != nil {
		return err
	}
	if _, err := c.Nodes()[0].Pause(); err != nil { // nor may a paused one stay
		return err
	}
	fmt.Println("run", cfg.RunID)
	for _, n := range c.Nodes() {
		fmt.Println("pid", n.PID())
	}
	fmt.Println("up")
	select {}
}

func TestHarnessThatIsKilledLeavesNothing(t *testing.T) {
	inEachMode(t, func(t *testing.T, m Mode) {
		openCluster(t, standIns(t, m)) // skips the test where the mode does not work
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), crashingEnv+"="+t.TempDir()+"|"+string(m))
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var run string
		var pids []int
		for s := bufio.NewScanner(out); s.Scan() && s.Text() != "up"; {
			switch key, value, _ := strings.Cut(s.Text(), " "); key {
			case "run":
				run = value
			case "pid":
				pid, _ := strconv.Atoi(value)
				pids = append(pids, pid)
			}
		}
		alive := func() int {
			return len(slices.DeleteFunc(slices.Clone(pids), func(pid int) bool { return slices.Contains([]string{"", "Z"}, state(pid)) }))
		}
		if len(pids) != 3 || alive() != 3 {
			t.Fatalf("the harness has processes %v, of which %d live", pids, alive())
		}
		if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // by the signal
		eventually(t, "all its processes are gone", func() bool { return alive() == 0 })
		if _, err := Reap(); err != nil {
			t.Error(err)
		}
		if base, _, err := findGroups(); err == nil {
			if left, _ := filepath.Glob(filepath.Join(base, Prefix+run+"-*")); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
		}
	})
}
