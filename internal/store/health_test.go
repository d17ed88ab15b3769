package store_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
)

// Health does not wait for a disk that hangs.
func TestHealthAsksTheDiskNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs, q := quotaFS(fullReserve+4<<20, false)
		var asked atomic.Int64
		fs.Usage = func() (vfs.DiskUsage, error) {
			asked.Add(1)
			return q.Usage()
		}
		s := openStore(t, small(fs))
		require.NoError(t, s.Err())
		l, err := openLedger(s, entrySize, 0)
		require.NoError(t, err)
		require.ErrorIs(t, fillUp(l), store.ErrDiskFull)
		synctest.Wait()
		before := asked.Load()
		require.ErrorIs(t, s.Err(), store.ErrDiskFull)
		require.ErrorIs(t, s.Health().Err, store.ErrDiskFull)
		require.ErrorContains(t, s.Err(), "data")
		require.Equal(t, before, asked.Load())
		require.NoError(t, s.Close())
	})
}
