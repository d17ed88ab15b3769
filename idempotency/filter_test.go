package idempotency

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/stretchr/testify/require"
)

var relaxed = pebblemq.WithDurability(context.Background(), pebblemq.NoSync)

// complete stores the keys from..to, a thousand in a transaction.
func complete(t *testing.T, db *pebblemq.DB, k *Keys, from, to int) {
	t.Helper()
	for from < to {
		require.NoError(t, db.Update(relaxed, func(tx *pebblemq.Tx) error {
			for end := min(from+1000, to); from < end; from++ {
				if err := k.In(tx).Complete(numbered(from), nil); err != nil {
					return err
				}
			}
			return nil
		}))
	}
}

func numbered(i int) []byte { return fmt.Appendf(nil, "key %d", i) }

// requireKnows checks that the filter lets no stored key be taken for a new one, and
// tells most new ones.
func requireKnows(t *testing.T, k *Keys, stored int) {
	t.Helper()
	synctest.Wait() // until it has read them
	f := k.n.filter.Load()
	require.NotNil(t, f)
	require.True(t, f.ready.Load())
	told := 0
	for i := range stored {
		require.False(t, f.lacks(numbered(i)), "%d is stored", i)
		if f.lacks(numbered(stored + i)) {
			told++
		}
	}
	require.Greater(t, told, stored*9/10)
}

func TestMostNewKeysAreToldByTheFilter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 3 * filterMinKeys
		fs := vfs.NewMem()
		db, k := openFilter(t, fs)
		complete(t, db, k, 0, n)
		requireKnows(t, k, n)
		storetest.Close(t, db)

		db, k = openFilter(t, fs)
		requireKnows(t, k, n)
		complete(t, db, k, n, 2*n)
		requireKnows(t, k, 2*n)
		storetest.Close(t, db)
	})
}

func openFilter(t *testing.T, fs vfs.FS) (*pebblemq.DB, *Keys) {
	t.Helper()
	db, err := storetest.OpenFS(fs, store.Options{MemoryBytes: store.MinMemoryBytes})
	require.NoError(t, err)
	k, err := Open(db, "keys", &Config{Expiry: time.Hour})
	require.NoError(t, err)
	return db, k
}

func TestKeysStoredWhileTheFilterReadsAreKnown(t *testing.T) {
	const n = 2 * filterChunk
	fs := vfs.NewMem()
	db, k := openFilter(t, fs)
	complete(t, db, k, 0, filterChunk)
	storetest.Close(t, db)
	db, k = openFilter(t, fs)
	var wg sync.WaitGroup
	wg.Go(func() { complete(t, db, k, filterChunk, n) })
	for i := range filterChunk {
		seen, err := k.Seen(relaxed, numbered(i))
		require.NoError(t, err)
		require.True(t, seen, "%d", i)
	}
	wg.Wait()
	for i := filterChunk; i < n; i++ {
		seen, err := k.Seen(relaxed, numbered(i))
		require.NoError(t, err)
		require.True(t, seen, "%d", i)
	}
	storetest.Close(t, db)
}

// The filter is bounded, and comes back when the keys have expired.
func TestANamespaceWithMoreKeysThanFitDoesWithoutAFilter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, k := openFilter(t, vfs.NewMem())
		fits := 0
		for size := filterMinKeys; size <= 4*filterMinKeys; size *= 2 {
			fits += size
		}
		memory := bloomBytes(fits)
		k.n.filters.left.Store(memory)
		complete(t, db, k, 0, fits)
		require.NotNil(t, k.n.filter.Load())
		const more = 1000 // but a few, which are mistaken for others, need no room
		complete(t, db, k, fits, fits+more)
		synctest.Wait()
		require.Nil(t, k.n.filter.Load())
		require.Equal(t, memory, k.n.filters.left.Load(), "its memory was given back")
		for _, i := range []int{0, fits / 2, fits + more - 1} {
			seen, err := k.Seen(relaxed, numbered(i))
			require.NoError(t, err)
			require.True(t, seen)
		}
		<-time.After(2 * time.Hour) // of the bubble
		complete(t, db, k, 0, 1000)
		requireKnows(t, k, 1000)
		storetest.Close(t, db)
	})
}

// Keys come and go: a filter that is full of those that are gone is made anew.
func TestAFilterFullOfExpiredKeysIsMadeAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, k := openFilter(t, vfs.NewMem())
		const each = 2 * filterMinKeys
		k.n.filters.left.Store(bloomBytes(4 * each))
		first := k.n.filter.Load()
		for i := range 6 {
			complete(t, db, k, i*each, (i+1)*each)
			synctest.Wait()
			f := k.n.filter.Load()
			require.NotNil(t, f)
			require.True(t, f.ready.Load())
			require.False(t, f.lacks(numbered(i*each)))
			<-time.After(90 * time.Minute) // of the bubble
		}
		require.NotSame(t, first, k.n.filter.Load())
		storetest.Close(t, db)
	})
}
