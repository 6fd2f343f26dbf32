package strategy

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestProductsAreRounded: a product of doubles that is added to something may become
// one instruction that rounds once, on some machines, and replicas would differ. A
// conversion around it forbids that, so every product has one.
func TestProductsAreRounded(t *testing.T) {
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	rounded := 0
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		r, b := products(f)
		rounded += r
		for _, at := range b {
			t.Errorf("%s: a product without float64(...) around it", fset.Position(at))
		}
	}
	if rounded < 10 {
		t.Errorf("only %d products were found", rounded)
	}
	f, err := parser.ParseFile(token.NewFileSet(), "p.go", "package p\nfunc f(x, y, z float64) float64 { x *= y; return x*y + float64(y*z) + float64(x*y+z) }", 0)
	if err != nil {
		t.Fatal(err)
	}
	if rounded, b := products(f); rounded != 1 || len(b) != 3 {
		t.Errorf("of a file with 1 product that is rounded and 3 that are not, %d and %d were found", rounded, len(b))
	}
}

// products counts the products that are all that a float64(...) converts, and
// returns where the others are. Integers are not told apart: there are none.
func products(f *ast.File) (rounded int, bare []token.Pos) {
	inside := map[ast.Expr]bool{}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			if name, ok := n.Fun.(*ast.Ident); ok && name.Name == "float64" && len(n.Args) == 1 {
				inside[n.Args[0]] = true
			}
		case *ast.BinaryExpr:
			switch {
			case n.Op != token.MUL:
			case inside[n]:
				rounded++
			default:
				bare = append(bare, n.Pos())
			}
		case *ast.AssignStmt:
			if n.Tok == token.MUL_ASSIGN {
				bare = append(bare, n.Pos())
			}
		}
		return true
	})
	return rounded, bare
}

// TestNothingIsFused compiles the package for machines that can fuse and reads what
// came out; and a product that may be fused, to know that it would have been seen.
func TestNothingIsFused(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles for other machines")
	}
	if out := assembly(t, "arm64", "."); fused(out) || !bytes.Contains(out, []byte("FDIVD")) {
		t.Error("the package has a fused multiplication on arm64, or no arithmetic was seen")
	}
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("go.mod", "module fused\n")
	write("fused.go", "package fused\n\nfunc F(x, y, z float64) float64 { return x*y + z }\n")
	if !fused(assembly(t, "arm64", dir)) {
		t.Error("x*y + z is not fused on arm64 any more: this test sees nothing")
	}
}

func fused(assembly []byte) bool {
	return bytes.Contains(assembly, []byte("FMADDD")) || bytes.Contains(assembly, []byte("FMSUBD")) ||
		bytes.Contains(assembly, []byte("FNMADDD")) || bytes.Contains(assembly, []byte("FNMSUBD"))
}

// assembly returns what the compiler makes of the package in a directory.
func assembly(t *testing.T, arch, dir string) []byte {
	cmd := exec.Command("go", "build", "-gcflags=-S", "-o", os.DevNull, ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOARCH="+arch, "GOOS=linux", "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, out)
	}
	return out
}
