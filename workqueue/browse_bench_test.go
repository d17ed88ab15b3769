package workqueue_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/workqueue"
	"github.com/stretchr/testify/require"
)

// benchBroker opens a store in a directory, with NoSync, and queue q.
func benchBroker(b *testing.B) (context.Context, *workqueue.Broker) {
	db, err := pebblemq.Open(b.TempDir(), &pebblemq.Options{Durability: pebblemq.NoSync})
	require.NoError(b, err)
	b.Cleanup(func() { storetest.Close(b, db) })
	broker := openBroker(b, db)
	declare(b, broker, "q")
	return bg, broker
}

// publishDelayed publishes n messages for another day, with ids or without.
func publishDelayed(ctx context.Context, b testing.TB, broker *workqueue.Broker, n int, ids bool) {
	payload := make([]byte, 100)
	batch := make([]workqueue.Publishing, 0, 100)
	for i := range n {
		m := workqueue.Message{Body: payload, Delay: 24*time.Hour + time.Duration(i*7919%n)*time.Millisecond}
		if ids {
			m.MessageID = fmt.Sprintf("reminder-%09d", i)
		}
		batch = append(batch, workqueue.Publishing{Key: "q", Message: m})
		if len(batch) == cap(batch) || i == n-1 {
			require.NoError(b, broker.PublishBatch(ctx, "", batch))
			batch = batch[:0]
		}
	}
}

// BenchmarkPublishDelayed shows what the index by MessageID costs.
func BenchmarkPublishDelayed(b *testing.B) {
	for _, ids := range []bool{false, true} {
		b.Run(fmt.Sprintf("ids=%v", ids), func(b *testing.B) {
			ctx, broker := benchBroker(b)
			b.ResetTimer()
			publishDelayed(ctx, b, broker, b.N, ids)
		})
	}
}

// BenchmarkCancel cancels by MessageID among so many that are delayed.
func BenchmarkCancel(b *testing.B) {
	for _, n := range []int{1_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			ctx, broker := benchBroker(b)
			publishDelayed(ctx, b, broker, n, true)
			b.ResetTimer()
			for i := range b.N {
				if err := queueOf(b, broker, "q").Cancel(ctx, fmt.Sprintf("reminder-%09d", i*7919%n)); err != nil {
					b.StopTimer() // all are cancelled
					publishDelayed(ctx, b, broker, n, true)
					b.StartTimer()
				}
			}
		})
	}
}

// BenchmarkBrowse looks at all of a backlog of 200,000.
func BenchmarkBrowse(b *testing.B) {
	const n = 200_000
	ctx, broker := benchBroker(b)
	batch := make([]workqueue.Publishing, 1000)
	for i := range batch {
		batch[i] = workqueue.Publishing{Key: "q", Message: workqueue.Message{Body: make([]byte, 100), MessageID: "m"}}
	}
	for range n / len(batch) {
		require.NoError(b, broker.PublishBatch(ctx, "", batch))
	}
	b.ResetTimer()
	for range b.N {
		seen := 0
		for _, err := range queueOf(b, broker, "q").Browse(ctx, nil) {
			require.NoError(b, err)
			seen++
		}
		require.Equal(b, n, seen)
	}
	b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "msg/s")
}

// BenchmarkRedrive moves 100,000 dead letters to another queue.
func BenchmarkRedrive(b *testing.B) {
	const n = 100_000
	for range b.N {
		b.StopTimer()
		ctx, broker := benchBroker(b)
		declare(b, broker, "to")
		batch := make([]workqueue.Publishing, 1000)
		for i := range batch {
			batch[i] = workqueue.Publishing{Key: "q", Message: workqueue.Message{Body: make([]byte, 100)}}
		}
		for range n / len(batch) {
			require.NoError(b, broker.PublishBatch(ctx, "", batch))
		}
		b.StartTimer()
		p, err := waited(queueOf(b, broker, "q").Redrive(ctx, &workqueue.RedriveOptions{To: &workqueue.RedriveTo{Key: "to"}}))
		require.NoError(b, err)
		require.EqualValues(b, n, p.Moved)
	}
	b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "msg/s")
}
