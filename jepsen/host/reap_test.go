package host

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestRunOf(t *testing.T) {
	id := NewRunID()
	for _, tt := range []struct {
		name, want string
		ok         bool
	}{
		{Prefix + id + "-n1", id, true},
		{Prefix + id, "", false},
		{Prefix + "notes-of-mine", "", false},
		{"other-" + id + "-n1", "", false},
		{"", "", false},
	} {
		if got, ok := runOf(tt.name); ok != tt.ok || ok && got != tt.want {
			t.Errorf("runOf(%q) = %q, %t, want %q, %t", tt.name, got, ok, tt.want, tt.ok)
		}
	}
}

// deadRun is the identity of a run whose process has ended.
func deadRun(t *testing.T) string {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", "true")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	id := fmt.Sprintf("%d.%s.beef", cmd.Process.Pid, startTime(cmd.Process.Pid))
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	return id
}

func TestUnderWay(t *testing.T) {
	own := NewRunID()
	pid, rest, _ := strings.Cut(own, ".")
	for _, tt := range []struct {
		id   string
		want bool
	}{
		{own, true},
		{deadRun(t), false},
		{pid + ".0." + rest[strings.LastIndexByte(rest, '.')+1:], false}, // the number was given to a later process
		{"what is this", true},
	} {
		if got := underWay(tt.id); got != tt.want {
			t.Errorf("underWay(%q) = %t, want %t", tt.id, got, tt.want)
		}
	}
}

func TestReapRemovesOnlyLeftovers(t *testing.T) {
	base, _, err := findGroups()
	if err != nil {
		t.Skip(err)
	}
	if _, err := OpenQuota(NewRunID()); err != nil {
		t.Skip(err)
	}
	leftover := Prefix + deadRun(t) + "-n1"
	kept := []string{Prefix + NewRunID() + "-n1", Prefix + "notes-of-mine", "other-" + strings.TrimPrefix(leftover, Prefix)}
	for _, name := range append([]string{leftover}, kept...) {
		if err := os.Mkdir(filepath.Join(base, name), 0o755); err != nil {
			t.Skip(err)
		}
		defer os.Remove(filepath.Join(base, name))
	}
	removed, err := Reap()
	if err != nil || !slices.Contains(removed, "control group "+leftover) {
		t.Errorf("Reap = %q, %v, want %s among them", removed, err, leftover)
	}
	for _, name := range kept {
		if !isDir(filepath.Join(base, name)) {
			t.Errorf("Reap removed %s", name)
		}
	}
}
