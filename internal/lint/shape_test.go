package lint

import (
	"go/ast"
	"go/parser"
	"go/token"
	"iter"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	maxFields = 25
	maxFiles  = 4
)

// The exceptions are debts: the lists may shrink and must not grow.
var (
	wideStructs = map[string]int{
		"internal/store.Store":    65,
		"workqueue.declaredQueue": 27,
	}
	spreadTypes = map[string]int{
		"..DB":                    5,
		"idempotency.Namespace":   8,
		"idempotency.keys":        7,
		"internal/store.Store":    26,
		"internal/store.Turn":     8,
		"internal/worker.run":     5,
		"log.Group":               10,
		"log.Member":              6,
		"log.Topic":               23,
		"log.partition":           8,
		"visibility.Queue":        28,
		"workqueue.Broker":        13,
		"workqueue.BrokerTx":      6,
		"workqueue.Delivery":      6,
		"workqueue.Queue":         11,
		"workqueue.QueueConfig":   6,
		"workqueue.declaredQueue": 20,
		"workqueue.topology":      15,
	}
)

// kind is a type of the library.
type kind struct {
	fields int
	files  map[string]bool // that declare it or a method of it
}

// kinds returns all types by package and name.
func kinds(t *testing.T) map[string]*kind {
	t.Helper()
	found := make(map[string]*kind)
	of := func(s source, name string) *kind {
		name = s.dir() + "." + name
		if found[name] == nil {
			found[name] = &kind{files: make(map[string]bool)}
		}
		found[name].files[path.Base(s.name)] = true
		return found[name]
	}
	for s, f := range libraryFiles(t) {
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if name := receiver(d); name != "" {
					of(s, name)
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					if spec, ok := spec.(*ast.TypeSpec); ok {
						of(s, spec.Name.Name).fields = fields(spec.Type)
					}
				}
			}
		}
	}
	return found
}

// libraryFiles parses what users import, and what that is made of.
func libraryFiles(t *testing.T) iter.Seq2[source, *ast.File] {
	t.Helper()
	return func(yield func(source, *ast.File) bool) {
		for _, s := range sources(t) {
			if s.tests() || s.bench() || s.sample() {
				continue
			}
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", "..", filepath.FromSlash(s.name)), nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			if !yield(s, f) {
				return
			}
		}
	}
}

// receiver returns the name of the type that a method belongs to.
func receiver(d *ast.FuncDecl) string {
	if d.Recv == nil {
		return ""
	}
	e := d.Recv.List[0].Type
	for {
		switch x := e.(type) {
		case *ast.StarExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.IndexListExpr:
			e = x.X
		case *ast.Ident:
			return x.Name
		default:
			return ""
		}
	}
}

// fields counts those of a struct, with those of structs within it.
func fields(e ast.Expr) (n int) {
	s, ok := e.(*ast.StructType)
	if !ok {
		return 0
	}
	for _, f := range s.Fields.List {
		n += max(len(f.Names), 1) * max(fields(f.Type), 1)
	}
	return n
}

func TestStructsHaveFewFields(t *testing.T) {
	owed := maps.Clone(wideStructs)
	for name, k := range kinds(t) {
		limit := max(maxFields, wideStructs[name])
		if k.fields > limit {
			t.Errorf("%s has %d fields, the limit is %d", name, k.fields, limit)
		}
		if k.fields == wideStructs[name] {
			delete(owed, name)
		}
	}
	if len(owed) > 0 {
		t.Errorf("wideStructs lists what is better by now: %v", owed)
	}
}

// TestATypeLivesInFewFiles counts the files with methods of a type.
func TestATypeLivesInFewFiles(t *testing.T) {
	owed := maps.Clone(spreadTypes)
	for name, k := range kinds(t) {
		limit := max(maxFiles, spreadTypes[name])
		if len(k.files) > limit {
			t.Errorf("%s is in %d files, the limit is %d: %s", name, len(k.files), limit, strings.Join(slices.Sorted(maps.Keys(k.files)), " "))
		}
		if len(k.files) == spreadTypes[name] {
			delete(owed, name)
		}
	}
	if len(owed) > 0 {
		t.Errorf("spreadTypes lists what is better by now: %v", owed)
	}
}

// TestExportedNamesHaveComments reads the packages that users import.
func TestExportedNamesHaveComments(t *testing.T) {
	for s, f := range libraryFiles(t) {
		if strings.Contains(s.name, "internal/") || s.pkg == "main" {
			continue
		}
		for _, d := range f.Decls {
			for _, name := range uncommented(d) {
				t.Errorf("%s: %s has no comment", s.name, name)
			}
		}
	}
}

// wellKnown are methods whose name says everything.
var wellKnown = []string{"Error", "Unwrap", "Is", "String"}

// uncommented returns the exported names of a declaration that nothing is said about. A
// comment on a group of constants or variables is for all of them.
func uncommented(d ast.Decl) (names []string) {
	if f, ok := d.(*ast.FuncDecl); ok {
		of := receiver(f)
		known := of != "" && slices.Contains(wellKnown, f.Name.Name)
		if f.Name.IsExported() && f.Doc == nil && !known && (of == "" || ast.IsExported(of)) {
			names = append(names, f.Name.Name)
		}
		return names
	}
	g := d.(*ast.GenDecl)
	for _, spec := range g.Specs {
		switch spec := spec.(type) {
		case *ast.TypeSpec:
			if spec.Name.IsExported() && g.Doc == nil && spec.Doc == nil {
				names = append(names, spec.Name.Name)
			}
		case *ast.ValueSpec:
			for _, n := range spec.Names {
				if n.IsExported() && g.Doc == nil && spec.Doc == nil && spec.Comment == nil {
					names = append(names, n.Name)
				}
			}
		}
	}
	return names
}
