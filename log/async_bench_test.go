package log_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/log"
)

// BenchmarkAsync appends with a window of calls under way, of which the oldest is waited for.
func BenchmarkAsync(b *testing.B) {
	const window = 1000
	for _, d := range []pebblemq.Durability{pebblemq.NoSync, pebblemq.Sync} {
		b.Run(d.String(), func(b *testing.B) {
			topic, ctx := benchTopic(b), pebblemq.WithDurability(context.Background(), d)
			record := log.Record{Value: payload(0)}
			var flying [window]*pebblemq.Future[[]log.Position]
			b.ReportAllocs()
			b.ResetTimer()
			for n := range b.N + window {
				if f := flying[n%window]; f != nil {
					_, err := f.Wait(ctx)
					require.NoError(b, err)
				}
				if n < b.N {
					flying[n%window] = topic.AppendAsync(ctx, record)
				}
			}
		})
	}
}
