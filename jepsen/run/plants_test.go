package run

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tkcoord/tkcoord/jepsen/check"
	"github.com/tkcoord/tkcoord/jepsen/nemesis"
	"github.com/tkcoord/tkcoord/jepsen/report"
)

var (
	declares = regexp.MustCompile(`(?m)^\t(\w+) +Name = "([a-z-]+)"`)
	asks     = regexp.MustCompile(`bug\.Planted\(bug\.(\w+)\)`)
)

// TestPlants: every bug that internal/bug names is asked about in the program, so
// that it is not lost when its place is rewritten, and has a run that must find
// it.
func TestPlants(t *testing.T) {
	src, err := os.ReadFile("../../internal/bug/bug.go")
	if err != nil {
		t.Fatal(err)
	}
	asked := askedAbout(t)
	declared := declares.FindAllStringSubmatch(string(src), -1)
	if len(declared) != len(Plants()) {
		t.Errorf("internal/bug names %d bugs, %d have a run", len(declared), len(Plants()))
	}
	for _, m := range declared {
		constant, name := m[1], m[2]
		if !asked[constant] {
			t.Errorf("nothing in the program asks for %s", name)
		}
		if !slices.ContainsFunc(Plants(), func(p Plant) bool { return string(p.Bug) == name }) {
			t.Errorf("%s has no run that must find it", name)
		}
	}
	for _, p := range Plants() {
		if err := p.Scenario.Validate(); err != nil {
			t.Errorf("%s: %v", p.Bug, err)
		}
		for _, v := range p.Verdicts {
			if !slices.ContainsFunc(check.Checkers(), func(c check.Checker) bool { return c.Name == v }) {
				t.Errorf("%s is to be found by %q, which is no verdict", p.Bug, v)
			}
		}
	}
}

// askedAbout returns the names of the bugs that the program asks for.
func askedAbout(t *testing.T) map[string]bool {
	t.Helper()
	found := make(map[string]bool)
	for _, dir := range []string{"fsm", "escrow", "transport", "edge", "api"} {
		err := filepath.WalkDir(filepath.Join("../..", dir), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			for _, m := range asks.FindAllSubmatch(text, -1) {
				found[string(m[1])] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return found
}

// TestCaught: another verdict that fails does not count.
func TestCaught(t *testing.T) {
	p := Plant{Verdicts: []string{"I1 limit"}}
	result := func(failed ...string) (r report.Result) {
		for _, c := range check.Checkers() {
			r.Verdicts = append(r.Verdicts, check.Verdict{Name: c.Name, OK: !slices.Contains(failed, c.Name)})
		}
		return r
	}
	if p.Caught(result()) || p.Caught(result("I10 liveness")) || !p.Caught(result("I10 liveness", "I1 limit")) {
		t.Error("a bug counts as found by the wrong verdicts")
	}
}

// TestMixKeepsToLoopback: what is drawn can be done without root.
func TestMixKeepsToLoopback(t *testing.T) {
	for seed := range uint64(100) {
		for _, name := range Mix(seed).Nemeses {
			if n, ok := nemesis.Find(name); !ok || len(n.Needs) > 0 {
				t.Errorf("seed %d draws %s, which needs %v", seed, name, n.Needs)
			}
		}
	}
}
