package workqueue_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/workqueue"
	"github.com/stretchr/testify/require"
)

// BenchmarkCycle measures a message's whole life: published, delivered and
// acknowledged, by as many producers as consumers, alone or 100 at a time. Raw is a
// bare queue on Pebble: set, through a list in memory, read, delete. Acknowledgements
// and deletions are NoSync either way, which is the default of Ack.
func BenchmarkCycle(b *testing.B) {
	for _, d := range []pebblemq.Durability{pebblemq.NoSync, pebblemq.Sync} {
		for _, bytes := range []int{100, 1 << 10} {
			for _, batch := range []int{1, 100} {
				for _, workers := range []int{1, 4, 16} {
					c := cycle{durability: d, body: make([]byte, bytes), batch: batch, workers: workers}
					name := fmt.Sprintf("%v/bytes=%d/batch=%d/workers=%d", d, bytes, batch, workers)
					b.Run(name+"/raw", func(b *testing.B) { c.run(b, openRawQueue(b)) })
					b.Run(name+"/pebblemq", func(b *testing.B) { c.run(b, openQueue(b)) })
				}
			}
		}
	}
}

var payload = make([]byte, 100)

// cycle is one shape of the work.
type cycle struct {
	durability pebblemq.Durability
	body       []byte
	batch      int
	workers    int
}

// benchQueue is what the work is done with.
type benchQueue interface {
	publish(d pebblemq.Durability, body []byte, n int) error
	// consume calls f for each message, and settles those it was called for when
	// that says so. It ends with ctx.
	consume(ctx context.Context, f func(body []byte) (settle bool)) error
}

func (c cycle) run(b *testing.B, q benchQueue) {
	ctx, stop := context.WithCancel(bg)
	defer stop()
	var left, producing atomic.Int64
	left.Store(int64(b.N))
	producing.Store(int64(b.N))
	var workers sync.WaitGroup
	b.ReportAllocs()
	b.ResetTimer()
	for range c.workers {
		workers.Go(func() {
			for {
				rest := producing.Add(int64(-c.batch)) + int64(c.batch)
				if rest <= 0 {
					return
				}
				if err := q.publish(c.durability, c.body, int(min(rest, int64(c.batch)))); err != nil {
					b.Error(err)
				}
			}
		})
		workers.Go(func() {
			n := 0
			err := q.consume(ctx, func([]byte) bool {
				n++
				last := left.Add(-1) == 0
				if last {
					stop()
				}
				return last || n%c.batch == 0
			})
			if err != nil {
				b.Error(err)
			}
		})
	}
	workers.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}

// brokerQueue is a queue of ours.
type brokerQueue struct{ broker *workqueue.Broker }

func openQueue(b *testing.B) benchQueue {
	db, err := pebblemq.Open(b.TempDir(), nil)
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, db.Close()) })
	return queueIn(b, db)
}

func queueIn(b *testing.B, db *pebblemq.DB) benchQueue {
	broker := openBroker(b, db)
	declare(b, broker, "q")
	return brokerQueue{broker}
}

func (q brokerQueue) publish(d pebblemq.Durability, body []byte, n int) error {
	ctx := pebblemq.WithDurability(bg, d)
	if n == 1 {
		return q.broker.Publish(ctx, "", "q", workqueue.Message{Body: body})
	}
	batch := make([]workqueue.Publishing, n)
	for i := range batch {
		batch[i] = workqueue.Publishing{Key: "q", Message: workqueue.Message{Body: body}}
	}
	return q.broker.PublishBatch(ctx, "", batch)
}

func (q brokerQueue) consume(ctx context.Context, f func(body []byte) bool) error {
	jobs, err := q.broker.Queue(bg, "q")
	if err != nil {
		return err
	}
	c, err := jobs.Consume(bg, &workqueue.ConsumeOptions{Prefetch: 256})
	if err != nil {
		return err
	}
	var latest *workqueue.Delivery
	for {
		d, err := c.Next(ctx)
		if errors.Is(err, context.Canceled) {
			err = nil
			if latest != nil {
				err = latest.AckUpTo(bg)
			}
			return errors.Join(err, c.Close())
		}
		if err != nil {
			return err
		}
		if latest = d; f(d.Body) {
			if err := d.AckUpTo(bg); err != nil {
				return err
			}
			latest = nil
		}
	}
}

// rawQueue is a bare queue on Pebble. The list in memory is as long as the backlog.
type rawQueue struct {
	db   *pebble.DB
	list chan uint64
	next atomic.Uint64
}

func openRaw(b *testing.B, dir string) *pebble.DB {
	db, err := pebble.Open(dir, &pebble.Options{
		FormatMajorVersion: pebble.FormatTableFormatV6, MemTableStopWritesThreshold: 4, L0StopWritesThreshold: 24,
		Logger: silent{},
	})
	require.NoError(b, err)
	return db
}

func openRawQueue(b *testing.B) benchQueue {
	db := openRaw(b, b.TempDir())
	b.Cleanup(func() { require.NoError(b, db.Close()) })
	return &rawQueue{db: db, list: make(chan uint64, 1<<16)}
}

func rawKey(n uint64) []byte { return binary.BigEndian.AppendUint64([]byte("q"), n) }

func (q *rawQueue) publish(d pebblemq.Durability, body []byte, n int) error {
	o := pebble.NoSync
	if d == pebblemq.Sync {
		o = pebble.Sync
	}
	last := q.next.Add(uint64(n))
	batch := q.db.NewBatch()
	for i := range uint64(n) {
		if err := batch.Set(rawKey(last-i), body, nil); err != nil {
			return err
		}
	}
	if err := batch.Commit(o); err != nil {
		return err
	}
	for i := range uint64(n) {
		q.list <- last - i
	}
	return batch.Close()
}

func (q *rawQueue) consume(ctx context.Context, f func(body []byte) bool) error {
	batch := q.db.NewBatch()
	settle := func() error {
		err := batch.Commit(pebble.NoSync)
		batch = q.db.NewBatch()
		return err
	}
	for {
		select {
		case n := <-q.list:
			v, closer, err := q.db.Get(rawKey(n))
			if err != nil {
				return err
			}
			body := append([]byte(nil), v...)
			if err := errors.Join(closer.Close(), batch.Delete(rawKey(n), nil)); err != nil {
				return err
			}
			if f(body) {
				if err := settle(); err != nil {
					return err
				}
			}
		case <-ctx.Done():
			return settle()
		}
	}
}

type silent struct{}

func (silent) Infof(string, ...any)  {}
func (silent) Errorf(string, ...any) {}
func (silent) Fatalf(format string, args ...any) {
	panic(fmt.Sprintf(format, args...))
}
