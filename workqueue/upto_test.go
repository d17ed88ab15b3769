package workqueue_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/workqueue"
)

// After a crash a message that may have been out is handed over only when its mark is on disk.
// Another call of Next overtakes it meanwhile. Up to one spares what no call has returned.
func TestUpToOneSparesWhatNextHasNotReturned(t *testing.T) {
	settle := map[string]func(context.Context, *workqueue.Delivery) error{
		"AckUpTo":  func(ctx context.Context, d *workqueue.Delivery) error { return d.AckUpTo(ctx) },
		"NackUpTo": func(ctx context.Context, d *workqueue.Delivery) error { return d.NackUpTo(ctx, false) },
	}
	for name, settle := range settle {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fs, gate := storetest.NewFS(leftOut(t, "prime", "1", "2", "suspect")), &storetest.Gate{Class: storetest.ClassWAL, Op: storetest.OpSync}
				db, err := storetest.OpenFS(fs, store.Options{})
				require.NoError(t, err)
				b := openBroker(t, db)
				require.NoError(t, b.Publish(bg, "", "q", workqueue.Message{MessageID: "younger"}))
				c, err := queueOf(t, b, "q").Consume(bg, &workqueue.ConsumeOptions{Prefetch: 2})
				require.NoError(t, err)
				next := func(id string) *workqueue.Delivery {
					ctx, stop := context.WithTimeout(bg, storetest.Patience)
					defer stop()
					d, err := c.Next(ctx)
					require.NoError(t, err)
					require.Equal(t, id, d.MessageID)
					return d
				}
				require.NoError(t, next("prime").Ack(bg))
				first, second := next("1"), next("2")
				fs.SetHook(gate.Hook)
				gate.Shut()
				noSync := pebblemq.WithDurability(bg, pebblemq.NoSync)
				require.NoError(t, first.Ack(noSync))
				require.NoError(t, second.Ack(noSync))
				suspect := make(chan *workqueue.Delivery)
				go func() {
					d, err := c.Next(bg)
					require.NoError(t, err)
					suspect <- d
				}()
				synctest.Wait() // it waits for the disk
				require.NoError(t, settle(noSync, next("younger")))
				gate.Open()
				d := <-suspect
				require.Equal(t, "suspect", d.MessageID)
				require.NoError(t, d.Ack(bg))
				storetest.Close(t, db)
			})
		})
	}
}

// leftOut returns the disk of a process that died with the first of the messages of queue
// q handed out.
func leftOut(t *testing.T, ids ...string) *vfs.MemFS {
	t.Helper()
	fs := vfs.NewCrashableMem()
	db, err := storetest.OpenFS(fs, store.Options{})
	require.NoError(t, err)
	b := openBroker(t, db)
	declare(t, b, "q")
	for _, id := range ids {
		require.NoError(t, b.Publish(bg, "", "q", workqueue.Message{MessageID: id}))
	}
	_, ok, err := queueOf(t, b, "q").Get(bg)
	require.NoError(t, err)
	require.True(t, ok)
	crashed := fs.CrashClone(vfs.CrashCloneCfg{})
	storetest.Close(t, db)
	return crashed
}
