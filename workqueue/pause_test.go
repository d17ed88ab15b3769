package workqueue_test

import (
	"testing"
	"testing/synctest"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/workqueue"
)

func TestAPausedQueueHandsOutNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewCrashableMem()
		db, b := restart(t, fs, nil)
		declare(t, b, "q")
		publish(t, b, "q", "1", "2")
		one := get(t, b, "q", "1")
		for range 2 {
			require.NoError(t, b.PauseQueue(bg, "q"))
		}
		_, ok, err := b.Get(bg, "q")
		require.NoError(t, err)
		require.False(t, ok)
		c := consume(t, b, "q", 10)
		publish(t, b, "q", "3")
		nothing(t, c)
		require.NoError(t, one.Ack(bg))
		st, err := b.QueueStats(bg, "q")
		require.NoError(t, err)
		require.True(t, st.Paused)
		require.EqualValues(t, 2, st.Ready)
		require.NoError(t, b.AlterQueue(bg, "q", &workqueue.QueueConfig{DeliveryLimit: 7}))
		nothing(t, c)

		db, b = restart(t, fs, db)
		c = consume(t, b, "q", 10)
		nothing(t, c)
		for range 2 {
			require.NoError(t, b.ResumeQueue(bg, "q"))
		}
		next(t, c, "2")
		next(t, c, "3")
		require.ErrorIs(t, b.PauseQueue(bg, "none"), workqueue.ErrUnknownQueue)
		require.ErrorIs(t, b.ResumeQueue(bg, ""), pebblemq.ErrInvalid)
		require.NoError(t, db.Close())
	})
}
