package store_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
)

// op is an Op put together from functions; nil ones do nothing.
type op struct {
	name    string
	run     func(t *store.Turn) error
	undo    func()
	visible func(t *store.Turn)
}

func (o *op) String() string { return o.name }

func (o *op) Run(t *store.Turn) error {
	if o.run == nil {
		return nil
	}
	return o.run(t)
}

func (o *op) Undo() {
	if o.undo != nil {
		o.undo()
	}
}

func (o *op) Visible(t *store.Turn) {
	if o.visible != nil {
		o.visible(t)
	}
}

var errRefused = errors.New("refused")

func key(name string) []byte { return append([]byte{byte(store.KindApp)}, name...) }

func set(name, value string) *op {
	return &op{name: "set " + name, run: func(t *store.Turn) error {
		t.Set(key(name), []byte(value))
		return nil
	}}
}

// history notes in what order things happen. It is written under the baton.
type history []string

func (h *history) add(format string, args ...any) { *h = append(*h, fmt.Sprintf(format, args...)) }

// noting sets a key and notes when that becomes visible.
func (h *history) noting(name string) *op {
	o := set(name, name)
	o.visible = func(*store.Turn) { h.add("%s", name) }
	return o
}

// gated opens a store whose WAL syncs wait while the gate is shut.
func gated(t *testing.T, class, operation string) (*store.Store, *storetest.Gate, *storetest.FS) {
	t.Helper()
	fs := storetest.NewFS(vfs.NewCrashableMem())
	g := &storetest.Gate{Class: class, Op: operation}
	fs.SetHook(g.Hook)
	return openStore(t, small(fs)), g, fs
}

// start calls f in a goroutine and returns where its result will appear.
func start(f func() error) chan error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	return done
}

func pending(t *testing.T, done chan error, what string) {
	t.Helper()
	select {
	case err := <-done:
		require.Fail(t, what+" returned early", "%v", err)
	default:
	}
}

func get(t *testing.T, s *store.Store, name string) string {
	t.Helper()
	v, err := s.Get(ctx, key(name))
	require.NoError(t, err)
	return string(v)
}

// keys returns what is in the application's keyspace.
func keys(t *testing.T, s *store.Store) map[string]string {
	t.Helper()
	lo := []byte{byte(store.KindApp)}
	it, err := s.Iter(context.Background(), lo, store.PrefixEnd(lo))
	require.NoError(t, err)
	found := make(map[string]string)
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.Value()
		require.NoError(t, err)
		found[string(it.Key()[1:])] = string(v)
	}
	require.NoError(t, it.Close())
	return found
}
