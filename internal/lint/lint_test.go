// Package lint holds the rules of the repository that a compiler does not
// check.
package lint

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/pebblemq/pebblemq"

// source is one Go file of the repository.
type source struct {
	name    string // relative to the root, with slashes
	pkg     string
	imports []string
	lines   int
}

func (s source) dir() string { return path.Dir(s.name) }
func (s source) test() bool  { return strings.HasSuffix(s.name, "_test.go") }
func (s source) tests() bool {
	return s.test() || s.in("internal/storetest") || s.in("internal/lint") || s.in("internal/sim") || s.in("pebblemqtest")
}
func (s source) bench() bool  { return s.in("bench") }
func (s source) sample() bool { return s.in("examples") }

// above reports whether the file belongs to a module that stands on the library, as a user does.
func (s source) above() bool { return s.in("contrib") || s.in("cmd") }

func (s source) in(dir string) bool { return s.name == dir || strings.HasPrefix(s.name, dir+"/") }

func sources(t *testing.T) []source {
	t.Helper()
	root := os.DirFS(filepath.Join("..", ".."))
	var found []source
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && name != "." && strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" {
			return fs.SkipDir
		}
		if d.IsDir() || path.Ext(name) != ".go" {
			return nil
		}
		s, err := parse(root, name)
		found = append(found, s)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(found) < 20 {
		t.Fatalf("only %d files found", len(found))
	}
	return found
}

func parse(root fs.FS, name string) (source, error) {
	text, err := fs.ReadFile(root, name)
	if err != nil {
		return source{}, err
	}
	f, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ImportsOnly)
	if err != nil {
		return source{}, err
	}
	s := source{name: name, pkg: f.Name.Name, lines: strings.Count(string(text), "\n")}
	for _, i := range f.Imports {
		p, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			return source{}, err
		}
		s.imports = append(s.imports, p)
	}
	return s, nil
}

// TestOnlyTheKernelImportsTheEngine keeps Pebble behind internal/store.
func TestOnlyTheKernelImportsTheEngine(t *testing.T) {
	for _, s := range sources(t) {
		if s.tests() || s.bench() || s.sample() || s.in("internal/store") {
			continue
		}
		for _, i := range s.imports {
			if strings.HasPrefix(i, "github.com/cockroachdb/") {
				t.Errorf("%s imports %s; only internal/store may", s.name, i)
			}
		}
	}
}

var layers = []string{"log", "workqueue", "visibility", "idempotency"}

// TestLayersAreIndependent keeps the layers apart, and everything below them
// unaware of them. Packages above the layers may import each.
func TestLayersAreIndependent(t *testing.T) {
	for _, s := range sources(t) {
		if s.test() || s.bench() || s.sample() || s.above() || s.in("pebblemqtest") || s.in("admin") || s.in("internal/sim") {
			continue
		}
		for _, i := range s.imports {
			layer, inside := strings.CutPrefix(i, module+"/")
			if !inside || !slices.Contains(layers, strings.Split(layer, "/")[0]) {
				continue
			}
			if own := strings.Split(s.name, "/")[0]; own != strings.Split(layer, "/")[0] {
				t.Errorf("%s imports the layer %s", s.name, layer)
			}
		}
	}
}

// TestTheKernelStandsAlone keeps internal/store below everything else.
func TestTheKernelStandsAlone(t *testing.T) {
	for _, s := range sources(t) {
		if s.test() || !s.in("internal/store") {
			continue
		}
		for _, i := range s.imports {
			if strings.HasPrefix(i, module) {
				t.Errorf("%s imports %s", s.name, i)
			}
		}
	}
}

func TestNobodyUsesTheStandardLog(t *testing.T) {
	for _, s := range sources(t) {
		if !s.test() && slices.Contains(s.imports, "log") {
			t.Errorf("%s imports log; the library uses log/slog, and only the user's", s.name)
		}
	}
}

// TestNamesSayWhatIsInside refuses the names of drawers for odds and ends.
func TestNamesSayWhatIsInside(t *testing.T) {
	for _, s := range sources(t) {
		file := strings.TrimSuffix(strings.TrimSuffix(path.Base(s.name), ".go"), "_test")
		for _, name := range append(strings.Split(s.dir(), "/"), file, s.pkg) {
			switch name {
			case "util", "utils", "common", "helper", "helpers", "types", "misc", "base":
				t.Errorf("%s: %s says nothing", s.name, name)
			}
		}
	}
}

const maxLines = 600

func TestFilesAreShort(t *testing.T) {
	for _, s := range sources(t) {
		if !s.test() && s.lines > maxLines {
			t.Errorf("%s has %d lines, the limit is %d", s.name, s.lines, maxLines)
		}
	}
}
