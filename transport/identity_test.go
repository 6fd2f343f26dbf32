package transport

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestServerIDLivesOnDisk: a node keeps its raft id over restarts, is a new
// server once its disk is gone, and refuses a directory of another node.
func TestServerIDLivesOnDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	first, err := openServerID(dir, "a")
	if err != nil || nodeName(first) != "a" || !strings.HasPrefix(string(first), "a/") {
		t.Fatalf("openServerID = %q, %v", first, err)
	}
	again, err := openServerID(dir, "a")
	if err != nil || again != first {
		t.Fatalf("after a restart openServerID = %q, %v, want %q", again, err, first)
	}
	if _, err := openServerID(dir, "b"); err == nil || !strings.Contains(err.Error(), `"a"`) {
		t.Fatalf("another node's directory: %v, want a refusal that names its owner", err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if anew, err := openServerID(dir, "a"); err != nil || anew == first {
		t.Fatalf("after the disk was lost openServerID = %q, %v, want another than %q", anew, err, first)
	}
}

func TestClusterIDLivesOnDisk(t *testing.T) {
	dir := t.TempDir()
	if id, err := readClusterID(dir); id != "" || err != nil {
		t.Fatalf("readClusterID of a new directory = %q, %v", id, err)
	}
	if err := writeClusterID(dir, "c1"); err != nil {
		t.Fatal(err)
	}
	if id, err := readClusterID(dir); id != "c1" || err != nil {
		t.Fatalf("readClusterID = %q, %v, want c1", id, err)
	}
}
