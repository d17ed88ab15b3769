package workqueue_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/workqueue"
	"github.com/stretchr/testify/require"
)

// BenchmarkCycle measures a message's whole life, NoSync: published, delivered
// and acknowledged, beside raw Pebble doing set, read the head above a cursor,
// delete.
func BenchmarkCycle(b *testing.B) {
	for _, n := range []int{1, 4} {
		b.Run(fmt.Sprintf("raw/%d", n), func(b *testing.B) { benchRawCycle(b, n) })
		b.Run(fmt.Sprintf("pebblemq/%d", n), func(b *testing.B) { benchCycle(b, n) })
	}
}

var payload = make([]byte, 100)

func benchRawCycle(b *testing.B, n int) {
	db, err := pebble.Open(b.TempDir(), &pebble.Options{
		FormatMajorVersion: pebble.FormatTableFormatV6, MemTableStopWritesThreshold: 4, L0StopWritesThreshold: 24,
		Logger: silent{},
	})
	require.NoError(b, err)
	defer db.Close()
	var wg sync.WaitGroup
	b.ResetTimer()
	for w := range n {
		wg.Go(func() {
			key := func(i int) []byte { return binary.BigEndian.AppendUint64([]byte{byte(w)}, uint64(i)) }
			for i := range b.N / n {
				if err := db.Set(key(i), payload, pebble.NoSync); err != nil {
					b.Error(err)
				}
				it, err := db.NewIter(&pebble.IterOptions{LowerBound: key(i), UpperBound: []byte{byte(w + 1)}})
				if err != nil || !it.First() {
					b.Error("no head", err)
					return
				}
				head := append([]byte(nil), it.Key()...)
				if err := it.Close(); err != nil {
					b.Error(err)
				}
				if err := db.Delete(head, pebble.NoSync); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}

type silent struct{}

func (silent) Infof(string, ...any)  {}
func (silent) Errorf(string, ...any) {}
func (silent) Fatalf(format string, args ...any) {
	panic(fmt.Sprintf(format, args...))
}

func benchCycle(b *testing.B, n int) {
	db, err := pebblemq.Open(b.TempDir(), nil)
	require.NoError(b, err)
	defer db.Close()
	broker, err := workqueue.Open(db, "main")
	require.NoError(b, err)
	require.NoError(b, broker.DeclareQueue(bg, "q", nil))
	ctx := pebblemq.WithDurability(bg, pebblemq.NoSync)
	c, err := broker.Consume(ctx, "q", &workqueue.ConsumeOptions{Prefetch: 256})
	require.NoError(b, err)
	b.ReportAllocs()
	b.ResetTimer()
	if n == 1 {
		for range b.N {
			cycle(ctx, b, broker, c)
		}
	} else {
		benchApart(ctx, b, broker, c, n)
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}

func cycle(ctx context.Context, b *testing.B, broker *workqueue.Broker, c *workqueue.Consumer) {
	if err := broker.Publish(ctx, "", "q", workqueue.Message{Body: payload}); err != nil {
		b.Fatal(err)
	}
	d, err := c.Next(ctx)
	if err != nil {
		b.Fatal(err)
	}
	if err := d.Ack(ctx); err != nil {
		b.Fatal(err)
	}
}

// benchApart has n goroutines publish and n others consume.
func benchApart(ctx context.Context, b *testing.B, broker *workqueue.Broker, c *workqueue.Consumer, n int) {
	var producers, consumers sync.WaitGroup
	total := b.N / n * n
	done, stop := context.WithCancel(ctx)
	defer stop()
	var mu sync.Mutex
	acked := 0
	for range n {
		producers.Go(func() {
			for range b.N / n {
				if err := broker.Publish(ctx, "", "q", workqueue.Message{Body: payload}); err != nil {
					b.Error(err)
				}
			}
		})
		consumers.Go(func() {
			for {
				d, err := c.Next(done)
				if err != nil {
					return
				}
				if err := d.Ack(ctx); err != nil {
					b.Error(err)
				}
				mu.Lock()
				if acked++; acked == total {
					stop()
				}
				mu.Unlock()
			}
		})
	}
	producers.Wait()
	if total > 0 {
		consumers.Wait()
	}
}
