package workqueue_test

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/workqueue"
	"github.com/stretchr/testify/require"
)

// BenchmarkFanOut publishes 10 KiB to several queues and has each consume it,
// NoSync, beside raw Pebble storing it once and deleting it.
func BenchmarkFanOut(b *testing.B) {
	relaxed := pebblemq.WithDurability(bg, pebblemq.NoSync)
	body := make([]byte, 10<<10)
	b.Run("raw", func(b *testing.B) {
		db, err := pebble.Open(b.TempDir(), &pebble.Options{FormatMajorVersion: pebble.FormatTableFormatV6, Logger: silent{}})
		require.NoError(b, err)
		defer db.Close()
		for i := range b.N {
			k := fmt.Appendf(nil, "%016d", i)
			require.NoError(b, db.Set(k, body, pebble.NoSync))
			require.NoError(b, db.Delete(k, pebble.NoSync))
		}
	})
	for _, n := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("queues=%d", n), func(b *testing.B) {
			db, err := pebblemq.Open(b.TempDir(), nil)
			require.NoError(b, err)
			defer db.Close()
			broker := openBroker(b, db)
			fanOut(b, broker, n)
			b.ResetTimer()
			for range b.N {
				require.NoError(b, broker.Publish(relaxed, "all", "", workqueue.Message{Body: body}))
				for i := range n {
					d, ok, err := broker.Get(relaxed, fmt.Sprint(i))
					require.NoError(b, err)
					require.True(b, ok)
					require.NoError(b, d.Ack(relaxed))
				}
			}
			b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "msg/s")
		})
	}
}

// BenchmarkFanOutPublish only publishes, NoSync, beside raw Pebble that sets the
// body and an entry for each queue in one batch.
func BenchmarkFanOutPublish(b *testing.B) {
	relaxed := pebblemq.WithDurability(bg, pebblemq.NoSync)
	for _, size := range []int{100, 10 << 10} {
		body := make([]byte, size)
		for _, n := range []int{1, 10, 100} {
			b.Run(fmt.Sprintf("bytes=%d/queues=%d/raw", size, n), func(b *testing.B) { benchRawFanOut(b, body, n) })
			b.Run(fmt.Sprintf("bytes=%d/queues=%d", size, n), func(b *testing.B) {
				db, err := pebblemq.Open(b.TempDir(), nil)
				require.NoError(b, err)
				defer db.Close()
				broker := openBroker(b, db)
				fanOut(b, broker, n)
				b.ReportAllocs()
				b.ResetTimer()
				for range b.N {
					require.NoError(b, broker.Publish(relaxed, "all", "", workqueue.Message{Body: body}))
				}
			})
		}
	}
}

func benchRawFanOut(b *testing.B, body []byte, n int) {
	db, err := pebble.Open(b.TempDir(), &pebble.Options{FormatMajorVersion: pebble.FormatTableFormatV6, Logger: silent{}})
	require.NoError(b, err)
	defer db.Close()
	entry := body[:40]
	b.ResetTimer()
	for i := range b.N {
		batch := db.NewBatch()
		require.NoError(b, batch.Set(fmt.Appendf(nil, "payload%016d", i), body, nil))
		for q := range n {
			require.NoError(b, batch.Set(fmt.Appendf(nil, "%04d%016d", q, i), entry, nil))
		}
		require.NoError(b, batch.Commit(pebble.NoSync))
	}
}

// BenchmarkTopicRouting publishes, NoSync, through ever more bindings, of which
// three match, beside raw Pebble setting a key for each message.
func BenchmarkTopicRouting(b *testing.B) {
	relaxed := pebblemq.WithDurability(bg, pebblemq.NoSync)
	b.Run("raw", func(b *testing.B) { benchRawSet(b, payload) })
	for _, n := range []int{10, 1_000, 100_000} {
		b.Run(fmt.Sprintf("bindings=%d", n), func(b *testing.B) {
			db, err := pebblemq.Open(b.TempDir(), nil)
			require.NoError(b, err)
			defer db.Close()
			broker := openBroker(b, db)
			exchange(b, broker, workqueue.Topic, "x")
			declare(b, broker, "q")
			for i := range n {
				key := fmt.Sprintf("region%d.*.order%d.#", i%100, i)
				if i < 3 {
					key = []string{"#", "*.shop.#", "region1.#.paid"}[i]
				}
				require.NoError(b, broker.Bind(relaxed, workqueue.Binding{Exchange: "x", Queue: "q", Key: key}))
			}
			b.ResetTimer()
			for range b.N {
				require.NoError(b, broker.Publish(relaxed, "x", "region1.shop.order7.paid", workqueue.Message{Body: payload}))
			}
		})
	}
}

// benchRawSet is a key for each message, NoSync.
func benchRawSet(b *testing.B, value []byte) {
	db, err := pebble.Open(b.TempDir(), &pebble.Options{FormatMajorVersion: pebble.FormatTableFormatV6, Logger: silent{}})
	require.NoError(b, err)
	defer db.Close()
	b.ResetTimer()
	for i := range b.N {
		require.NoError(b, db.Set(fmt.Appendf(nil, "%016d", i), value, pebble.NoSync))
	}
}
