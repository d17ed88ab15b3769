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
					d, ok, err := queueOf(b, broker, fmt.Sprint(i)).Get(relaxed)
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
	benchRouting(b, workqueue.Topic, func(i int) workqueue.Binding {
		key := fmt.Sprintf("region%d.*.order%d.#", i%100, i)
		if i < 3 {
			key = []string{"#", "*.shop.#", "region1.#.paid"}[i]
		}
		return workqueue.Binding{Key: key}
	}, workqueue.Publishing{Key: "region1.shop.order7.paid", Message: workqueue.Message{Body: payload}})
}

// BenchmarkHeadersRouting does so by headers; all bindings ask for the same type.
func BenchmarkHeadersRouting(b *testing.B) {
	benchRouting(b, workqueue.Headers, func(i int) workqueue.Binding {
		return workqueue.Binding{Arguments: workqueue.Arguments{"type": "order", "customer": fmt.Sprint(i)}}
	}, workqueue.Publishing{Message: workqueue.Message{
		Body: payload, Headers: map[string]string{"type": "order", "customer": "7", "region": "eu"},
	}})
}

func benchRouting(b *testing.B, kind workqueue.ExchangeKind, binding func(int) workqueue.Binding, p workqueue.Publishing) {
	relaxed := pebblemq.WithDurability(bg, pebblemq.NoSync)
	b.Run("raw", func(b *testing.B) { benchRawSet(b, payload) })
	for _, n := range []int{10, 1_000, 100_000} {
		b.Run(fmt.Sprintf("bindings=%d", n), func(b *testing.B) {
			db, err := pebblemq.Open(b.TempDir(), nil)
			require.NoError(b, err)
			defer db.Close()
			broker := openBroker(b, db)
			exchange(b, broker, kind, "x")
			declare(b, broker, "q")
			for i := range n {
				to := binding(i)
				to.Exchange, to.Queue = "x", "q"
				require.NoError(b, broker.Bind(relaxed, to))
			}
			b.ResetTimer()
			for range b.N {
				require.NoError(b, broker.Publish(relaxed, "x", p.Key, p.Message))
			}
		})
	}
}

// BenchmarkOpen opens a broker with many bindings, beside raw Pebble reading as
// many keys.
func BenchmarkOpen(b *testing.B) {
	const n = workqueue.MaxTopology - 2
	x := &workqueue.Topology{
		Exchanges: []workqueue.ExchangeDefinition{{Name: "x", Kind: workqueue.Topic}},
		Queues:    []workqueue.QueueDefinition{{Name: "q"}},
	}
	for i := range n {
		x.Bindings = append(x.Bindings, workqueue.Binding{Exchange: "x", Queue: "q", Key: fmt.Sprintf("region%d.*.order%d.#", i%100, i)})
	}
	dir := b.TempDir()
	db, err := pebblemq.Open(dir, nil)
	require.NoError(b, err)
	require.NoError(b, errOf(openBroker(b, db).Apply(bg, x, nil)))
	require.NoError(b, db.Close())
	b.Run("raw", func(b *testing.B) {
		for range b.N {
			db, err := pebble.Open(dir, &pebble.Options{FormatMajorVersion: pebble.FormatTableFormatV6, Logger: silent{}, ReadOnly: true})
			require.NoError(b, err)
			it, err := db.NewIter(nil)
			require.NoError(b, err)
			for ok := it.First(); ok; ok = it.Next() {
				_ = it.Value()
			}
			require.NoError(b, it.Close())
			require.NoError(b, db.Close())
		}
	})
	b.Run(fmt.Sprintf("bindings=%d", n), func(b *testing.B) {
		for range b.N {
			db, err := pebblemq.Open(dir, nil)
			require.NoError(b, err)
			openBroker(b, db)
			require.NoError(b, db.Close())
		}
	})
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
