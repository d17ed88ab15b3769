package workqueue_test

import (
	"testing"
	"testing/synctest"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/workqueue"
)

// behindASync has a queue with three messages, of which the first was given back NoSync behind a
// change that waits for the disk.
func behindASync(t *testing.T, f func(b *workqueue.Broker, q *workqueue.Queue, openGate func())) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		fs, gate := storetest.NewFS(vfs.NewMem()), &storetest.Gate{Class: storetest.ClassWAL, Op: storetest.OpSync}
		db, err := storetest.OpenFS(fs, store.Options{})
		require.NoError(t, err)
		b := openBroker(t, db)
		declare(t, b, "q")
		for _, id := range []string{"0", "1", "2"} {
			require.NoError(t, b.Publish(bg, "", "q", workqueue.Message{MessageID: id}))
		}
		q := queueOf(t, b, "q")
		first, _, err := q.Get(bg)
		require.NoError(t, err)
		fs.SetHook(gate.Hook)
		gate.Shut()
		synced := make(chan error)
		go func() {
			synced <- db.Update(bg, func(tx *pebblemq.Tx) error { return tx.Set([]byte("k"), nil) })
		}()
		synctest.Wait()
		require.NoError(t, first.Nack(pebblemq.WithDurability(bg, pebblemq.NoSync), true))
		f(b, q, gate.Open)
		gate.Open()
		require.NoError(t, <-synced)
		storetest.Close(t, db)
	})
}

func TestWhatWasGivenBackBehindASyncIsDeliveredFirst(t *testing.T) {
	behindASync(t, func(_ *workqueue.Broker, q *workqueue.Queue, _ func()) {
		d, ok, err := q.Get(bg)
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, "0", d.MessageID)
	})
	behindASync(t, func(_ *workqueue.Broker, q *workqueue.Queue, _ func()) {
		c, err := q.Consume(pebblemq.WithDurability(bg, pebblemq.NoSync), nil)
		require.NoError(t, err)
		for _, id := range []string{"0", "1", "2"} {
			d, err := c.Next(bg)
			require.NoError(t, err)
			require.Equal(t, id, d.MessageID)
		}
	})
}

func TestAPurgeTakesWhatWasPublishedAndGivenBackBehindASync(t *testing.T) {
	behindASync(t, func(b *workqueue.Broker, q *workqueue.Queue, open func()) {
		noSync := pebblemq.WithDurability(bg, pebblemq.NoSync)
		require.NoError(t, b.Publish(noSync, "", "q", workqueue.Message{MessageID: "3"}))
		var n int
		done := make(chan error)
		go func() {
			var err error
			n, err = q.Purge(noSync)
			done <- err
		}()
		synctest.Wait()
		open()
		require.NoError(t, <-done)
		require.Equal(t, 4, n)
		st, err := q.Stats(bg)
		require.NoError(t, err)
		require.Zero(t, st.Ready)
	})
}
