package store_test

import (
	"encoding/binary"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
)

// trickle writes one key of a kind that only grows for each memtable of a kind whose
// keys come and go.
type trickle struct {
	t    *testing.T
	s    *store.Store
	kind store.Kind
	n    uint64
}

func (w *trickle) key(kind store.Kind, n uint64) []byte {
	return binary.BigEndian.AppendUint64(store.Key(kind, 1, 8), n)
}

func (w *trickle) do(f func(*store.Turn)) {
	require.NoError(w.t, w.s.Do(ctx, &op{run: func(t *store.Turn) error { f(t); return nil }}, store.NoSync))
}

func (w *trickle) memtable() {
	const size, each = store.MinMemoryBytes / 4, 1 << 10
	for range size / each {
		w.n++
		w.do(func(t *store.Turn) {
			t.Set(w.key(store.KindWorkMessage, w.n), make([]byte, each))
			if w.n > 10 {
				t.DeleteSingle(w.key(store.KindWorkMessage, w.n-10))
			}
		})
	}
	w.do(func(t *store.Turn) { t.Set(w.key(w.kind, w.n), []byte("value")) })
	synctest.Wait()
}

// kept counts the keys of the kind that grows.
func (w *trickle) kept() (n int) {
	it, err := w.s.Iter(ctx, []byte{byte(w.kind)}, []byte{byte(w.kind) + 1})
	require.NoError(w.t, err)
	for ok := it.First(); ok; ok = it.Next() {
		n++
	}
	require.NoError(w.t, it.Close())
	return n
}

// tableFiles counts the tables in a store's directory, and their bytes.
func tableFiles(t *testing.T, fs vfs.FS) (n int, bytes int64) {
	t.Helper()
	names, err := fs.List("data")
	require.NoError(t, err)
	for _, name := range names {
		if !strings.HasSuffix(name, ".sst") {
			continue
		}
		info, err := fs.Stat(fs.PathJoin("data", name))
		require.NoError(t, err)
		n, bytes = n+1, bytes+info.Size()
	}
	return n, bytes
}

const mostSmallTables = 180

func TestSmallTablesOfAKindThatGrowsAreMerged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		w := &trickle{t: t, s: openStore(t, small(fs)), kind: store.KindLogBatch}
		const memtables = 250
		for range memtables {
			w.memtable()
		}
		tables, _ := tableFiles(t, fs)
		kept := w.kept()
		require.NoError(t, w.s.Close())
		require.Less(t, tables, mostSmallTables)
		require.Equal(t, memtables, kept)
	})
}

func TestSmallTablesOfShortLivesAreMerged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		const lives = 250
		kept := 0
		for n := range uint64(lives) {
			w := &trickle{t: t, s: openStore(t, small(fs)), kind: store.KindLogBatch}
			w.do(func(t *store.Turn) { t.Set(w.key(w.kind, n), []byte("value")) })
			synctest.Wait()
			kept = w.kept()
			require.NoError(t, w.s.Close())
		}
		tables, _ := tableFiles(t, fs)
		require.Less(t, tables, mostSmallTables)
		require.Equal(t, lives, kept)
	})
}

// Keys of the application may have any length, so a key that follows another directly
// may exist.
func TestMergingSmallTablesSparesKeysOfTheApplication(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		w := &trickle{t: t, s: openStore(t, small(fs)), kind: store.KindApp}
		const memtables, each = 250, 4
		for range memtables {
			w.do(func(t *store.Turn) {
				k := w.key(w.kind, w.n+1)
				for range each {
					t.Set(k, []byte("value"))
					k = append(k, 0)
				}
			})
			w.memtable()
		}
		tables, _ := tableFiles(t, fs)
		kept := w.kept()
		require.NoError(t, w.s.Close())
		require.Less(t, tables, mostSmallTables)
		require.Equal(t, memtables*(each+1), kept)
	})
}
