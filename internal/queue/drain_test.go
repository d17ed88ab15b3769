package queue

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
)

// feed is a lane with a way to wait for messages.
type feed struct {
	t     testing.TB
	s     *store.Store
	q     *Lane
	ready chan struct{}
}

func newFeed(t testing.TB, fs vfs.FS) *feed {
	t.Helper()
	return newFeedWith(t, store.Options{FS: fs})
}

func newFeedWith(t testing.TB, o store.Options) *feed {
	t.Helper()
	o.Dir, o.MemoryBytes = "data", store.MinMemoryBytes
	s, err := store.Open(o)
	require.NoError(t, err)
	f := &feed{t: t, s: s, ready: make(chan struct{}, 1)}
	f.q, err = openLane(ctx, crowded(s), layout, 1, Options{Ready: func(*store.Turn) {
		select {
		case f.ready <- struct{}{}:
		default:
		}
	}})
	require.NoError(t, err)
	f.do(f.q.Start)
	return f
}

func (f *feed) do(run func(*store.Turn)) {
	require.NoError(f.t, f.s.Do(ctx, store.OpFunc(func(t *store.Turn) error { run(t); return nil }), store.NoSync))
}

func (f *feed) put(d store.Durability, data []byte) {
	require.NoError(f.t, f.s.Do(ctx, &putOp{q: f.q, data: data}, d))
}

func (f *feed) take() (m *Message) {
	for {
		f.do(func(t *store.Turn) { m = f.q.Take(t, time.Time{}) })
		if m != nil {
			return m
		}
		<-f.ready
	}
}

func (f *feed) settle(m *Message) {
	require.NoError(f.t, f.s.Do(ctx, &settleOp{f.q, m}, store.NoSync))
}

func (f *feed) stats() (st Stats) {
	f.do(func(*store.Turn) { st = f.q.Stats() })
	return st
}

// TestADrainGivesTheDiskBack fills a queue with far more than the engine's
// buffers hold, and empties it.
func TestADrainGivesTheDiskBack(t *testing.T) {
	f := newFeed(t, vfs.NewMem())
	defer func() { require.NoError(t, f.s.Close()) }()
	const n, size = 8 << 10, 4 << 10
	random := rand.NewChaCha8([32]byte{})
	for range n {
		data := make([]byte, size)
		_, _ = random.Read(data) // never fails
		f.put(store.NoSync, data)
	}
	full := f.s.Stats().DiskBytes
	require.Greater(t, full, uint64(n*size/2))
	for range n {
		f.settle(f.take())
	}
	require.Eventually(t, func() bool { return f.s.Stats().DiskBytes < full/4 }, time.Minute, 10*time.Millisecond)
}

func TestNothingIsHandedOutBeyondTheFrontier(t *testing.T) {
	f := newFeed(t, vfs.NewMem())
	defer func() { require.NoError(t, f.s.Close()) }()
	const n = 6 * frontierStep
	for range n {
		f.put(store.NoSync, nil)
	}
	for range n {
		m, bound := f.take(), uint64(0)
		f.do(func(*store.Turn) { bound = f.q.meta.frontier })
		require.Less(t, m.Seq, bound)
	}
}

// TestOnlyTheHeadIsSuspected: after a crash, what cannot have been handed out
// costs no fsync, nor does what is put later.
func TestOnlyTheHeadIsSuspected(t *testing.T) {
	fs := vfs.NewCrashableMem()
	f := newFeed(t, fs)
	f.put(store.Sync, nil)
	left := fs.CrashClone(vfs.CrashCloneCfg{})
	require.NoError(t, f.s.Close())
	f = newFeed(t, left)
	defer func() { require.NoError(t, f.s.Close()) }()
	const n = 2 * windowMessages
	for range n {
		f.put(store.NoSync, nil)
	}
	for seq := range uint64(n + 1) {
		m := f.take()
		require.Equal(t, seq, m.Seq)
		require.Equal(t, seq == 0, m.Suspect, "%d", seq)
		f.settle(m)
	}
}

func TestDelayedMessagesComeInTheOrderOfTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed(t, vfs.NewMem())
		defer func() { require.NoError(t, f.s.Close()) }()
		const n = 3000
		start := time.Now()
		for i := range n { // the later one is put, the earlier it is due
			due := start.Add(time.Hour - time.Duration(i)*time.Second)
			require.NoError(t, f.s.Do(ctx, &delayOp{q: f.q, data: fmt.Append(nil, i), due: due}, store.NoSync))
		}
		for _, at := range []struct {
			after time.Duration
			ready uint64
		}{{time.Hour - n*time.Second, 0}, {time.Hour - n/2*time.Second, n / 2}, {time.Hour, n}} {
			<-time.After(at.after + time.Second/2 - time.Since(start))
			synctest.Wait()
			require.Equal(t, at.ready, f.stats().Ready)
		}
		for i := range n {
			m := f.take()
			require.Equal(t, fmt.Sprint(n-1-i), string(m.Data))
			f.settle(m)
		}
	})
}

// BenchmarkCycle puts, takes and settles one message at a time.
func BenchmarkCycle(b *testing.B) {
	f := newFeed(b, vfs.NewMem())
	defer func() { require.NoError(b, f.s.Close()) }()
	b.ReportAllocs()
	for b.Loop() {
		f.put(store.NoSync, make([]byte, 100))
		f.settle(f.take())
	}
}

// BenchmarkBacklog puts everything before it takes and settles it.
func BenchmarkBacklog(b *testing.B) {
	f := newFeed(b, vfs.NewMem())
	defer func() { require.NoError(b, f.s.Close()) }()
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		f.put(store.NoSync, make([]byte, 100))
	}
	for range b.N {
		f.settle(f.take())
	}
}
