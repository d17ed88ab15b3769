package window

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/pebblemq/pebblemq/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var ctx = context.Background()

const (
	kind   = store.KindWorkWindow
	object = 7
	length = 5 * time.Minute
)

// open opens a store and a window in it, which is ready.
func open(t require.TestingT, fs vfs.FS) (*store.Store, *Window) {
	s, err := store.Open(store.Options{FS: fs, Dir: "data"})
	require.NoError(t, err)
	w := New(s, "it", kind, object, length)
	require.NoError(t, w.Ready(ctx))
	return s, w
}

// once puts an id, unless it is known, and returns the answer that counts.
func (w *Window) once(t require.TestingT, id, answer string, d store.Durability) (got string, repeated bool) {
	require.NoError(t, w.s.Do(ctx, store.OpFunc(func(t *store.Turn) error {
		known, found, err := w.Look(t, IDOf(id))
		if err != nil {
			return err
		}
		if got, repeated = string(known), found; !found {
			got = answer
			w.Put(t, IDOf(id), []byte(answer))
		}
		return nil
	}), d))
	return got, repeated
}

var errRefused = errors.New("refused")

// refused puts an id in an Op that comes to nothing.
func (w *Window) refused(t require.TestingT, id string) {
	require.ErrorIs(t, w.s.Do(ctx, store.OpFunc(func(t *store.Turn) error {
		w.Put(t, IDOf(id), []byte("refused"))
		return errRefused
	}), store.NoSync), errRefused)
}

// budget reads and changes the memory that is left, under the baton.
func (w *Window) budget(t require.TestingT, f func(int) int) (before int) {
	require.NoError(t, w.s.Do(ctx, store.OpFunc(func(*store.Turn) error {
		before = w.memory.bytes
		w.memory.bytes = f(before)
		return nil
	}), store.NoSync))
	return before
}

func same(n int) int { return n }

// stored counts the keys on disk.
func (w *Window) stored(t require.TestingT) (n int) {
	lo, hi := store.Span(w.kind, w.id)
	it, err := w.s.Iter(ctx, lo, hi)
	require.NoError(t, err)
	for ok := it.First(); ok; ok = it.Next() {
		n++
	}
	require.NoError(t, it.Close())
	return n
}
