package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/tkcoord/tkcoord/policy"
)

// parsePolicies reads the text of a policy file.
func parsePolicies(name string, data []byte, strict bool) (policy.File, error) {
	if strict {
		return policy.ParseStrict(name, data)
	}
	return policy.Parse(name, data)
}

// readPolicies reads a policy file as a whole. What has no effect in it is given
// to warn, one line each.
func readPolicies(file string, strict bool, warn func(string)) ([]policy.Policy, error) {
	data, err := readBounded(file, policy.MaxFileSize+1)
	if err != nil {
		return nil, err
	}
	f, err := parsePolicies(file, data, strict)
	if err != nil {
		return nil, err
	}
	warnings(&f, warn)
	return f.Policies, nil
}

// warnings gives a line for each warning about a file.
func warnings(f *policy.File, warn func(string)) {
	for _, w := range f.Warnings.List {
		warn(oneLine(w.String()))
	}
	if n := f.Warnings.More; n > 0 {
		warn(fmt.Sprintf("%s: %s more", f.Warnings.List[0].File, count(n, "warning")))
	}
}

// warnTo writes warnings for a person.
func warnTo(w io.Writer) func(string) {
	return func(text string) { fmt.Fprintln(w, "warning: "+text) }
}

// readPolicies reads a policy file, "-" for stdin. All problems of the file and
// all warnings go to stderr, one line each; the error counts the problems.
func (a *cli) readPolicies(ctx context.Context, file string, strict bool) ([]policy.Policy, error) {
	name, data, err := file, []byte(nil), error(nil)
	switch file {
	case "":
		return nil, usagef("--file is missing: name a policy file, or - for stdin")
	case "-":
		name = "stdin"
		data, err = await(ctx, func() ([]byte, error) { return io.ReadAll(io.LimitReader(a.stdin, policy.MaxFileSize+1)) })
	default:
		data, err = readBounded(file, policy.MaxFileSize+1)
	}
	if err != nil {
		return nil, fmt.Errorf("read the policies: %w", err)
	}
	f, err := parsePolicies(name, data, strict)
	bad, ok := errors.AsType[*policy.Problems](err)
	if !ok {
		warnings(&f, warnTo(a.stderr))
		return f.Policies, err
	}
	for _, p := range bad.List {
		fmt.Fprintln(a.stderr, oneLine(p.String()))
	}
	n := len(bad.List) + bad.More
	if bad.More > 0 {
		return nil, fmt.Errorf("%s has %s, of which the first %d are shown", name, count(n, "problem"), len(bad.List))
	}
	return nil, fmt.Errorf("%s has %s", name, count(n, "problem"))
}

// readBounded reads at most limit bytes of a file.
func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit))
}
