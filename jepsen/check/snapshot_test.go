package check

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/tkcoord/tkcoord/fsm"
	"github.com/tkcoord/tkcoord/jepsen/raftlog"
)

// saveSnapshot writes a snapshot as a node would, and an archive keep it.
func saveSnapshot(t testing.TB, m *fsm.Machine, index uint64) raftlog.Snapshot {
	t.Helper()
	dir := filepath.Join(t.TempDir(), fmt.Sprintf("n1_1-%d-0", index))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	meta := fmt.Sprintf(`{"Index":%d,"Term":1}`, index)
	if err := os.WriteFile(filepath.Join(dir, "meta.json"), []byte(meta), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(dir, "state.bin"))
	if err != nil {
		t.Fatal(err)
	}
	z, err := zstd.NewWriter(f)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Freeze().WriteTo(z); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	list, err := raftlog.ReadArchive(filepath.Dir(dir))
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	return list[0]
}
