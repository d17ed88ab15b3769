package workqueue_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/workqueue"
)

// BenchmarkBigSettlement settles 100,000 deliveries at once, and reports how long it held others up
// at most.
func BenchmarkBigSettlement(b *testing.B) {
	const messages = 100_000
	settle := map[string]func(context.Context, *workqueue.Delivery, *workqueue.Consumer) error{
		"AckUpTo": func(ctx context.Context, d *workqueue.Delivery, _ *workqueue.Consumer) error { return d.AckUpTo(ctx) },
		"NackUpTo": func(ctx context.Context, d *workqueue.Delivery, _ *workqueue.Consumer) error {
			return d.NackUpTo(ctx, true)
		},
		"RejectUpTo": func(ctx context.Context, d *workqueue.Delivery, _ *workqueue.Consumer) error {
			return d.NackUpTo(ctx, false)
		},
		"Close": func(_ context.Context, _ *workqueue.Delivery, c *workqueue.Consumer) error { return c.Close() },
	}
	for name, settle := range settle {
		b.Run(name, func(b *testing.B) {
			var longest time.Duration
			for range b.N {
				b.StopTimer()
				db := storetest.Open(b, nil)
				ctx := pebblemq.WithDurability(bg, pebblemq.NoSync)
				broker := openBroker(b, db)
				declare(b, broker, "q")
				q := queueOf(b, broker, "q")
				declare(b, broker, "other")
				other := queueOf(b, broker, "other")
				c, err := q.Consume(ctx, &workqueue.ConsumeOptions{Prefetch: workqueue.UnlimitedPrefetch})
				require.NoError(b, err)
				list := make([]workqueue.Publishing, 1000)
				for i := range list {
					list[i] = workqueue.Publishing{Key: "q", Message: workqueue.Message{Body: payload}}
				}
				for range messages / len(list) {
					require.NoError(b, broker.PublishBatch(ctx, "", list))
				}
				var last *workqueue.Delivery
				for range messages {
					last, err = c.Next(bg)
					require.NoError(b, err)
				}
				stop, stopped := make(chan bool), make(chan time.Duration)
				go func() {
					var longest time.Duration
					for {
						select {
						case <-stop:
							stopped <- longest
							return
						default:
						}
						begin := time.Now()
						_, err := other.Stats(ctx)
						require.NoError(b, err)
						longest = max(longest, time.Since(begin))
						time.Sleep(50 * time.Microsecond)
					}
				}()
				b.StartTimer()
				require.NoError(b, settle(ctx, last, c))
				b.StopTimer()
				close(stop)
				longest = max(longest, <-stopped)
			}
			b.ReportMetric(float64(longest.Microseconds())/1000, "ms-longest-wait")
		})
	}
}
