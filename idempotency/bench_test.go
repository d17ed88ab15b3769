package idempotency_test

import (
	"context"
	"encoding/binary"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/idempotency"
	"github.com/stretchr/testify/require"
)

// stored is how many keys there are before the measurement begins. The figures
// in the documents are with 10 M: PEBBLEMQ_BENCH_KEYS=10000000.
func stored(b *testing.B) int {
	text := os.Getenv("PEBBLEMQ_BENCH_KEYS")
	if text == "" {
		return 100_000
	}
	n, err := strconv.Atoi(text)
	require.NoError(b, err)
	return n
}

// spread makes keys that are spread over the key space, as ids are. Those up to
// the number of stored keys are stored.
func spread(i int) []byte {
	x := uint64(i) * 0x9e3779b97f4a7c15 // odd, so no two are the same
	x ^= x >> 32
	x *= 0xd6e8feb86659fd93
	return append(binary.BigEndian.AppendUint64(nil, x), "-4f1e-payment"...)
}

// benchMemory holds the filters of 10 M keys, 12 MiB, and a part of the index.
const benchMemory = 128 << 20

var benchValue = make([]byte, 100)

func runs(context.Context, idempotency.Claim) ([]byte, error) { return benchValue, nil }

func benchKeys(b *testing.B, c *idempotency.Config) *idempotency.Namespace {
	b.Helper()
	db, err := pebblemq.Open(b.TempDir(), &pebblemq.Options{MemoryBytes: benchMemory})
	require.NoError(b, err)
	b.Cleanup(func() { _ = db.Close() })
	k, err := idempotency.OpenNamespace(context.Background(), db, "bench", c)
	require.NoError(b, err)
	completeMany(b, db, k, stored(b))
	atRest(b, func() int64 { return int64(db.Stats().DiskBytes) })
	return k
}

// completeMany completes the first n keys.
func completeMany(b *testing.B, db *pebblemq.DB, k *idempotency.Namespace, n int) {
	b.Helper()
	for i := 0; i < n; {
		err := db.Update(nosync, func(tx *pebblemq.Tx) error {
			for end := min(i+1000, n); i < end; i++ {
				if err := k.In(tx).Complete(spread(i), benchValue); err != nil {
					return err
				}
			}
			return nil
		})
		require.NoError(b, err)
	}
}

// atRest waits until the engine has nothing left to tidy up.
func atRest(b *testing.B, size func() int64) {
	b.Helper()
	for last, same := size(), 0; same < 20; {
		<-time.After(100 * time.Millisecond)
		if now := size(); now == last {
			same++
		} else {
			last, same = now, 0
		}
	}
}

func benchRaw(b *testing.B) *pebble.DB {
	b.Helper()
	db, err := pebble.Open(b.TempDir(), &pebble.Options{
		FormatMajorVersion: pebble.FormatTableFormatV6, CacheSize: benchMemory / 2, MemTableSize: benchMemory / 4,
	})
	require.NoError(b, err)
	b.Cleanup(func() { _ = db.Close() })
	for i, n := 0, stored(b); i < n; {
		batch := db.NewBatch()
		for end := min(i+1000, n); i < end; i++ {
			_ = batch.Set(spread(i), benchValue, nil)
			_ = batch.Set(append([]byte{255}, spread(i)...), nil, nil)
		}
		require.NoError(b, batch.Commit(pebble.NoSync))
	}
	atRest(b, func() int64 { return int64(db.Metrics().DiskSpaceUsage()) })
	return db
}

// BenchmarkSeen measures a lookup, of a key that is there and of one that is not,
// beside a Get of the engine with its own defaults.
func BenchmarkSeen(b *testing.B) {
	n := stored(b)
	k, raw := benchKeys(b, nil), benchRaw(b)
	for name, from := range map[string]int{"hit": 0, "miss": n} {
		b.Run("pebblemq/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				ok, err := k.Seen(bg, spread(from+i*7919%n))
				if err != nil || ok != (from == 0) {
					b.Fatal(ok, err)
				}
			}
		})
		b.Run("raw/"+name, func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				_, c, err := raw.Get(spread(from + i*7919%n))
				if err == nil {
					_ = c.Close()
				} else if from == 0 {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkDo measures a key that is new, with its claim, and one that is stored.
// Beside it, what a new one costs raw: a Get, a synced Set for the claim, and a
// Set of the result with its expiry entry. A claim is always synced.
func BenchmarkDo(b *testing.B) {
	n := stored(b)
	k, raw := benchKeys(b, nil), benchRaw(b)
	var next atomic.Int64
	next.Store(int64(n))
	fresh := func() []byte { return spread(int(next.Add(1))) }
	for _, goroutines := range []int{1, 64} {
		for _, d := range []pebblemq.Durability{pebblemq.Sync, pebblemq.NoSync} {
			ctx := pebblemq.WithDurability(bg, d)
			name := "/miss/" + d.String() + "/" + strconv.Itoa(goroutines)
			b.Run("pebblemq"+name, func(b *testing.B) {
				b.ReportAllocs()
				parallel(b, goroutines, func(int) error {
					_, err := k.Do(ctx, fresh(), runs, nil)
					return err
				})
			})
			wo := pebble.Sync
			if d == pebblemq.NoSync {
				wo = pebble.NoSync
			}
			b.Run("raw"+name, func(b *testing.B) { parallel(b, goroutines, func(int) error { return rawDo(raw, fresh(), wo) }) })
		}
		b.Run("pebblemq/hit/"+strconv.Itoa(goroutines), func(b *testing.B) {
			b.ReportAllocs()
			parallel(b, goroutines, func(i int) error { _, err := k.Do(bg, spread(i*7919%n), runs, nil); return err })
		})
	}
}

// BenchmarkCache measures the lookup of a few keys that come again and again, with the
// cache and without.
func BenchmarkCache(b *testing.B) {
	const hot = 1000
	for name, bytes := range map[string]int{"on": 0, "off": -1} {
		k := benchKeys(b, &idempotency.Config{CacheBytes: bytes})
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if ok, err := k.Seen(bg, spread(i%hot)); err != nil || !ok {
					b.Fatal(ok, err)
				}
			}
		})
	}
}

// BenchmarkExpiry lets all stored keys expire at once, between two openings. It measures the
// time to give back the space of each, and the cost of a lookup and of a walk over the namespace
// right after.
func BenchmarkExpiry(b *testing.B) {
	n, dir := stored(b), b.TempDir()
	var offset time.Duration
	open := func() (*pebblemq.DB, *idempotency.Namespace) {
		later := offset
		db, err := pebblemq.Open(dir, &pebblemq.Options{
			MemoryBytes: benchMemory, Clock: func() time.Time { return time.Now().Add(later) },
		})
		require.NoError(b, err)
		k, err := idempotency.OpenNamespace(context.Background(), db, "bench", nil)
		require.NoError(b, err)
		return db, k
	}
	for b.Loop() {
		b.StopTimer()
		db, k := open()
		completeMany(b, db, k, n)
		require.NoError(b, db.Close())
		offset += 2 * idempotency.DefaultExpiry
		b.StartTimer()
		begin := time.Now()
		db, k = open()
		for left := uint64(n); left > 0; {
			var err error
			left, err = countOf(k)
			require.NoError(b, err)
		}
		b.ReportMetric(float64(time.Since(begin).Nanoseconds())/float64(n), "ns/key")
		begin = time.Now()
		const lookups = 1000
		for i := range lookups {
			seen, err := k.Seen(bg, spread(i))
			require.NoError(b, err)
			require.False(b, seen)
		}
		b.ReportMetric(float64(time.Since(begin).Nanoseconds())/lookups, "ns/lookup")
		begin = time.Now()
		for _, err := range k.Entries(bg, nil) {
			require.NoError(b, err)
		}
		b.ReportMetric(float64(time.Since(begin).Nanoseconds()), "ns/walk")
		require.NoError(b, db.Close())
	}
}

func rawDo(db *pebble.DB, key []byte, wo *pebble.WriteOptions) error {
	if _, c, err := db.Get(key); err == nil {
		_ = c.Close()
	}
	if err := db.Set(key, benchValue[:30], pebble.Sync); err != nil {
		return err
	}
	batch := db.NewBatch()
	_ = batch.Set(key, benchValue, nil)
	_ = batch.Set(append([]byte{255}, key...), nil, nil)
	return batch.Commit(wo)
}

// parallel runs f b.N times on that many goroutines.
func parallel(b *testing.B, goroutines int, f func(i int) error) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				if err := f(int(i)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}
