package workqueue_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/workqueue"
)

// BenchmarkAsync publishes with a window of calls under way, of which the oldest is waited for.
func BenchmarkAsync(b *testing.B) {
	const window = 1000
	for _, d := range []pebblemq.Durability{pebblemq.NoSync, pebblemq.Sync} {
		b.Run(d.String(), func(b *testing.B) {
			db, err := pebblemq.Open(b.TempDir(), nil)
			require.NoError(b, err)
			defer func() { require.NoError(b, db.Close()) }()
			broker, err := workqueue.OpenBroker(bg, db, "b")
			require.NoError(b, err)
			_, err = broker.DeclareQueue(bg, "q", &workqueue.QueueConfig{MaxLength: 10_000})
			require.NoError(b, err)
			ctx := pebblemq.WithDurability(bg, d)
			message := workqueue.Message{Body: make([]byte, 100)}
			var flying [window]*pebblemq.Future[workqueue.Published]
			b.ReportAllocs()
			b.ResetTimer()
			for n := range b.N + window {
				if f := flying[n%window]; f != nil {
					_, err := f.Wait(ctx)
					require.NoError(b, err)
				}
				if n < b.N {
					flying[n%window] = broker.PublishAsync(ctx, "", "q", message)
				}
			}
		})
	}
}
