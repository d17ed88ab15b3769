package lint

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// The output of go doc names no internal package. Constants are literals. Errors are declared
// with their type and assigned in an init. Signatures and fields use public types.
func TestPublicDeclarationsNameNothingInternal(t *testing.T) {
	for _, s := range sources(t) {
		if s.tests() && !s.in("pebblemqtest") || s.test() || s.bench() || s.sample() || s.in("internal") {
			continue
		}
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, filepath.Join("..", "..", filepath.FromSlash(s.name)), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		hidden := internals(f)
		for _, n := range public(f) {
			ast.Inspect(n, func(n ast.Node) bool {
				sel, ok := n.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				if x, ok := sel.X.(*ast.Ident); ok && hidden[x.Name] {
					t.Errorf("%s:%d: %s.%s shows in go doc", s.name, set.Position(n.Pos()).Line, x.Name, sel.Sel.Name)
				}
				return true
			})
		}
	}
}

// internals returns the names under which a file imports internal packages.
func internals(f *ast.File) map[string]bool {
	names := make(map[string]bool)
	for _, i := range f.Imports {
		p, err := strconv.Unquote(i.Path.Value)
		if err != nil || !strings.HasPrefix(p, module+"/internal/") {
			continue
		}
		name := path.Base(p)
		if i.Name != nil {
			name = i.Name.Name
		}
		names[name] = true
	}
	return names
}

// public returns the parts of a file that go doc shows.
func public(f *ast.File) (shown []ast.Node) {
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Name.IsExported() && exportedReceiver(d) {
				shown = append(shown, d.Type)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				shown = append(shown, shownOf(spec)...)
			}
		}
	}
	return shown
}

func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	for r := d.Recv.List[0].Type; ; {
		switch x := r.(type) {
		case *ast.StarExpr:
			r = x.X
		case *ast.IndexExpr:
			r = x.X
		case *ast.Ident:
			return x.IsExported()
		default:
			return false
		}
	}
}

func shownOf(spec ast.Spec) (shown []ast.Node) {
	switch spec := spec.(type) {
	case *ast.ValueSpec:
		for _, name := range spec.Names {
			if name.IsExported() {
				return []ast.Node{spec}
			}
		}
	case *ast.TypeSpec:
		fields, ok := spec.Type.(*ast.StructType)
		switch {
		case !spec.Name.IsExported():
		case !ok:
			return []ast.Node{spec.Type}
		default:
			for _, f := range fields.Fields.List {
				if len(f.Names) == 0 || f.Names[0].IsExported() {
					shown = append(shown, f.Type)
				}
			}
		}
	}
	return shown
}
