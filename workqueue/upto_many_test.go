package workqueue_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/workqueue"
)

// Many deliveries are settled, or given back, in several commits. The outcome is the same.
func TestManyDeliveriesAreSettledAtOnce(t *testing.T) {
	const messages = 3000
	for name, c := range map[string]struct {
		settle func(context.Context, *workqueue.Consumer, *workqueue.Delivery) error
		ready  int
	}{
		"AckUpTo": {func(ctx context.Context, _ *workqueue.Consumer, d *workqueue.Delivery) error { return d.AckUpTo(ctx) }, 500},
		"NackUpTo": {func(ctx context.Context, _ *workqueue.Consumer, d *workqueue.Delivery) error {
			return d.NackUpTo(ctx, true)
		}, messages},
		"Close": {func(_ context.Context, c *workqueue.Consumer, _ *workqueue.Delivery) error { return c.Close() }, messages},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, b := open(t)
				declare(t, b, "q")
				batch := make([]workqueue.Publishing, messages)
				for i := range batch {
					batch[i] = workqueue.Publishing{Key: "q", Message: workqueue.Message{MessageID: fmt.Sprint(i)}}
				}
				require.NoError(t, b.PublishBatch(bg, "", batch))
				consumer, err := queueOf(t, b, "q").Consume(bg, &workqueue.ConsumeOptions{Prefetch: workqueue.UnlimitedPrefetch})
				require.NoError(t, err)
				var d *workqueue.Delivery
				for range messages - 500 {
					d, err = consumer.Next(bg)
					require.NoError(t, err)
				}
				require.NoError(t, c.settle(bg, consumer, d))
				require.NoError(t, consumer.Close())
				require.Equal(t, c.ready, ready(t, b, "q"))
				for i := messages - c.ready; i < messages; i++ {
					d, ok, err := queueOf(t, b, "q").Get(bg)
					require.NoError(t, err)
					require.True(t, ok)
					require.Equal(t, fmt.Sprint(i), d.MessageID)
					require.NoError(t, d.Ack(bg))
				}
			})
		})
	}
}
