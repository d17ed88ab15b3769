package pebblemq_test

import (
	"context"
	"flag"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
)

var fullSizes = flag.Bool("full", false, "BenchmarkSizes at full size, and not at a thousandth of it; takes minutes")

// BenchmarkSizes is what large queues cost: memory, the time to open them, and an operation.
func BenchmarkSizes(b *testing.B) {
	for _, s := range []struct {
		name string
		n    int
		make func(*sizes)
		use  func(*sizes) int // how many operations
	}{
		{"waiting", 10_000_000, (*sizes).fill, (*sizes).drain},
		{"in flight", 1_000_000, (*sizes).lease, (*sizes).deleteSome},
		{"groups", 1_000_000, (*sizes).group, (*sizes).receiveSome},
		{"queues", 100_000, (*sizes).declare, (*sizes).touchSome},
	} {
		n := s.n
		if !*fullSizes {
			n /= 1000
		}
		b.Run(fmt.Sprintf("%s=%d", s.name, n), func(b *testing.B) {
			for range b.N {
				z := &sizes{b: b, dir: b.TempDir(), n: n, ctx: pebblemq.WithDurability(bg, pebblemq.NoSync)}
				z.open()
				begun := time.Now()
				s.make(z)
				b.ReportMetric(time.Since(begun).Seconds()*1e6/float64(n), "us/making")
				z.memory("MiB-made")
				require.NoError(b, z.db.Close())
				begun = time.Now()
				z.open()
				b.ReportMetric(float64(time.Since(begun).Microseconds())/1000, "ms/opening")
				z.memory("MiB-opened")
				begun = time.Now()
				uses := s.use(z)
				b.ReportMetric(time.Since(begun).Seconds()*1e6/float64(uses), "us/use")
				z.memory("MiB-used")
				require.NoError(b, z.db.Close())
			}
		})
	}
}

// sizes is a store with one of them.
type sizes struct {
	b        *testing.B
	dir      string
	n        int
	ctx      context.Context
	db       *pebblemq.DB
	broker   *workqueue.Broker
	vis      *visibility.Queue
	fifo     *visibility.Queue
	receipts []visibility.Receipt
}

func (z *sizes) open() {
	var err error
	z.db, err = pebblemq.Open(z.dir, nil)
	require.NoError(z.b, err)
	z.broker, err = workqueue.OpenBroker(bg, z.db, "broker")
	require.NoError(z.b, err)
	_, err = z.broker.DeclareQueue(bg, "q", nil)
	require.NoError(z.b, err)
	z.vis, err = visibility.OpenQueue(bg, z.db, "vis", &visibility.QueueConfig{MaxInFlight: 2_000_000, VisibilityTimeout: 12 * time.Hour})
	require.NoError(z.b, err)
	z.fifo, err = visibility.OpenQueue(bg, z.db, "fifo", &visibility.QueueConfig{FIFO: true})
	require.NoError(z.b, err)
}

// memory reports the heap, without the caches of the engine, which lie beside it.
func (z *sizes) memory(unit string) {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	z.b.ReportMetric(float64(m.HeapAlloc)/(1<<20), unit)
}

// batches calls f with numbers from 0 on, some at a time.
func (z *sizes) batches(n, size int, f func(from, to int)) {
	for from := 0; from < n; from += size {
		f(from, min(from+size, n))
	}
}

func (z *sizes) fill() {
	z.batches(z.n, 1000, func(from, to int) {
		batch := make([]workqueue.Publishing, to-from)
		for i := range batch {
			batch[i] = workqueue.Publishing{Key: "q", Message: workqueue.Message{Body: make([]byte, 100)}}
		}
		require.NoError(z.b, z.broker.PublishBatch(z.ctx, "", batch))
	})
}

func (z *sizes) drain() int {
	n := min(z.n, 200_000)
	q := queueOf(z.b, z.broker, "q")
	for range n {
		d, ok, err := q.Get(z.ctx)
		require.NoError(z.b, err)
		require.True(z.b, ok)
		require.NoError(z.b, d.Ack(z.ctx))
	}
	return n
}

func (z *sizes) send(q *visibility.Queue, group func(i int) string) {
	z.batches(z.n, 1000, func(from, to int) {
		batch := make([]visibility.Message, to-from)
		for i := range batch {
			batch[i] = visibility.Message{Body: make([]byte, 100), Group: group(from + i)}
		}
		results, err := q.SendBatch(z.ctx, batch, nil)
		require.NoError(z.b, err)
		require.NoError(z.b, results[0].Err)
	})
}

func (z *sizes) receive(q *visibility.Queue, n int) (receipts []visibility.Receipt) {
	for len(receipts) < n {
		got, err := q.Receive(z.ctx, &visibility.ReceiveOptions{Max: 10, Wait: time.Second})
		require.NoError(z.b, err)
		require.NotEmpty(z.b, got)
		for _, m := range got {
			receipts = append(receipts, m.Receipt)
		}
	}
	return receipts
}

func (z *sizes) lease() {
	z.send(z.vis, func(int) string { return "" })
	z.receipts = z.receive(z.vis, z.n)
}

func (z *sizes) delete(q *visibility.Queue, receipts []visibility.Receipt) {
	z.batches(len(receipts), 10, func(from, to int) {
		errs, err := q.DeleteBatch(z.ctx, receipts[from:to], nil)
		require.NoError(z.b, err)
		require.NoError(z.b, errs[0])
	})
}

func (z *sizes) deleteSome() int {
	n := min(len(z.receipts), 200_000)
	z.delete(z.vis, z.receipts[len(z.receipts)-n:])
	return n
}

func (z *sizes) group() {
	z.send(z.fifo, func(i int) string { return fmt.Sprint("group ", i) })
}

func (z *sizes) receiveSome() int {
	n := min(z.n, 100_000)
	for left := n; left > 0; left -= 10 {
		z.delete(z.fifo, z.receive(z.fifo, 10))
	}
	return n
}

func (z *sizes) declare() {
	for i := range z.n {
		_, err := z.broker.DeclareQueue(z.ctx, fmt.Sprint("queue ", i), nil)
		require.NoError(z.b, err)
	}
}

func (z *sizes) touchSome() int {
	n := min(z.n, 20_000)
	for i := range n {
		name := fmt.Sprint("queue ", i)
		require.NoError(z.b, z.broker.Publish(z.ctx, "", name, workqueue.Message{Body: make([]byte, 100)}))
		d, ok, err := queueOf(z.b, z.broker, name).Get(z.ctx)
		require.NoError(z.b, err)
		require.True(z.b, ok)
		require.NoError(z.b, d.Ack(z.ctx))
	}
	return n
}
