package storetest

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/pebblemq/pebblemq"
	"github.com/stretchr/testify/require"
)

// Verb is a function that takes a context, and the arguments after the context.
type Verb []any

// Verbs are the functions and methods of a package that take a context, by their
// names in the source: "Open", "Queue.Send".
type Verbs map[string]Verb

// RequireAll fails the test unless the table has every exported function and method
// that takes a context, and no other. It reads the package in the working directory.
func (v Verbs) RequireAll(t testing.TB) {
	t.Helper()
	require.Equal(t, contextVerbs(t), slices.Sorted(maps.Keys(v)), "the table has every verb that takes a context")
}

// RefuseNilContext calls every verb with a nil context. Each must return ErrInvalid.
func (v Verbs) RefuseNilContext(t testing.TB) {
	t.Helper()
	v.RequireAll(t)
	var none context.Context
	for _, name := range slices.Sorted(maps.Keys(v)) {
		err := v[name].Call(none)
		if !errors.Is(err, pebblemq.ErrInvalid) || !strings.Contains(err.Error(), "context is nil") {
			t.Errorf("%s returned %v", name, err)
		}
	}
}

// Call calls the verb and returns its error. It returns a panic as an error too.
func (v Verb) Call(ctx context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	f := reflect.ValueOf(v[0])
	args := []reflect.Value{reflect.Zero(f.Type().In(0))}
	if ctx != nil {
		args[0] = reflect.ValueOf(ctx)
	}
	for i, a := range v[1:] {
		if a == nil {
			args = append(args, reflect.Zero(f.Type().In(i+1)))
			continue
		}
		args = append(args, reflect.ValueOf(a))
	}
	results := f.Call(args)
	last := results[len(results)-1]
	if last.Kind() != reflect.Func {
		err, _ = last.Interface().(error)
		return err
	}
	for _, failure := range last.Seq2() {
		if err, _ = failure.Interface().(error); err != nil {
			return err
		}
	}
	return nil
}

// contextVerbs returns the exported functions and methods of the package in the
// working directory that take a context.
func contextVerbs(t testing.TB) (names []string) {
	t.Helper()
	files, err := fs.Glob(os.DirFS("."), "*.go")
	require.NoError(t, err)
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		require.NoError(t, err)
		for _, d := range parsed.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Name.IsExported() && takesContext(f) && ast.IsExported(receiver(f)) {
				names = append(names, strings.TrimPrefix(receiver(f)+"."+f.Name.Name, plain+"."))
			}
		}
	}
	slices.Sort(names)
	return names
}

// plain stands for the receiver of a function that is no method.
const plain = "Function"

func receiver(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return plain
	}
	of := f.Recv.List[0].Type
	if p, ok := of.(*ast.StarExpr); ok {
		of = p.X
	}
	if generic, ok := of.(*ast.IndexExpr); ok {
		of = generic.X
	}
	return of.(*ast.Ident).Name
}

func takesContext(f *ast.FuncDecl) bool {
	return slices.ContainsFunc(f.Type.Params.List, func(p *ast.Field) bool {
		s, ok := p.Type.(*ast.SelectorExpr)
		return ok && s.Sel.Name == "Context"
	})
}
