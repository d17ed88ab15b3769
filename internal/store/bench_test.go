package store_test

import (
	"context"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
)

type setOp struct {
	key   []byte
	value []byte
}

func (o *setOp) Run(t *store.Turn) error { t.Set(o.key, o.value); return nil }
func (o *setOp) Undo()                   {}
func (o *setOp) Visible(*store.Turn)     {}

func rawOptions() *pebble.Options {
	return &pebble.Options{
		FormatMajorVersion: pebble.FormatTableFormatV6, MemTableSize: 4 << 20, MemTableStopWritesThreshold: 4,
		L0StopWritesThreshold: 24, CacheSize: 8 << 20, Logger: quiet{},
	}
}

type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(string, ...any) {}

func benchKey(buf []byte, n uint64) []byte {
	buf[0] = byte(store.KindApp)
	binary.BigEndian.PutUint64(buf[1:], n)
	return buf
}

func spread(b *testing.B, workers int, f func(n uint64)) {
	var next atomic.Uint64
	var wg sync.WaitGroup
	b.ReportAllocs()
	b.ResetTimer()
	for range workers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for {
				n := next.Add(1)
				if n > uint64(b.N) {
					return
				}
				f(n)
			}
		}()
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "op/s")
}

func BenchmarkSet(b *testing.B) {
	value := make([]byte, 100)
	for _, mode := range []struct {
		name string
		d    store.Durability
		w    *pebble.WriteOptions
	}{{"NoSync", store.NoSync, pebble.NoSync}, {"Sync", store.Sync, pebble.Sync}} {
		for _, workers := range []int{1, 16, 64, 256} {
			name := mode.name + "/" + itoa(workers)
			b.Run("raw/"+name, func(b *testing.B) {
				db, err := pebble.Open(b.TempDir(), rawOptions())
				if err != nil {
					b.Fatal(err)
				}
				defer db.Close()
				spread(b, workers, func(n uint64) {
					if err := db.Set(benchKey(make([]byte, 9), n), value, mode.w); err != nil {
						b.Error(err)
					}
				})
			})
			b.Run("kernel/"+name, func(b *testing.B) {
				s, err := store.Open(store.Options{Dir: b.TempDir()})
				if err != nil {
					b.Fatal(err)
				}
				defer s.Close()
				spread(b, workers, func(n uint64) {
					if err := s.Do(context.Background(), &setOp{benchKey(make([]byte, 9), n), value}, mode.d); err != nil {
						b.Error(err)
					}
				})
			})
		}
	}
}

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + string(rune('0'+n%10))
}

// BenchmarkOpenMemory opens and closes stores in memory, and reports what an
// idle one holds, beside the bare engine.
func BenchmarkOpenMemory(b *testing.B) {
	b.Run("raw", func(b *testing.B) {
		benchOpen(b, func() (io.Closer, error) {
			o := rawOptions()
			o.FS = vfs.NewMem()
			return pebble.Open("mem", o)
		})
	})
	b.Run("kernel", func(b *testing.B) {
		benchOpen(b, func() (io.Closer, error) { return store.OpenMemory(store.Options{}) })
	})
}

// BenchmarkOpenDisk does so with a directory that holds a store.
func BenchmarkOpenDisk(b *testing.B) {
	b.Run("raw", func(b *testing.B) {
		dir := b.TempDir()
		benchOpen(b, func() (io.Closer, error) { return pebble.Open(dir, rawOptions()) })
	})
	b.Run("kernel", func(b *testing.B) {
		dir := b.TempDir()
		benchOpen(b, func() (io.Closer, error) { return store.Open(store.Options{Dir: dir}) })
	})
}

func benchOpen(b *testing.B, open func() (io.Closer, error)) {
	cycle := func(idle func()) {
		s, err := open()
		if err != nil {
			b.Fatal(err)
		}
		idle()
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
	cycle(func() {}) // the directory exists, and so does what the engine makes once
	before, goroutines := storetest.Heap(), runtime.NumGoroutine()
	var grown, spawned int
	cycle(func() { grown, spawned = int(storetest.Heap()-before), runtime.NumGoroutine()-goroutines })
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		cycle(func() {})
	}
	b.ReportMetric(float64(grown), "idle-heap-B")
	b.ReportMetric(float64(spawned), "goroutines")
}

// BenchmarkGetCold reads keys at random from tables that the cache cannot hold, so each
// read takes a block from a file.
func BenchmarkGetCold(b *testing.B) {
	const keys = 100_000
	o := store.Options{Dir: b.TempDir(), MemoryBytes: store.MinMemoryBytes, NoCompactions: true}
	fill := o
	fill.MemoryBytes = 256 << 20
	s, err := store.Open(fill)
	if err != nil {
		b.Fatal(err)
	}
	value := make([]byte, 400)
	rng := rand.NewChaCha8([32]byte{})
	for n := range uint64(keys) {
		_, _ = rng.Read(value)
		if err := s.Do(context.Background(), &setOp{benchKey(make([]byte, 9), n), value}, store.NoSync); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	if s, err = store.Open(o); err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	key := make([]byte, 9)
	b.ReportAllocs()
	for n := uint64(1); b.Loop(); n++ {
		if v, err := s.Get(ctx, benchKey(key, n*2654435761%keys)); err != nil || v == nil {
			b.Fatal(v, err)
		}
	}
}
