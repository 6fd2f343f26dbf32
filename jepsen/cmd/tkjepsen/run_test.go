package main

import (
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/tkcoord/tkcoord/jepsen/nemesis"
	"github.com/tkcoord/tkcoord/jepsen/run"
)

// TestCheckStored judges the stored run of package check, which breaks rules.
func TestCheckStored(t *testing.T) {
	dir := t.TempDir()
	copyTree(t, "../../check/testdata/run", dir)
	out, err := execute(t, "check "+dir)
	if exitCode(err) != 1 || !strings.Contains(out, "FAIL I1 limit") || !strings.Contains(out, "again: tkjepsen run --seed 7") {
		t.Errorf("check: %v\n%s", err, out)
	}
	if _, err := execute(t, "check "+t.TempDir()); exitCode(err) != 2 {
		t.Errorf("an empty directory: %v, want status 2", err)
	}
}

func TestRunRefuses(t *testing.T) {
	for _, line := range []string{
		"run --workload nothing", "run --nemesis nothing", "run --workload hot --time 1s", "run --workload hot --nodes 0",
		"run --workload hot --edges 0", "run --workload hot --drift-ppm -1", "run surplus",
	} {
		if out, err := execute(t, line); exitCode(err) != 2 {
			t.Errorf("%s: %v\n%s", line, err, out)
		}
	}
}

// TestCommandRepeatsScenario: the command line of a report asks for the same run.
func TestCommandRepeatsScenario(t *testing.T) {
	all := run.CI()
	for seed := range uint64(20) {
		all = append(all, run.Mix(seed+1))
	}
	for _, s := range all {
		f := runFlags{scenario: run.DefaultScenario()}
		c := newRunCommandWith(&f)
		if err := c.ParseFlags(append(s.Flags(), "--name", s.Name)); err != nil {
			t.Fatal(err)
		}
		got, err := f.scenarios(c)
		if err != nil || len(got) != 1 || !reflect.DeepEqual(got[0], s) {
			t.Errorf("%q asks for %+v, %v, want %+v", s.Command(), got, err, s)
		}
	}
}

// TestSelection holds the gate to cover every family of faults and every way to
// mistreat packets, and what is drawn to be valid.
func TestSelection(t *testing.T) {
	covered := map[string]bool{}
	for _, s := range run.CI() {
		if err := s.Validate(); err != nil {
			t.Errorf("%s: %v", s.Name, err)
		}
		for _, name := range s.Nemeses {
			for part := range strings.SplitSeq(name, "+") {
				n, _ := nemesis.Find(part)
				covered[n.Family()], covered[n.Name] = true, true
			}
		}
	}
	for _, n := range nemesis.All() {
		if !covered[n.Family()] || len(n.Needs) > 0 && !covered[n.Name] {
			t.Errorf("no scenario of the gate has a fault like %s", n.Name)
		}
	}
	for seed := range uint64(50) {
		s := run.Mix(seed)
		if err := s.Validate(); err != nil || len(s.Nemeses) == 0 {
			t.Errorf("seed %d: %+v, %v", seed, s, err)
		}
		if again := run.Mix(seed); !slices.Equal(again.Nemeses, s.Nemeses) || again.Workload != s.Workload {
			t.Errorf("seed %d draws %+v and then %+v", seed, s, again)
		}
	}
}

func copyTree(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}
