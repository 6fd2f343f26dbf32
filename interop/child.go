package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// command returns a command whose whole process group ends with ctx, and which
// leaves a Ctrl-C at the terminal to us.
func command(ctx context.Context, dir, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 2 * time.Second
	return cmd
}

// output runs a command and returns what it printed on standard output. The error
// has the end of what it printed altogether.
func output(cmd *exec.Cmd) ([]byte, error) {
	var out, all bytes.Buffer
	cmd.Stdout, cmd.Stderr = &tee{&out, &all}, &all
	if err := cmd.Run(); err != nil {
		return out.Bytes(), fmt.Errorf("%s: %w %s", filepath.Base(cmd.Args[0]), err, tail(all.Bytes()))
	}
	return out.Bytes(), nil
}

// tee writes to two buffers. Unlike io.MultiWriter it is one writer for exec.
type tee struct{ a, b *bytes.Buffer }

func (t *tee) Write(p []byte) (int, error) {
	t.a.Write(p)
	return t.b.Write(p)
}

// tail returns the last lines of a text, in one.
func tail(b []byte) string {
	const most = 400
	lines := bytes.Fields(b)
	text := string(bytes.Join(lines, []byte(" ")))
	if len(text) > most {
		text = "..." + text[len(text)-most:]
	}
	return text
}
