package lint

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"
)

var (
	logVerbs = []string{"Debug", "Info", "Warn", "Error"}
	logKey   = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
)

// TestKeysOfTheLogAreWordsWithoutBlanks reads the attributes of calls of a logger, and lists
// of them.
func TestKeysOfTheLogAreWordsWithoutBlanks(t *testing.T) {
	checked := 0
	for _, s := range sources(t) {
		if s.test() || s.bench() || s.sample() {
			continue
		}
		files := token.NewFileSet()
		f, err := parser.ParseFile(files, filepath.Join("..", "..", filepath.FromSlash(s.name)), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			attrs := attributes(n)
			for i := 0; i+1 < len(attrs); i += 2 {
				key, ok := text(attrs[i])
				if !ok {
					break // a slog.Attr, or a list
				}
				if checked++; !logKey.MatchString(key) {
					t.Errorf("%s: attribute %q of the log", files.Position(attrs[i].Pos()), key)
				}
			}
			return true
		})
	}
	if checked < 50 {
		t.Errorf("only %d attributes found", checked)
	}
}

// attributes returns the keys and values that n gives to a logger, in turn.
func attributes(n ast.Node) []ast.Expr {
	switch n := n.(type) {
	case *ast.CallExpr:
		verb, ok := n.Fun.(*ast.SelectorExpr)
		if !ok || !slices.Contains(logVerbs, verb.Sel.Name) || len(n.Args) < 3 {
			return nil
		}
		if _, message := text(n.Args[0]); message {
			return n.Args[1:]
		}
	case *ast.CompositeLit:
		list, ok := n.Type.(*ast.ArrayType)
		if !ok || list.Len != nil {
			return nil
		}
		if element, ok := list.Elt.(*ast.Ident); ok && element.Name == "any" {
			return n.Elts
		}
	}
	return nil
}

func text(e ast.Expr) (s string, ok bool) {
	l, ok := e.(*ast.BasicLit)
	if !ok || l.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(l.Value)
	return s, err == nil
}
