package log_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/log"
)

// BenchmarkRun handles what was appended before with a handler that does nothing.
func BenchmarkRun(b *testing.B) {
	for name, o := range map[string]log.RunOptions{"plain": {}, "concurrency=8": {Concurrency: 8}} {
		b.Run(name, func(b *testing.B) {
			benchmarkRun(b, func(ctx context.Context, g *log.Group, done func(int)) error {
				return g.Run(ctx, func(context.Context, log.Record) error {
					done(1)
					return nil
				}, &o)
			})
		})
	}
}

// BenchmarkRunBatch is BenchmarkRun with batches of 100.
func BenchmarkRunBatch(b *testing.B) {
	benchmarkRun(b, func(ctx context.Context, g *log.Group, done func(int)) error {
		return g.RunBatch(ctx, func(_ context.Context, batch []log.Record) error {
			done(len(batch))
			return nil
		}, nil)
	})
}

func benchmarkRun(b *testing.B, run func(ctx context.Context, g *log.Group, done func(int)) error) {
	db, err := pebblemq.OpenMemory(nil)
	require.NoError(b, err)
	defer db.Close()
	topic, err := log.OpenTopic(ctx, db, "orders", nil)
	require.NoError(b, err)
	for left := b.N; left > 0; left -= 1000 {
		batch := make([]log.Record, min(left, 1000))
		for i := range batch {
			batch[i] = log.Record{Key: fmt.Append(nil, i%50), Value: []byte("value")}
		}
		appendAll(b, topic, batch...)
	}
	g := openGroup(b, topic, "g")
	running, stop := context.WithCancel(ctx)
	defer stop()
	var handled atomic.Int64
	b.ReportAllocs()
	b.ResetTimer()
	require.NoError(b, run(running, g, func(n int) {
		if handled.Add(int64(n)) == int64(b.N) {
			stop()
		}
	}))
}
