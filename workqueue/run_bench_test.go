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

// BenchmarkRun handles what was published before with a handler that does nothing. Beside it
// is a loop by hand that only acknowledges.
func BenchmarkRun(b *testing.B) {
	b.Run("loop", func(b *testing.B) {
		benchmarkRun(b, func(ctx context.Context, q *workqueue.Queue, done func(int)) error {
			c, err := q.Consume(ctx, nil)
			require.NoError(b, err)
			for ctx.Err() == nil {
				d, err := c.Next(ctx)
				require.NoError(b, err)
				require.NoError(b, d.Ack(ctx))
				done(1)
			}
			return c.Close()
		})
	})
	keyed := func(d *workqueue.Delivery) string { return d.Type }
	for name, o := range map[string]workqueue.RunOptions{
		"plain":         {},
		"concurrency=8": {Concurrency: 8},
		"keys":          {Concurrency: 8, Key: keyed},
	} {
		b.Run(name, func(b *testing.B) {
			benchmarkRun(b, func(ctx context.Context, q *workqueue.Queue, done func(int)) error {
				return q.Run(ctx, func(context.Context, *workqueue.Delivery) error {
					done(1)
					return nil
				}, &o)
			})
		})
	}
}

// BenchmarkRunBatch is BenchmarkRun with batches of 100.
func BenchmarkRunBatch(b *testing.B) {
	benchmarkRun(b, func(ctx context.Context, q *workqueue.Queue, done func(int)) error {
		return q.RunBatch(ctx, func(_ context.Context, batch []*workqueue.Delivery) error {
			done(len(batch))
			return nil
		}, nil)
	})
}

func benchmarkRun(b *testing.B, run func(ctx context.Context, q *workqueue.Queue, done func(int)) error) {
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
	var handled atomic.Int64
	b.ReportAllocs()
	b.ResetTimer()
	require.NoError(b, run(ctx, queueOf(b, broker, "q"), func(n int) {
		if handled.Add(int64(n)) == int64(b.N) {
			stop()
		}
	}))
}
