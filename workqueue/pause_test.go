package workqueue_test

import (
	"testing"
	"testing/synctest"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

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
			require.NoError(t, queueOf(t, b, "q").Pause(bg))
		}
		_, ok, err := queueOf(t, b, "q").Get(bg)
		require.NoError(t, err)
		require.False(t, ok)
		c := consume(t, b, "q", 10)
		publish(t, b, "q", "3")
		nothing(t, c)
		require.NoError(t, one.Ack(bg))
		st, err := queueOf(t, b, "q").Stats(bg)
		require.NoError(t, err)
		require.True(t, st.Paused)
		require.EqualValues(t, 2, st.Ready)
		require.NoError(t, queueOf(t, b, "q").Alter(bg, &workqueue.QueueConfig{DeliveryLimit: 7}))
		nothing(t, c)

		db, b = restart(t, fs, db)
		c = consume(t, b, "q", 10)
		nothing(t, c)
		for range 2 {
			require.NoError(t, queueOf(t, b, "q").Resume(bg))
		}
		next(t, c, "2")
		next(t, c, "3")
		require.NoError(t, db.Close())
	})
}
