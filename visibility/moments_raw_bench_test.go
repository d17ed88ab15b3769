package visibility_test

import (
	"encoding/binary"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/stretchr/testify/require"
)

// rawMoment is what the moments cost bare Pebble: n keys by their time, of which all
// are over. They go in batches, and move to keys by their number if so asked.
func rawMoment(b *testing.B, n, body int, move bool) {
	for range b.N {
		db, err := pebble.Open(benchDir(b), &pebble.Options{Logger: quiet{}})
		require.NoError(b, err)
		value := make([]byte, body)
		rawBatches(b, db, n, func(batch *pebble.Batch, i int) error {
			return batch.Set(rawKey('t', i), value, nil)
		})
		stop := watchHeap(b)
		b.ResetTimer()
		it, err := db.NewIter(&pebble.IterOptions{LowerBound: []byte{'t'}, UpperBound: []byte{'t' + 1}})
		require.NoError(b, err)
		ok := it.First()
		rawBatches(b, db, n, func(batch *pebble.Batch, _ int) error {
			require.True(b, ok)
			if move {
				if err := batch.Set(append([]byte{'m'}, it.Key()[9:]...), it.Value(), nil); err != nil {
					return err
				}
			}
			err := batch.Delete(it.Key(), nil)
			ok = it.Next()
			return err
		})
		require.NoError(b, it.Close())
		b.StopTimer()
		stop()
		b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "msg/s")
		require.NoError(b, db.Close())
	}
}

// rawKey has a moment and a number in it.
func rawKey(kind byte, i int) []byte {
	k := binary.BigEndian.AppendUint64([]byte{kind}, uint64(i/1000))
	return binary.BigEndian.AppendUint64(k, uint64(i))
}

// rawBatches commits n changes, a thousand at a time.
func rawBatches(b *testing.B, db *pebble.DB, n int, change func(batch *pebble.Batch, i int) error) {
	for i := 0; i < n; {
		batch := db.NewBatch()
		for end := min(n, i+1000); i < end; i++ {
			require.NoError(b, change(batch, i))
		}
		require.NoError(b, batch.Commit(pebble.NoSync))
	}
}
