package tkcoord_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/tkcoord/tkcoord"

// mayImport says which of our packages each directory may import, by prefix:
// imports point down. What is not listed here may be imported by nobody but
// itself.
var mayImport = map[string][]string{
	"internal/bug": {},
	"fsm/clock":    {"internal/bug"},
	"escrow":       {"fsm/clock", "internal/bug"},
	"strategy":     {"escrow", "fsm/clock"},
	"concurrency":  {"escrow", "fsm/clock"},
	"policy":       {"escrow", "strategy", "concurrency", "fsm/clock"},
	"monitor":      {"strategy"},
	"fsm":          {"fsm/clock", "escrow", "strategy", "concurrency", "policy", "internal/bug"},
	"edge":         {"edge", "escrow", "fsm/clock", "api/tkcoordv1", "api/throttlekitv1", "internal/bug"},
	"edge/tier":    {"edge", "escrow", "fsm/clock", "policy", "strategy"},
	"transport":    {"fsm", "escrow", "policy", "internal/bug"},
	"api":          {"api", "transport", "monitor", "fsm", "escrow", "strategy", "concurrency", "policy", "internal/bug"},
	"cmd":          {"cmd", "api", "transport", "edge", "monitor", "fsm", "escrow", "strategy", "concurrency", "policy", "jepsen/seam"},
	"jepsen":       {"jepsen", "cmd", "api", "transport", "edge", "fsm", "escrow", "strategy", "concurrency", "policy", "internal/bug"},
	"interop":      {"jepsen/host", "jepsen/netfault", "jepsen/history"},
}

// pure are the packages that are values in, values out.
var pure = []string{"fsm/clock", "escrow", "strategy", "concurrency", "policy", "fsm"}

// doubles are those of them that compute in IEEE doubles, as the ThrottleKit
// contract does, in an order that is the same on every architecture. policy
// only holds such numbers, and the sizes of leases are nobody's state.
var doubles = []string{"strategy", "concurrency", "policy"}

// impure is what they must not know. escrow's leases use sync/atomic: they are
// spent by many goroutines of an edge.
var impure = []string{
	"time", "os", "net", "net/http", "math/rand", "math/rand/v2", "crypto/rand", "sync", "sync/atomic",
	"log", "log/slog", "context", "runtime", "unsafe",
}

// place returns the entry of mayImport that a directory belongs to, the longest
// one that fits.
func place(dir string) string {
	best := ""
	for p := range mayImport {
		if (dir == p || strings.HasPrefix(dir, p+"/")) && len(p) > len(best) {
			best = p
		}
	}
	return best
}

// TestLayout reads the imports of every file and holds them against the rules.
func TestLayout(t *testing.T) {
	files := 0
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && path != "." || d.Name() == "testdata" || path == "tools") {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		files++
		checkFile(t, filepath.ToSlash(path))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 50 {
		t.Fatalf("only %d files were read", files)
	}
}

func checkFile(t *testing.T, path string) {
	src, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := parser.ParseFile(token.NewFileSet(), path, src, 0)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.ToSlash(filepath.Dir(path))
	p := place(dir)
	if p == "" {
		t.Errorf("%s lies in no place of the layout: say in mayImport what it may know", path)
		return
	}
	core := slices.Contains(pure, p)
	for _, spec := range f.Imports {
		name, _ := strconv.Unquote(spec.Path.Value)
		if ours, ok := strings.CutPrefix(name, module+"/"); ok && !allowed(p, dir, ours) {
			t.Errorf("%s imports %s: %s may import %v", path, ours, p, mayImport[p])
		}
		if core && (slices.Contains(impure, name) || strings.HasPrefix(name, "google.golang.org/")) && !(p == "escrow" && name == "sync/atomic") {
			t.Errorf("%s imports %q: the core is values in, values out", path, name)
		}
	}
	if core {
		checkCore(t, path, f, slices.Contains(doubles, p))
	}
}

func allowed(p, dir, ours string) bool {
	if ours == dir || place(ours) == p {
		return true
	}
	for _, m := range mayImport[p] {
		if ours == m || strings.HasPrefix(ours, m+"/") {
			return true
		}
	}
	return false
}

// checkCore refuses goroutines and channels in the core, and floating point
// unless it is allowed there: replicas must agree bit for bit, on every
// architecture.
func checkCore(t *testing.T, path string, f *ast.File, doubles bool) {
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			t.Errorf("%s starts a goroutine", path)
		case *ast.ChanType, *ast.SelectStmt:
			t.Errorf("%s uses channels", path)
		case *ast.Ident:
			if n.Name == "float64" && !doubles || n.Name == "float32" {
				t.Errorf("%s uses %s: the ledger's arithmetic is integral", path, n.Name)
			}
		case *ast.BasicLit:
			if n.Kind == token.FLOAT && !doubles {
				t.Errorf("%s has the floating-point number %s", path, n.Value)
			}
		}
		return true
	})
}
