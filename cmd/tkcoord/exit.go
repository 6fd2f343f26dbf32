package main

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// Exit codes. Scripts rely on them.
const (
	exitDone   = 0
	exitFailed = 1 // said in one line on stderr
	exitUsage  = 2 // the command line is wrong; nothing was done
	exitNo     = 3 // the question was answered, with no; stderr stays empty
)

// errNo ends a command with exitNo. The answer is on stdout.
var errNo = errors.New("the answer is no")

// A usageError is about the command line or the environment.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// A hinted error comes with what may help, which is shown after it.
type hinted struct {
	error
	hint string
}

func (e hinted) Error() string { return e.error.Error() + " (" + e.hint + ")" }
func (e hinted) Unwrap() error { return e.error }

func hint(err error, format string, args ...any) error {
	return hinted{err, fmt.Sprintf(format, args...)}
}

// oneLine makes text from anywhere fit for one line of a terminal: joined
// errors are separated by semicolons and control characters are shown as such.
func oneLine(s string) string {
	s = strings.ReplaceAll(strings.TrimSpace(s), "\n", "; ")
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}
