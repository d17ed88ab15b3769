package pebblemq_test

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/idempotency"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/log"
	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
	"github.com/stretchr/testify/require"
)

// A store that is opened while its disk is nearly full must be of use: how else
// would its consumers make room?
func TestOnAFullDiskEverythingIsOpenedReadAndDrained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := storetest.NewFS(vfs.NewCrashableMem())
		quota := storetest.NewQuota(24<<20, false)
		base.SetHook(quota.Hook)
		base.Usage = quota.Usage
		small := store.Options{MemoryBytes: store.MinMemoryBytes}
		db, err := storetest.OpenFS(base, small)
		require.NoError(t, err)
		w := openWorld(t, db)
		require.NoError(t, w.broker.Publish(bg, "", "in", workqueue.Message{Body: []byte("1")}))
		_, err = w.mail.Send(bg, visibility.Message{Body: []byte("1")})
		require.NoError(t, err)
		noise := make([]byte, 64<<10) // that cannot be compressed
		_, _ = rand.NewChaCha8([32]byte{}).Read(noise)
		for err == nil {
			_, err = w.topic.Append(pebblemq.WithDurability(bg, pebblemq.NoSync), log.Record{Value: noise})
		}
		require.ErrorIs(t, err, pebblemq.ErrDiskFull)
		require.NoError(t, db.Close())
		quota.Resize(quota.Used() + 12<<20) // the rest goes to somebody else

		db, err = storetest.OpenFS(base, small)
		require.NoError(t, err)
		defer storetest.Close(t, db)
		require.True(t, db.Stats().DiskFull)
		require.ErrorIs(t, db.Err(), pebblemq.ErrDiskFull)
		require.False(t, db.Health().OK())
		w = openWorld(t, db)
		requireNothingGrows(t, w)
		requireReadable(t, w)
		requireDrainable(t, w)
	})
}

func requireNothingGrows(t *testing.T, w *world) {
	t.Helper()
	_, err := log.OpenTopic(bg, w.db, "new", nil)
	require.ErrorIs(t, err, pebblemq.ErrDiskFull)
	_, err = workqueue.OpenBroker(bg, w.db, "new")
	require.ErrorIs(t, err, pebblemq.ErrDiskFull)
	_, err = w.broker.DeclareQueue(bg, "new", nil)
	require.ErrorIs(t, err, pebblemq.ErrDiskFull)
	require.ErrorIs(t, w.broker.DeclareExchange(bg, "new", workqueue.Direct, nil), pebblemq.ErrDiskFull)
	_, err = visibility.OpenQueue(bg, w.db, "new", nil)
	require.ErrorIs(t, err, pebblemq.ErrDiskFull)
	_, err = idempotency.OpenNamespace(bg, w.db, "new", nil)
	require.ErrorIs(t, err, pebblemq.ErrDiskFull)
	require.ErrorIs(t, w.broker.Publish(bg, "", "in", workqueue.Message{}), pebblemq.ErrDiskFull)
}

func requireReadable(t *testing.T, w *world) {
	t.Helper()
	topics, err := log.Topics(bg, w.db)
	require.NoError(t, err)
	require.Len(t, topics, 1)
	r, err := w.topic.NewReader(0, log.Start())
	require.NoError(t, err)
	records, err := r.Fetch(bg, 1, 1<<20)
	require.NoError(t, err)
	require.Len(t, records[0].Value, 64<<10)
	st, err := queueOf(t, w.broker, "in").Stats(bg)
	require.NoError(t, err)
	require.Equal(t, uint64(1), st.Ready)
	vst, err := w.mail.Stats(bg)
	require.NoError(t, err)
	require.Equal(t, uint64(1), vst.Visible)
	seen, err := w.seen.Seen(bg, []byte("a"))
	require.NoError(t, err)
	require.False(t, seen)
	require.NoError(t, w.db.View(bg, func(tx *pebblemq.Tx) error {
		_, err := tx.Get([]byte("a"))
		return err
	}))
}

func requireDrainable(t *testing.T, w *world) {
	t.Helper()
	c, err := queueOf(t, w.broker, "in").Consume(bg, nil)
	require.NoError(t, err)
	d, err := c.Next(bg)
	require.NoError(t, err)
	require.NoError(t, d.Ack(bg))
	require.NoError(t, c.Close())
	got, err := w.mail.Receive(bg, nil)
	require.NoError(t, err)
	require.Len(t, got, 1)
	require.NoError(t, w.mail.Delete(bg, got[0].Receipt))
}
