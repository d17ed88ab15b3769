package store_test

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
)

func incompressible(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{}).Read(b) // never fails
	return b
}

func TestDeletedRangesGiveTablesBackWithoutFurtherWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		w := &trickle{t: t, s: openStore(t, small(fs)), kind: store.KindLogBatch}
		const values, each = 64, 16 << 10 // some memtables
		for n := range uint64(values) {
			w.do(func(t *store.Turn) { t.Set(w.key(w.kind, n), incompressible(each)) })
		}
		synctest.Wait()
		_, before := tableFiles(t, fs)
		w.do(func(t *store.Turn) { t.DeleteRange(w.key(w.kind, 0), w.key(w.kind, values)) })
		<-time.After(time.Minute)
		synctest.Wait()
		_, after := tableFiles(t, fs)
		require.NoError(t, w.s.Close())
		require.Greater(t, before, int64(values*each/2))
		require.Less(t, after, int64(8<<10))
	})
}

func TestDeletedRangesOfFewBytesWaitForTheNextFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		w := &trickle{t: t, s: openStore(t, small(fs)), kind: store.KindLogBatch}
		for n := range uint64(100) {
			w.do(func(t *store.Turn) {
				t.Set(w.key(w.kind, n), make([]byte, 100))
				t.DeleteRange(w.key(w.kind, 0), w.key(w.kind, n))
			})
			<-time.After(time.Minute)
		}
		synctest.Wait()
		tables, _ := tableFiles(t, fs)
		require.NoError(t, w.s.Close())
		require.Zero(t, tables)
	})
}

// Reads pay for each deleted range that is not in a table.
func TestManyDeletedRangesAreFlushed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		w := &trickle{t: t, s: openStore(t, store.Options{FS: fs, Dir: "data"}), kind: store.KindLogBatch}
		for n := range uint64(1000) {
			w.do(func(t *store.Turn) {
				t.Set(w.key(w.kind, n+1), nil)
				t.DeleteRange(w.key(w.kind, n), w.key(w.kind, n+1))
			})
			<-time.After(time.Minute)
		}
		synctest.Wait()
		tables, _ := tableFiles(t, fs)
		require.NoError(t, w.s.Close())
		require.Positive(t, tables)
	})
}
