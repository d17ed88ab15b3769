package log_test

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/log"
)

// TestTrimmingBehindEachRecordDeletesInChunks: trimmed records are gone at once, but the engine
// gets a range to delete only now and then, in this life and the next.
func TestTrimmingBehindEachRecordDeletesInChunks(t *testing.T) {
	const records, size, most = 1000, 2 << 10, 1000 * (2 << 10) / (256 << 10)
	fs := vfs.NewMem()
	trims, last := 0, uint64(0)
	for life := range 2 {
		db, err := storetest.OpenFS(fs, store.Options{})
		require.NoError(t, err)
		topic, err := log.OpenTopic(ctx, db, "orders", nil)
		require.NoError(t, err)
		for i := range int64(records) {
			positions, err := topic.Append(noSync, log.Record{Value: make([]byte, size)})
			require.NoError(t, err)
			require.Equal(t, int64(life)*records+i, positions[0].Offset)
			require.NoError(t, topic.TrimTo(noSync, 0, log.Offset(positions[0].Offset)))
			start, end := bounds(t, topic)
			require.Equal(t, []int64{positions[0].Offset, positions[0].Offset + 1}, []int64{start, end})
			if cleared := topic.Cleared(0); cleared != last {
				last, trims = cleared, trims+1
			}
		}
		require.Len(t, fetchAll(t, topic, 0, log.Start()), 1)
		require.NoError(t, topic.CheckInvariants())
		require.NoError(t, db.Close())
	}
	require.Greater(t, last, uint64(2*records-records/2), "the space returns")
	require.LessOrEqual(t, trims, 2*(most+1))
}
