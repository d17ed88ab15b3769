package workqueue_test

import (
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/workqueue"
)

// BenchmarkFirstAfterExpiry is the first message of a queue of which 200,000 of 210,000 messages have
// expired while the store was closed.
func BenchmarkFirstAfterExpiry(b *testing.B) {
	for name, config := range map[string]workqueue.QueueConfig{
		"dropped":     {MessageTTL: time.Minute, DropDead: true},
		"dead letter": {MessageTTL: time.Minute, DeadLetter: &workqueue.DeadLetter{Key: "dead"}},
	} {
		b.Run(name, func(b *testing.B) {
			for range b.N {
				b.StopTimer()
				now := time.Now()
				fs, o := vfs.NewMem(), store.Options{Clock: func() time.Time { return now }}
				db, err := storetest.OpenFS(fs, o)
				require.NoError(b, err)
				broker := openBroker(b, db)
				declare(b, broker, "dead")
				_, err = broker.DeclareQueue(bg, "q", &config)
				require.NoError(b, err)
				publish := func(n int) {
					batch := make([]workqueue.Publishing, 1000)
					for i := range batch {
						batch[i] = workqueue.Publishing{Key: "q", Message: workqueue.Message{Body: payload}}
					}
					for range n / len(batch) {
						require.NoError(b, broker.PublishBatch(pebblemq.WithDurability(bg, pebblemq.NoSync), "", batch))
					}
				}
				publish(200_000)
				now = now.Add(50 * time.Second)
				publish(10_000)
				require.NoError(b, db.Close())
				now = now.Add(20 * time.Second)
				db, err = storetest.OpenFS(fs, o)
				require.NoError(b, err)
				b.StartTimer()
				broker, err = workqueue.OpenBroker(bg, db, "main")
				require.NoError(b, err)
				_, ok, err := queueOf(b, broker, "q").Get(bg)
				require.NoError(b, err)
				require.True(b, ok)
				b.StopTimer()
				require.NoError(b, db.Close())
			}
		})
	}
}
