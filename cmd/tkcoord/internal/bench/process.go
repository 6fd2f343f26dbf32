package bench

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A child is a process that a benchmark started and will end.
type child struct {
	cmd   *exec.Cmd
	name  string
	args  []string
	log   string        // file with its output
	ready string        // beginning of the line that says it serves; "" does not wait
	ended chan struct{} // closed when the process is gone

	mu    sync.Mutex // guards the rest
	state error
}

// start runs the process and waits for its ready line, which it returns.
func (c *child) start(ctx context.Context, patience time.Duration) (string, error) {
	f, err := os.OpenFile(c.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	c.cmd = exec.Command(c.args[0], c.args[1:]...)
	c.cmd.Stderr = f
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := c.cmd.Start(); err != nil {
		return "", fmt.Errorf("start %s: %w", c.name, err)
	}
	said := make(chan string, 1)
	c.ended = make(chan struct{})
	ended := c.ended
	go func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if c.ready != "" && strings.HasPrefix(lines.Text(), c.ready) {
				select {
				case said <- lines.Text():
				default:
				}
			}
			fmt.Fprintln(f, lines.Text())
		}
		_, _ = io.Copy(f, out)
		err := c.cmd.Wait()
		f.Close()
		c.mu.Lock()
		c.state = err
		c.mu.Unlock()
		close(ended)
	}()
	if c.ready == "" {
		return "", nil
	}
	select {
	case line := <-said:
		return line, nil
	case <-ended:
		return "", fmt.Errorf("%s ended: %w: %s", c.name, c.state, tail(c.log))
	case <-time.After(patience):
		return "", fmt.Errorf("%s not ready after %v: %s", c.name, patience, tail(c.log))
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// kill ends the process at once and waits until it is gone.
func (c *child) kill() {
	if c.cmd != nil && c.cmd.Process != nil {
		_ = c.cmd.Process.Kill() // it may be gone already
		<-c.ended
	}
}

// cpu returns the time that the process has computed for.
func (c *child) cpu() time.Duration {
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(c.cmd.Process.Pid), "stat"))
	if err != nil {
		return 0
	}
	// After the name in parentheses: utime and stime are the 12th and 13th, in
	// hundredths of a second.
	fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
	if len(fields) < 13 {
		return 0
	}
	var sum time.Duration
	for _, f := range fields[11:13] {
		n, _ := strconv.ParseInt(f, 10, 64)
		sum += time.Duration(n) * 10 * time.Millisecond
	}
	return sum
}

// tail returns the end of a log for an error message.
func tail(file string) string {
	data, _ := os.ReadFile(file)
	return strings.TrimSpace(string(data[max(0, len(data)-400):]))
}
