package store_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
)

const (
	fullReserve = 17 << 20 // of a small store
	plenty      = 1 << 30
)

func quotaFS(max int, lie bool) (*storetest.FS, *storetest.Quota) {
	fs, q := storetest.NewFS(vfs.NewCrashableMem()), storetest.NewQuota(max, lie)
	fs.SetHook(q.Hook)
	fs.Usage = q.Usage
	return fs, q
}

// freeing is an op that makes room.
type freeing struct{ *op }

func (freeing) Frees() {}

// fillUp appends until the store refuses.
func fillUp(l *ledger) error {
	for i := 0; ; i++ {
		limited, cancel := context.WithTimeout(ctx, time.Hour)
		err := l.mix(limited, i)
		cancel()
		if err != nil {
			return err
		}
	}
}

func TestFullDiskIsRefusedEarlyAndHeals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs, q := quotaFS(fullReserve+4<<20, false)
		s := openStore(t, small(fs))
		l, err := openLedger(s, entrySize, 0)
		require.NoError(t, err)

		err = fillUp(l)
		require.ErrorIs(t, err, store.ErrDiskFull)
		require.NotErrorIs(t, err, store.ErrUnknownOutcome, "the engine never met the end of the disk")
		require.True(t, s.Stats().DiskFull)
		free := freeing{set("freed", "1")}
		require.NoError(t, s.Do(ctx, free, store.Sync), "what makes room is let in")
		require.NoError(t, s.Go(ctx, free, store.Sync, func(err error) { require.NoError(t, err) }))
		require.Equal(t, "1", get(t, s, "freed"))

		// The rest of the disk goes to somebody else.
		q.Resize(q.Used() + fullReserve/4)
		require.ErrorIs(t, s.Do(ctx, free, store.Sync), store.ErrDiskFull)

		// Close and Open work on what is left.
		require.NoError(t, s.Close())
		s = openStore(t, small(fs))
		require.False(t, s.Unclean())
		l, err = openLedger(s, entrySize, l.synced())
		require.NoError(t, err)
		require.ErrorIs(t, l.add(ctx, store.Sync), store.ErrDiskFull)
		require.Equal(t, "1", get(t, s, "freed"))

		q.Resize(plenty)
		<-time.After(time.Second)
		require.False(t, s.Stats().DiskFull)
		require.NoError(t, l.add(ctx, store.Sync))
		require.NoError(t, l.disorder)
		require.NoError(t, s.Close())
	})
}

// The file system promises space that is not there, so the engine meets ENOSPC
// wherever it happens to write.
func TestUnforeseenFullDiskHeals(t *testing.T) {
	step := 171
	if underRace {
		step = 500
	}
	for kib := 300; kib < 3000; kib += step {
		synctest.Test(t, func(t *testing.T) {
			fs, q := quotaFS(kib<<10, true)
			s := openStore(t, small(fs))
			l, err := openLedger(s, entrySize, 0)
			require.NoError(t, err)
			begin := time.Now()
			require.ErrorIs(t, fillUp(l), store.ErrDiskFull, "%d KiB", kib)
			require.Less(t, time.Since(begin), 5*time.Second, "callers are told, not left waiting")
			require.ErrorIs(t, l.add(ctx, store.Sync), store.ErrDiskFull)
			<-time.After(time.Hour)
			require.False(t, s.Stats().Failed, "%v", s.Cause())
			require.Equal(t, l.synced() > 0, hasEntry(t, s, 1), "reads go on")
			requireAnswers(t, s)

			q.Resize(plenty)
			<-time.After(5 * time.Second)
			require.NoError(t, l.add(ctx, store.Sync), "%d KiB", kib)
			require.NoError(t, l.disorder)
			require.Equal(t, l.next, l.visible, "what was accepted before has become visible")
			require.NoError(t, s.Close())
			s = openStore(t, small(fs))
			_, err = openLedger(s, entrySize, l.next)
			require.NoError(t, err)
			require.NoError(t, s.Close())
		})
	}
}

// A file system that finds room only when it syncs refuses the syncs of tables.
func TestTablesThatFindNoRoomWhenSyncedAreWrittenAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := storetest.NewFS(vfs.NewCrashableMem())
		var full atomic.Bool
		fs.SetHook(func(c storetest.Call) error {
			if full.Load() && c.Op == storetest.OpSync && c.Class == storetest.ClassTable {
				return syscall.ENOSPC
			}
			return nil
		})
		s := openStore(t, small(fs))
		defer func() { require.NoError(t, s.Close()) }()
		l, err := openLedger(s, entrySize, 0)
		require.NoError(t, err)

		full.Store(true)
		require.ErrorIs(t, fillUp(l), store.ErrDiskFull)
		<-time.After(time.Hour)
		require.False(t, s.Stats().Failed)
		for n := 0; !s.Stats().DiskFull; n++ { // in the moment of a retry it may look well
			require.Less(t, n, 100)
			<-time.After(100 * time.Millisecond)
		}

		full.Store(false)
		<-time.After(5 * time.Second)
		require.NoError(t, l.add(ctx, store.Sync))
		require.NoError(t, l.disorder)
		require.False(t, s.Stats().DiskFull)
	})
}

// Those who wait for room behind others are told as well: no room comes while the
// engine is stuck.
func TestWritersWhoWaitForRoomAreToldOfAFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs, q := quotaFS(1<<20, true)
		s := openStore(t, small(fs))
		begin := time.Now()
		var writers sync.WaitGroup
		for w := range 200 {
			writers.Go(func() {
				for i := 0; ; i++ {
					limited, cancel := context.WithTimeout(ctx, time.Hour)
					err := s.Do(limited, set(fmt.Sprint(w, i), string(make([]byte, 16<<10))), store.NoSync)
					cancel()
					if err != nil {
						if !errors.Is(err, store.ErrDiskFull) {
							t.Errorf("writer %d: %v", w, err)
						}
						return
					}
				}
			})
		}
		writers.Wait()
		require.Less(t, time.Since(begin), 5*time.Second)
		q.Resize(plenty)
		<-time.After(5 * time.Second)
		require.NoError(t, s.Do(ctx, set("k", "v"), store.Sync))
		require.NoError(t, s.Close())
	})
}

// fullManifest has no room for the manifest while it is switched on.
type fullManifest struct {
	on    atomic.Bool
	fault atomic.Pointer[error] // instead
	stuck chan struct{}         // closed when the engine met it
	once  sync.Once
}

func (f *fullManifest) hook(c storetest.Call) error {
	if c.Class != storetest.ClassManifest || c.Op != storetest.OpWrite || !f.on.Load() {
		return nil
	}
	f.once.Do(func() { close(f.stuck) })
	if err := f.fault.Load(); err != nil {
		return *err
	}
	return syscall.ENOSPC
}

// openWithFullManifest returns a store whose engine holds the lock of its
// manifest, under which it also counts and lets go of views, until there is room.
func openWithFullManifest(t *testing.T) (*store.Store, *fullManifest) {
	full := &fullManifest{stuck: make(chan struct{})}
	fs := storetest.NewFS(vfs.NewCrashableMem())
	fs.SetHook(full.hook)
	s := openStore(t, small(fs))
	require.Positive(t, s.Stats().DiskBytes)
	full.on.Store(true)
	go func() { _ = fillUp(&ledger{s: s, size: entrySize}) }()
	<-full.stuck
	return s, full
}

func TestNobodyWaitsForAManifestThatHasNoRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, full := openWithFullManifest(t)
		requireAnswers(t, s)
		begin := time.Now()
		st := s.Stats()
		require.True(t, st.DiskFull)
		require.Positive(t, st.DiskBytes, "the last that the engine told")
		require.Equal(t, st.Usage, s.Stats().Usage)
		require.ErrorIs(t, s.Checkpoint(ctx, "copy"), store.ErrDiskFull)
		require.Less(t, time.Since(begin), 5*time.Second)

		full.on.Store(false)
		<-time.After(time.Minute)
		require.Greater(t, s.Stats().DiskBytes, st.DiskBytes)
		require.NoError(t, s.Close())
	})
}

func TestNobodyWaitsForAManifestThatFailed(t *testing.T) {
	child(t, "TestNobodyWaitsForAManifestThatFailedChild", "run")
}

func TestNobodyWaitsForAManifestThatFailedChild(t *testing.T) {
	childArgs(t)
	s, full := openWithFullManifest(t)
	require.True(t, s.Stats().DiskFull)
	view, err := s.Snapshot(ctx)
	require.NoError(t, err)
	full.fault.Store(&storetest.ErrInjected)
	<-s.Down()
	require.True(t, s.Stats().Failed)
	require.Positive(t, s.Stats().DiskBytes)
	view.Close()
	require.ErrorIs(t, s.Close(), store.ErrFailed)
	fmt.Println(childDone)
}

// requireAnswers checks that calls which wait for the engine return that it is stuck.
func requireAnswers(t *testing.T, s *store.Store) {
	limited, cancel := context.WithTimeout(ctx, time.Hour)
	defer cancel()
	x, err := s.Begin(limited)
	require.NoError(t, err)
	require.NotErrorIs(t, x.Set([]byte("k"), nil), context.DeadlineExceeded)
	x.End()
	it, err := s.Iter(limited, nil, nil)
	require.NotErrorIs(t, err, context.DeadlineExceeded)
	if err == nil {
		require.NoError(t, it.Close())
	}
	view, err := s.Snapshot(limited)
	require.NoError(t, err)
	view.Close()
}

func hasEntry(t *testing.T, s *store.Store, n uint64) bool {
	v, err := s.Get(ctx, entryKey(n))
	require.NoError(t, err)
	return v != nil
}

func TestCloseAndOpenOnAFullDisk(t *testing.T) { child(t, "TestCloseAndOpenOnAFullDiskChild", "run") }

func TestCloseAndOpenOnAFullDiskChild(t *testing.T) {
	childArgs(t)
	var wg sync.WaitGroup
	for kib := 1; kib < 3000; kib += 1 + kib/5 {
		wg.Go(func() {
			if err := closeWhileFull(kib); err != nil {
				t.Errorf("%d KiB: %v", kib, err)
			}
		})
	}
	wg.Wait()
	if !t.Failed() {
		fmt.Println(childDone)
	}
}

func closeWhileFull(kib int) error {
	fs, q := quotaFS(kib<<10, true)
	synced := uint64(0)
	var s *store.Store
	open := func() (err error) {
		s, err = store.Open(small(fs))
		return err
	}
	switch err := timely("Open", open); {
	case err == nil:
		l, err := openLedger(s, entrySize, 0)
		if err != nil {
			return err
		}
		if err := fillUp(l); !errors.Is(err, store.ErrDiskFull) {
			return fmt.Errorf("fill: %w", err)
		}
		if err := timely("Close", s.Close); err != nil && !errors.Is(err, store.ErrDiskFull) {
			return fmt.Errorf("close: %w", err)
		}
		synced = l.synced()
	case !errors.Is(err, store.ErrDiskFull):
		return fmt.Errorf("open: %w", err)
	}
	switch err := timely("Open", open); {
	case err == nil:
		if err := timely("Close", s.Close); err != nil && !errors.Is(err, store.ErrDiskFull) {
			return fmt.Errorf("close: %w", err)
		}
	case !errors.Is(err, store.ErrDiskFull):
		return fmt.Errorf("open while full: %w", err)
	}
	q.Resize(plenty)
	return soundLife(fs, "data", synced)
}

func TestNoSpaceForOneMomentIsNoFailure(t *testing.T) {
	for _, class := range []string{storetest.ClassWAL, storetest.ClassTable, storetest.ClassManifest} {
		for _, operation := range []string{storetest.OpWrite, storetest.OpCreate} {
			for n := int64(1); ; n += 1 + n {
				f := &storetest.Fault{Class: class, Op: operation, N: n, Err: syscall.ENOSPC}
				synctest.Test(t, func(t *testing.T) {
					mem := vfs.NewCrashableMem()
					require.NoError(t, soundLife(mem, "data", 0))
					s := openStore(t, small(mem))
					require.NoError(t, s.Close())
					fs := storetest.NewFS(mem)
					s = openStore(t, small(fs))
					fs.SetHook(f.Hook)
					l, err := openLedger(s, entrySize, 1)
					require.NoError(t, err)
					for err = fill(l); errors.Is(err, store.ErrDiskFull); err = fill(l) {
						<-time.After(time.Second)
					}
					require.NoError(t, err)
					require.NoError(t, s.Close())
					require.NoError(t, soundLife(mem, "data", l.synced()))
				})
				if !f.Hit() {
					break
				}
			}
		}
	}
}

// The open group may be full when the disk is: there will be no room in it for long.
func TestWhatOnlyLooksDoesNotWaitForRoomOnAStuckDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := storetest.NewFS(vfs.NewCrashableMem())
		var full atomic.Bool
		slow := make(chan struct{})
		fs.SetHook(func(c storetest.Call) error {
			if c.Class != storetest.ClassWAL || c.Op != storetest.OpWrite || !full.Load() {
				return nil
			}
			<-slow // a slow disk
			if full.Load() {
				return syscall.ENOSPC
			}
			return nil
		})
		s := openStore(t, small(fs))
		full.Store(true)
		var writers sync.WaitGroup
		for w := range 200 {
			writers.Go(func() {
				for i := 0; ; i++ {
					if err := s.Do(ctx, set(fmt.Sprint(w, i), string(make([]byte, 16<<10))), store.NoSync); err != nil {
						return
					}
				}
			})
		}
		synctest.Wait()
		close(slow)
		writers.Wait()
		limited, cancel := context.WithTimeout(ctx, time.Hour)
		require.NoError(t, s.Do(limited, store.QuietFunc(func(*store.Turn) error { return nil }), store.NoSync))
		cancel()
		full.Store(false)
		<-time.After(5 * time.Second)
		require.NoError(t, s.Close())
	})
}
