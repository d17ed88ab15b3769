package workqueue_test

import (
	"context"
	"os"
	"runtime/metrics"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
)

// backlog is how many messages BenchmarkBacklog has waiting. The figures in the
// documents are with 10 M: PEBBLEMQ_BENCH_MESSAGES=10000000.
func backlog(b *testing.B) int {
	text := os.Getenv("PEBBLEMQ_BENCH_MESSAGES")
	if text == "" {
		return 50_000
	}
	n, err := strconv.Atoi(text)
	require.NoError(b, err)
	return n
}

// BenchmarkBacklog publishes many messages of 100 B, opens the store again and drains
// them with four consumers, in batches of 100, NoSync. Raw Pebble sets as many keys,
// reads them in order and deletes them. The heap is the largest that was seen, garbage
// included; the disk is what is left once the engine is at rest.
func BenchmarkBacklog(b *testing.B) {
	b.Run("raw", func(b *testing.B) {
		for range b.N {
			rawBacklog(b, backlog(b))
		}
	})
	b.Run("pebblemq", func(b *testing.B) {
		for range b.N {
			ourBacklog(b, backlog(b))
		}
	})
}

func ourBacklog(b *testing.B, n int) {
	heap := watchHeap()
	dir := b.TempDir()
	db, err := pebblemq.Open(dir, nil)
	require.NoError(b, err)
	begin := time.Now()
	q := queueIn(b, db)
	for sent := 0; sent < n; sent += 100 {
		require.NoError(b, q.publish(pebblemq.NoSync, payload, min(100, n-sent)))
	}
	report(b, float64(n)/time.Since(begin).Seconds(), "published/s")
	report(b, float64(db.Stats().DiskBytes)/(1<<20), "MiB-disk-full")
	require.NoError(b, db.Close())

	begin = time.Now()
	db, err = pebblemq.Open(dir, nil)
	require.NoError(b, err)
	q = queueIn(b, db)
	report(b, float64(time.Since(begin).Microseconds())/1e3, "ms-open")

	begin = time.Now()
	ctx, stop := context.WithCancel(bg)
	defer stop()
	var left atomic.Int64
	left.Store(int64(n))
	var consumers sync.WaitGroup
	for range 4 {
		consumers.Go(func() {
			got := 0
			err := q.consume(ctx, func([]byte) bool {
				got++
				last := left.Add(-1) == 0
				if last {
					stop()
				}
				return last || got%100 == 0
			})
			if err != nil {
				b.Error(err)
			}
		})
	}
	consumers.Wait()
	report(b, float64(n)/time.Since(begin).Seconds(), "drained/s")
	disk := atRest(func() uint64 { return db.Stats().DiskBytes })
	report(b, float64(disk)/(1<<20), "MiB-disk-drained")
	report(b, float64(heap())/(1<<20), "MiB-heap-peak")
	require.NoError(b, db.Close())
}

func rawBacklog(b *testing.B, n int) {
	heap := watchHeap()
	dir := b.TempDir()
	db := openRaw(b, dir)
	begin := time.Now()
	for sent := 0; sent < n; sent += 100 {
		batch := db.NewBatch()
		for i := range min(100, n-sent) {
			require.NoError(b, batch.Set(rawKey(uint64(sent+i)), payload, nil))
		}
		require.NoError(b, batch.Commit(pebble.NoSync))
	}
	report(b, float64(n)/time.Since(begin).Seconds(), "published/s")
	report(b, float64(db.Metrics().DiskSpaceUsage())/(1<<20), "MiB-disk-full")
	require.NoError(b, db.Close())

	begin = time.Now()
	db = openRaw(b, dir)
	report(b, float64(time.Since(begin).Microseconds())/1e3, "ms-open")

	begin = time.Now()
	for got := 0; got < n; {
		it, err := db.NewIter(&pebble.IterOptions{LowerBound: rawKey(uint64(got))})
		require.NoError(b, err)
		batch := db.NewBatch()
		for ok := it.First(); ok && batch.Count() < 100; ok = it.Next() {
			require.NoError(b, batch.Delete(it.Key(), nil))
			got++
		}
		require.NoError(b, it.Close())
		require.NoError(b, batch.Commit(pebble.NoSync))
	}
	report(b, float64(n)/time.Since(begin).Seconds(), "drained/s")
	disk := atRest(func() uint64 { return db.Metrics().DiskSpaceUsage() })
	report(b, float64(disk)/(1<<20), "MiB-disk-drained")
	report(b, float64(heap())/(1<<20), "MiB-heap-peak")
	require.NoError(b, db.Close())
}

func report(b *testing.B, n float64, unit string) { b.ReportMetric(n, unit) }

// watchHeap looks at the heap until it is asked for the largest that it saw.
func watchHeap() (peak func() uint64) {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	stop, result := make(chan struct{}), make(chan uint64)
	go func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		largest := uint64(0)
		for {
			metrics.Read(sample)
			largest = max(largest, sample[0].Value.Uint64())
			select {
			case <-tick.C:
			case <-stop:
				result <- largest
				return
			}
		}
	}()
	return func() uint64 {
		close(stop)
		return <-result
	}
}

// atRest waits until a size stays what it is.
func atRest(size func() uint64) (last uint64) {
	for same := 0; same < 20; {
		<-time.After(50 * time.Millisecond)
		if now := size(); now == last {
			same++
		} else {
			last, same = now, 0
		}
	}
	return last
}
