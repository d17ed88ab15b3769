package visibility_test

import (
	"encoding/binary"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/visibility"
)

const benchBody = 100

// BenchmarkCycle sends, receives and deletes, b.N messages in batches, and
// does the same to bare Pebble for comparison: set, read the head, delete.
func BenchmarkCycle(b *testing.B) {
	for _, sync := range []bool{false, true} {
		for _, workers := range []int{1, 4, 16} {
			for _, batch := range []int{1, 10, 100} {
				name := fmt.Sprintf("sync=%v/workers=%d/batch=%d", sync, workers, batch)
				b.Run(name+"/queue", func(b *testing.B) { benchQueue(b, sync, workers, batch) })
				b.Run(name+"/pebble", func(b *testing.B) { benchPebble(b, sync, workers, batch) })
			}
		}
	}
}

// benchDir is on a disk, which the default for temporary files may not be.
func benchDir(b *testing.B) string {
	dir, err := os.MkdirTemp(os.Getenv("PEBBLEMQ_BENCH_DIR"), "bench")
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, os.RemoveAll(dir)) })
	return dir
}

// share has the workers do n messages in batches.
func share(b *testing.B, workers, batch int, cycle func(worker, n int) error) {
	var left atomic.Int64
	left.Store(int64(b.N))
	defer watchHeap(b)()
	var wg sync.WaitGroup
	b.ResetTimer()
	for w := range workers {
		wg.Go(func() {
			for {
				rest := left.Add(-int64(batch)) + int64(batch)
				if rest <= 0 {
					return
				}
				if err := cycle(w, min(batch, int(rest))); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}

func benchQueue(b *testing.B, sync bool, workers, batch int) {
	o := &pebblemq.Options{Durability: pebblemq.NoSync}
	if sync {
		o.Durability = pebblemq.Sync
	}
	db, err := pebblemq.Open(benchDir(b), o)
	require.NoError(b, err)
	defer func() { require.NoError(b, db.Close()) }()
	q := open(b, db, "q", nil)
	body := make([]byte, benchBody)
	share(b, workers, batch, func(_, n int) error {
		if n == 1 {
			return benchOne(q, body)
		}
		messages := make([]visibility.Message, n)
		for i := range messages {
			messages[i].Body = body
		}
		if _, err := q.SendBatch(ctx, messages, nil); err != nil {
			return err
		}
		for n > 0 {
			got, err := q.Receive(ctx, &visibility.ReceiveOptions{Max: n, Wait: time.Minute})
			if err != nil {
				return err
			}
			receipts := make([]visibility.Receipt, len(got))
			for i, m := range got {
				receipts[i] = m.Receipt
			}
			if _, err := q.DeleteBatch(ctx, receipts, nil); err != nil {
				return err
			}
			n -= len(got)
		}
		return nil
	})
}

func benchOne(q *visibility.Queue, body []byte) error {
	if _, err := q.Send(ctx, visibility.Message{Body: body}); err != nil {
		return err
	}
	got, err := q.Receive(ctx, &visibility.ReceiveOptions{Wait: time.Minute})
	if err != nil {
		return err
	}
	return q.Delete(ctx, got[0].Receipt)
}

type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(string, ...any) {}

// benchPebble gives each worker keys of its own, for want of a queue. The reads
// are bounded below, so that none has to pass what was deleted. Deletions are
// not synced, as those of the queue are not.
func benchPebble(b *testing.B, sync bool, workers, batch int) {
	db, err := pebble.Open(benchDir(b), &pebble.Options{Logger: quiet{}})
	require.NoError(b, err)
	defer func() { require.NoError(b, db.Close()) }()
	write := pebble.NoSync
	if sync {
		write = pebble.Sync
	}
	body := make([]byte, benchBody)
	next := make([]uint64, workers)
	share(b, workers, batch, func(w, n int) error {
		key := func(i int) []byte {
			return binary.BigEndian.AppendUint64([]byte{byte(w)}, next[w]+uint64(i))
		}
		set := db.NewBatch()
		for i := range n {
			if err := set.Set(key(i), body, nil); err != nil {
				return err
			}
		}
		if err := set.Commit(write); err != nil {
			return err
		}
		it, err := db.NewIter(&pebble.IterOptions{LowerBound: key(0), UpperBound: []byte{byte(w) + 1}})
		if err != nil {
			return err
		}
		del := db.NewBatch()
		for ok := it.First(); ok; ok = it.Next() {
			if err := del.Delete(it.Key(), nil); err != nil {
				return err
			}
		}
		if err := it.Close(); err != nil {
			return err
		}
		next[w] += uint64(n)
		return del.Commit(pebble.NoSync)
	})
}
