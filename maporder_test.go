package tkcoord_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// replicated are the packages that replicas execute.
var replicated = []string{"fsm/clock", "escrow", "strategy", "fsm"}

// anyOrder marks a range over a map whose order cannot reach the state. It stands
// in the line or in the one above, with the reason.
const anyOrder = "any order:"

// TestMapOrder refuses to range over a map in what replicas execute, which Go does
// in another order each time, unless the line says why that does not matter. Keys that are
// sorted first are fine.
//
// Only our own packages are type-checked; what comes from others is taken for no
// map.
func TestMapOrder(t *testing.T) {
	c := checker{t: t, fset: token.NewFileSet(), done: map[string]*types.Package{}}
	for _, dir := range replicated {
		c.check(dir)
	}
	if c.ranges < 40 {
		t.Errorf("only %d ranges were read", c.ranges)
	}
	mapsAreFound(t)
}

type checker struct {
	t      *testing.T
	fset   *token.FileSet
	done   map[string]*types.Package
	ranges int
}

// Import makes a checker a types.Importer.
func (c *checker) Import(name string) (*types.Package, error) {
	if dir, ours := strings.CutPrefix(name, module+"/"); ours {
		return c.check(dir), nil
	}
	p := types.NewPackage(name, path.Base(name))
	p.MarkComplete()
	return p, nil
}

func (c *checker) check(dir string) *types.Package {
	if p := c.done[dir]; p != nil {
		return p
	}
	var files []*ast.File
	names, _ := filepath.Glob(filepath.FromSlash(dir) + "/*.go")
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(c.fset, name, nil, parser.ParseComments)
		if err != nil {
			c.t.Fatal(err)
		}
		files = append(files, f)
	}
	info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}}
	conf := types.Config{Importer: c, Error: func(error) {}} // other packages have no content here
	p, _ := conf.Check(module+"/"+dir, c.fset, files, info)
	c.done[dir] = p
	if !slices.Contains(replicated, dir) {
		return p
	}
	for _, f := range files {
		for _, at := range unordered(c.fset, f, info, &c.ranges) {
			c.t.Errorf("%s ranges over a map: sort its keys, or say why %q", c.fset.Position(at), anyOrder+" ...")
		}
	}
	return p
}

// unordered returns where a file ranges over a map, or over its keys or values,
// without saying why the order does not matter.
func unordered(fset *token.FileSet, f *ast.File, info *types.Info, ranges *int) (found []token.Pos) {
	excused := map[int]bool{}
	for _, g := range f.Comments {
		if strings.Contains(g.Text(), anyOrder) {
			excused[fset.Position(g.End()).Line] = true
			excused[fset.Position(g.End()).Line+1] = true
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		var over ast.Expr
		switch n := n.(type) {
		case *ast.RangeStmt:
			*ranges++
			over = n.X
		case *ast.CallExpr: // sorted at once
			if name, ok := called(n); ok && strings.HasPrefix(name, "slices.Sorted") {
				return false
			}
			if name, ok := called(n); ok && (name == "maps.Keys" || name == "maps.Values" || name == "maps.All") {
				found = append(found, n.Pos())
			}
			return true
		default:
			return true
		}
		if tv, ok := info.Types[over]; ok && tv.Type != nil && !excused[fset.Position(n.Pos()).Line] {
			if _, isMap := tv.Type.Underlying().(*types.Map); isMap {
				found = append(found, n.Pos())
			}
		}
		return true
	})
	return found
}

// called returns "package.Function" of a call.
func called(n *ast.CallExpr) (string, bool) {
	if s, ok := n.Fun.(*ast.SelectorExpr); ok {
		if x, ok := s.X.(*ast.Ident); ok {
			return x.Name + "." + s.Sel.Name, true
		}
	}
	return "", false
}

// mapsAreFound tries the check on code of which it must find a part.
func mapsAreFound(t *testing.T) {
	const src = `package p
import ("maps"; "slices")
type named map[int]int
type holder struct{ m named }
func f(a map[string]int, h *holder, s []int) {
	for range a {} // 1
	for k := range h.m { _ = k } // 2
	for range maps.Keys(a) {} // 3
	for range s {}
	for range slices.Sorted(maps.Keys(a)) {}
	for range a { // any order: it only counts
	}
	// any order: the sum is the same
	for range a {}
}`
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, "p.go", src, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}}
	c := checker{t: t, fset: fset, done: map[string]*types.Package{}}
	conf := types.Config{Importer: &c, Error: func(error) {}}
	_, _ = conf.Check("p", fset, []*ast.File{f}, info)
	if found := unordered(fset, f, info, new(int)); len(found) != 3 {
		t.Errorf("%d ranges over maps were found, want 3", len(found))
	}
}
