package workqueue_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/workqueue"
)

// BenchmarkRun handles what was published before with a handler that does nothing.
func BenchmarkRun(b *testing.B) {
	keyed := func(d *workqueue.Delivery) string { return d.Type }
	for name, o := range map[string]workqueue.RunOptions{
		"plain":         {},
		"concurrency=8": {Concurrency: 8},
		"keys":          {Concurrency: 8, Key: keyed},
	} {
		b.Run(name, func(b *testing.B) {
			db, err := pebblemq.OpenMemory(nil)
			require.NoError(b, err)
			defer db.Close()
			broker := openBroker(b, db)
			declare(b, broker, "q")
			for left := b.N; left > 0; left -= 1000 {
				batch := make([]workqueue.Publishing, min(left, 1000))
				for i := range batch {
					batch[i] = workqueue.Publishing{Key: "q", Message: workqueue.Message{Type: fmt.Sprint(i % 50), Body: []byte("body")}}
				}
				require.NoError(b, broker.PublishBatch(bg, "", batch))
			}
			ctx, stop := context.WithCancel(bg)
			defer stop()
			var done atomic.Int64
			b.ReportAllocs()
			b.ResetTimer()
			require.NoError(b, queueOf(b, broker, "q").Run(ctx, func(context.Context, *workqueue.Delivery) error {
				if done.Add(1) == int64(b.N) {
					stop()
				}
				return nil
			}, &o))
		})
	}
}
