package main

import (
	"bytes"
	"strings"
	"testing"
)

// execute runs the command and returns its exit status.
func execute(args ...string) int {
	var out bytes.Buffer
	c := newRootCommand()
	c.SetOut(&out)
	c.SetErr(&out)
	c.SetArgs(args)
	return exitCode(c.Execute())
}

func TestExitStatus(t *testing.T) {
	for _, tt := range []struct {
		args string
		want int
	}{
		{"run --seed 1 --hours 0.01 --edges 5", 0},
		{"soak --seeds 2 --hours 0.01 --edges 5", 0},
		{"run --seed 0 --hours 0.05 --edges 40 --break read-before-sending", 1},
		{"run --break nothing", 2},
		{"run --edges 0", 2},
		{"run --hours 0", 2},
	} {
		t.Run(tt.args, func(t *testing.T) {
			if got := execute(strings.Fields(tt.args)...); got != tt.want {
				t.Errorf("exit status %d, want %d", got, tt.want)
			}
		})
	}
}

// A violation names the command that shows it again, and that command does.
func TestViolationCanBeReplayed(t *testing.T) {
	var out bytes.Buffer
	j := &job{seed: 0, hours: 0.05, edges: 40, broken: "read-before-sending"}
	if err := j.run(&out); err == nil {
		t.Fatal("no violation")
	}
	const before = "replay: go run ./jepsen/cmd/tksim "
	first := out.String()
	_, replay, found := strings.Cut(first, before)
	if !found {
		t.Fatalf("no replay command in %s", first)
	}
	out.Reset()
	c := newRootCommand()
	c.SetOut(&out)
	c.SetArgs(strings.Fields(replay))
	if got := exitCode(c.Execute()); got != 1 {
		t.Fatalf("the replay %q has exit status %d, want 1", replay, got)
	}
	what := func(s string) string { _, v, _ := strings.Cut(s, "VIOLATION"); return v }
	if what(out.String()) != what(first) {
		t.Errorf("the replay differs:\n%s\nfrom\n%s", out.String(), first)
	}
}
