package log_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/log"
)

// The raw figures are of the engine with the kernel's options, written to by as
// many goroutines, in the shape that the log stores: one key a batch. Batches are
// encoded beforehand, but for those of the benchmarks named encoding.
func rawEngine(b *testing.B, dir string) *pebble.DB {
	const memory = 16 << 20
	o := &pebble.Options{
		CacheSize:                   memory / 2,
		FormatMajorVersion:          pebble.FormatTableFormatV6,
		Logger:                      quiet{},
		MemTableSize:                memory / 4,
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       4,
		L0StopWritesThreshold:       24,
		MaxOpenFiles:                200,
	}
	o.Experimental.FileCacheShards = 1
	o.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionFastest })
	db, err := pebble.Open(dir, o)
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, db.Close()) })
	return db
}

type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(string, ...any) {}

const recordSize = 100

func payload(i int) []byte { return payloadOf(i, recordSize) }

// payloadOf returns bytes that nothing compresses: otherwise the tables of the raw
// engine, whose batches are the same each time, would shrink more than the log's.
func payloadOf(i, size int) []byte {
	v := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{byte(i), byte(i >> 8), byte(i >> 16)}).Read(v)
	return v
}

// rawBatch is a value of the size that n records are stored in.
func rawBatch(n, size int) []byte {
	return payloadOf(0, 38+n*(10+size))
}

// encodePlainly puts records one behind the other, at the size of rawBatch: what
// anyone who stores batches has to do.
func encodePlainly(b []byte, records []log.Record) []byte {
	b = append(b, make([]byte, 38)...)
	for i := range records {
		b = binary.BigEndian.AppendUint64(b, uint64(i))
		b = binary.BigEndian.AppendUint16(b, uint16(len(records[i].Value)))
		b = append(b, records[i].Value...)
	}
	return b
}

func rawKey(n uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{0x10, 0, 0, 0, 1, 0, 0, 0, 0}, n)
}

// spread runs f b.N times on several goroutines.
func spread(b *testing.B, workers, perCall, size int, f func(n uint64) error) {
	var next atomic.Uint64
	var wg sync.WaitGroup
	b.ReportAllocs()
	b.SetBytes(int64(perCall * size))
	b.ResetTimer()
	for range workers {
		wg.Go(func() {
			for n := next.Add(1); n <= uint64(b.N); n = next.Add(1) {
				if err := f(n); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)*float64(perCall)/b.Elapsed().Seconds()/1e3, "krec/s")
}

func BenchmarkAppend(b *testing.B) {
	for _, mode := range []struct {
		name string
		d    pebblemq.Durability
		w    *pebble.WriteOptions
	}{{"NoSync", pebblemq.NoSync, pebble.NoSync}, {"Sync", pebblemq.Sync, pebble.Sync}} {
		for _, perCall := range []int{1, 100, 1000} {
			for _, size := range []int{recordSize, 1 << 10} {
				for _, workers := range []int{1, 16, 64, 256} {
					b.Run(fmt.Sprintf("%s/%dx%dB/workers=%d", mode.name, perCall, size, workers), func(b *testing.B) {
						b.Run("raw", func(b *testing.B) {
							db, v := rawEngine(b, b.TempDir()), rawBatch(perCall, size)
							spread(b, workers, perCall, size, func(n uint64) error { return db.Set(rawKey(n), v, mode.w) })
						})
						b.Run("encoding", func(b *testing.B) {
							db, records := rawEngine(b, b.TempDir()), benchRecordsOf(perCall, size)
							buffers := sync.Pool{New: func() any { return new([]byte) }}
							spread(b, workers, perCall, size, func(n uint64) error {
								buf := buffers.Get().(*[]byte)
								defer buffers.Put(buf)
								*buf = encodePlainly((*buf)[:0], records)
								return db.Set(rawKey(n), *buf, mode.w)
							})
						})
						b.Run("log", func(b *testing.B) {
							topic, records := benchTopic(b), benchRecordsOf(perCall, size)
							ctx := pebblemq.WithDurability(context.Background(), mode.d)
							spread(b, workers, perCall, size, func(uint64) error {
								_, err := topic.Append(ctx, records...)
								return err
							})
						})
					})
				}
			}
		}
	}
}

func benchTopic(b *testing.B) *log.Topic {
	db, err := pebblemq.Open(b.TempDir(), nil)
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, db.Close()) })
	topic, err := log.OpenTopic(ctx, db, "t", nil)
	require.NoError(b, err)
	return topic
}

func benchRecords(n int) []log.Record { return benchRecordsOf(n, recordSize) }

func benchRecordsOf(n, size int) []log.Record {
	records := make([]log.Record, n)
	for i := range records {
		records[i].Value = payloadOf(i, size)
	}
	return records
}

const replayed = 1_000_000

func BenchmarkReplay(b *testing.B) {
	for _, perCall := range []int{100, 1000} {
		b.Run(fmt.Sprintf("%d/raw", perCall), func(b *testing.B) {
			db, v := rawEngine(b, b.TempDir()), rawBatch(perCall, recordSize)
			for n := range replayed / perCall {
				require.NoError(b, db.Set(rawKey(uint64(n)), v, pebble.NoSync))
			}
			require.NoError(b, db.Flush())
			replay(b, func() int { return rawReplay(b, db, perCall) })
		})
		b.Run(fmt.Sprintf("%d/log", perCall), func(b *testing.B) {
			topic, ctx := benchTopic(b), pebblemq.WithDurability(context.Background(), pebblemq.NoSync)
			records := benchRecords(perCall)
			for range replayed / perCall {
				_, err := topic.Append(ctx, records...)
				require.NoError(b, err)
			}
			replay(b, func() int {
				r, err := topic.NewReader(0, log.Start())
				require.NoError(b, err)
				n := 0
				for rec, err := range r.Records(ctx) {
					if err != nil {
						b.Fatal(err)
					}
					if n++; rec.Offset == replayed-1 {
						break
					}
				}
				return n
			})
		})
		b.Run(fmt.Sprintf("%d/group", perCall), func(b *testing.B) {
			topic, ctx := benchTopic(b), pebblemq.WithDurability(context.Background(), pebblemq.NoSync)
			records := benchRecords(perCall)
			for range replayed / perCall {
				_, err := topic.Append(ctx, records...)
				require.NoError(b, err)
			}
			g, err := topic.OpenGroup(ctx, "g", nil)
			require.NoError(b, err)
			m, err := g.Join(ctx, nil)
			require.NoError(b, err)
			replay(b, func() int {
				require.NoError(b, g.Seek(ctx, log.Start()))
				n := 0
				for n < replayed {
					found, err := m.Poll(ctx, 500)
					require.NoError(b, err)
					require.NoError(b, m.Commit(ctx, found[len(found)-1]))
					n += len(found)
				}
				return n
			})
		})
	}
}

// rawReplay copies each batch out and touches each record of it.
func rawReplay(b *testing.B, db *pebble.DB, perCall int) int {
	it, err := db.NewIter(nil)
	require.NoError(b, err)
	n := 0
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		require.NoError(b, err)
		v = append([]byte(nil), v...)
		n += perCall
		sink += len(v)
	}
	require.NoError(b, it.Close())
	return n
}

var sink int

func replay(b *testing.B, f func() int) {
	b.ReportAllocs()
	b.SetBytes(replayed * recordSize)
	b.ResetTimer()
	for b.Loop() {
		require.Equal(b, replayed, f())
	}
	b.ReportMetric(float64(b.N)*replayed/b.Elapsed().Seconds()/1e3, "krec/s")
}

// BenchmarkCommit is what Run pays for each record.
func BenchmarkCommit(b *testing.B) {
	topic, ctx := benchTopic(b), context.Background()
	_, err := topic.Append(ctx, log.Record{Value: payload(0)})
	require.NoError(b, err)
	g, err := topic.OpenGroup(ctx, "g", nil)
	require.NoError(b, err)
	m, err := g.Join(ctx, nil)
	require.NoError(b, err)
	found, err := m.Poll(ctx, 1)
	require.NoError(b, err)
	spread(b, 1, 1, recordSize, func(uint64) error { return m.Commit(ctx, found[0]) })
}
