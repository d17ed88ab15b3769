package workqueue_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/workqueue"
)

// BenchmarkConsumers is a message for the only consumer that has room, among many.
func BenchmarkConsumers(b *testing.B) {
	for _, single := range []bool{false, true} {
		for _, others := range []int{0, 100, 1000} {
			b.Run(fmt.Sprintf("single=%v/others=%d", single, others), func(b *testing.B) {
				db := storetest.Open(b, nil)
				ctx := pebblemq.WithDurability(bg, pebblemq.NoSync)
				broker := openBroker(b, db)
				q, err := broker.DeclareQueue(bg, "q", &workqueue.QueueConfig{SingleActive: single})
				require.NoError(b, err)
				for range others {
					full, err := q.Consume(ctx, &workqueue.ConsumeOptions{Prefetch: 1, Priority: -1})
					require.NoError(b, err)
					if !single {
						require.NoError(b, broker.Publish(ctx, "", "q", workqueue.Message{}))
						_, err = full.Next(bg)
						require.NoError(b, err)
					}
				}
				c, err := q.Consume(ctx, nil)
				require.NoError(b, err)
				b.ResetTimer()
				for range b.N {
					require.NoError(b, broker.Publish(ctx, "", "q", workqueue.Message{}))
					d, err := c.Next(ctx)
					require.NoError(b, err)
					require.NoError(b, d.Ack(ctx))
				}
			})
		}
	}
}
