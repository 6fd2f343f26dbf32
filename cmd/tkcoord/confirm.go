package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// errNotConfirmed: a person was asked and did not say yes.
var errNotConfirmed = errors.New("not confirmed: nothing was changed")

// interactive reports whether a person can answer on stdin. The null device is
// a character device too, and the stdin of many services.
func (a *cli) interactive() bool {
	f, ok := a.stdin.(interface{ Stat() (fs.FileInfo, error) })
	if !ok {
		return false
	}
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull)
	return err != nil || !os.SameFile(info, null)
}

// confirm asks a question on stderr, where it does not mix with the answer, and
// reads one line from stdin. Anything but y or yes, also the end of stdin, is
// errNotConfirmed.
func (a *cli) confirm(ctx context.Context, format string, args ...any) error {
	fmt.Fprintf(a.stderr, format+" [y/N] ", args...)
	line, err := await(ctx, func() (string, error) { return bufio.NewReader(a.stdin).ReadString('\n') })
	if errors.Is(err, errInterrupted) {
		fmt.Fprintln(a.stderr)
		return err
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the confirmation: %w", err)
	}
	if err != nil {
		fmt.Fprintln(a.stderr) // nobody ended the line of the question
	}
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return nil
	}
	return errNotConfirmed
}

// await reads from stdin, which nothing can stop. When ctx ends first it leaves
// the reading behind: the process is about to end too.
func await[R any](ctx context.Context, read func() (R, error)) (R, error) {
	type outcome struct {
		res R
		err error
	}
	done := make(chan outcome, 1)
	go func() {
		res, err := read()
		done <- outcome{res, err}
	}()
	select {
	case o := <-done:
		return o.res, o.err
	case <-ctx.Done():
		var none R
		return none, errInterrupted
	}
}
