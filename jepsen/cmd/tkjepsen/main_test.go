package main

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/tkcoord/tkcoord/jepsen/host"
	"github.com/tkcoord/tkcoord/jepsen/nemesis"
	"github.com/tkcoord/tkcoord/jepsen/run"
	"github.com/tkcoord/tkcoord/jepsen/traffic"
)

// execute runs a command line and returns what it printed.
func execute(t *testing.T, line string) (string, error) {
	t.Helper()
	var out strings.Builder
	c := newRootCommand()
	c.SetArgs(strings.Fields(line))
	c.SetOut(&out)
	c.SetErr(&out)
	err := c.ExecuteContext(t.Context())
	return out.String(), err
}

func TestList(t *testing.T) {
	out, err := execute(t, "list")
	if want := len(nemesis.All()) + len(traffic.Workloads()) + len(run.CI()) + len(run.Plants()); err != nil || strings.Count(out, "\n") != want {
		t.Errorf("list: %v\n%s", err, out)
	}
}

func TestDoctor(t *testing.T) {
	out, err := execute(t, "doctor -o json")
	if err != nil && !errors.Is(err, errFound) {
		t.Fatal(err)
	}
	var d diagnosis
	if err := json.Unmarshal([]byte(out), &d); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if slices.Contains(d.Skipped[host.Netns], "link-loss") {
		t.Error("a network of namespaces is said not to lose packets")
	}
	if without, here := d.Skipped[host.Loopback]; here && !slices.Equal(without, []string{"link-loss", "link-duplicate", "link-reorder"}) {
		t.Errorf("on loopback %v are said to be skipped", without)
	}
	if table, _ := execute(t, "doctor"); !strings.Contains(table, "loopback mode: ") {
		t.Errorf("doctor says:\n%s", table)
	}
}

func TestDiagnosis(t *testing.T) {
	found := func(caps ...host.Capability) (all []host.Finding) {
		for _, c := range caps {
			all = append(all, host.Finding{Capability: c, OK: true})
		}
		return append(all, host.Finding{Capability: "other", Why: "not here"})
	}
	for _, tt := range []struct {
		name  string
		found []host.Finding
		code  int
		modes int
	}{
		{"everything", found(host.CanBuild, host.CanLoopback, host.CanNetns, host.CanPackets), 0, 2},
		{"no root", found(host.CanBuild, host.CanLoopback), 0, 1},
		{"no hosts", found(host.CanBuild), 1, 0},
		{"no toolchain", found(host.CanLoopback), 1, 1},
	} {
		d := diagnosis{Findings: tt.found, Skipped: skipped(tt.found)}
		if code := exitCode(d.verdict()); code != tt.code || len(d.Skipped) != tt.modes {
			t.Errorf("%s: status %d and %d modes, want %d and %d", tt.name, code, len(d.Skipped), tt.code, tt.modes)
		}
	}
}

func TestUsage(t *testing.T) {
	for _, line := range []string{"doctor -o yaml", "doctor x", "list x", "nonsense"} {
		if out, err := execute(t, line); exitCode(err) != 2 {
			t.Errorf("%s: %v\n%s", line, err, out)
		}
	}
}
