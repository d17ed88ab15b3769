package store_test

import (
	"errors"
	"fmt"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
)

// killed returns the file system as the end of a process leaves it, on the same disk.
func killed(fs *storetest.FS) *storetest.FS {
	clone := storetest.NewFS(fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: noRand}))
	clone.Usage = fs.Usage
	return clone
}

func TestAStoreOpensOnADiskWithNothingLeft(t *testing.T) {
	for _, lie := range []bool{false, true} {
		for _, kill := range []bool{false, true} {
			for entries := 0; entries < 300; entries = 1 + 3*entries {
				name := fmt.Sprintf("lie=%v,kill=%v,entries=%d", lie, kill, entries)
				t.Run(name, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { openWithNothingLeft(t, entries, lie, kill) })
				})
			}
		}
	}
}

func openWithNothingLeft(t *testing.T, entries int, lie, kill bool) {
	fs, q := quotaFS(plenty, lie)
	s := openStore(t, small(fs))
	l, err := openLedger(s, entrySize, 0)
	require.NoError(t, err)
	for range entries {
		require.NoError(t, l.add(ctx, store.Sync))
	}
	after := fs
	if kill {
		after = killed(fs)
	}
	require.NoError(t, s.Close())
	q.Fill()
	after.SetHook(q.Hook)

	for life := range 2 { // the first may end before the store is emptied
		s = openStore(t, small(after))
		l, err = openLedger(s, entrySize, l.synced())
		require.NoError(t, err, "reads work")
		if life == 0 || !lie { // the second life does not meet the end of the disk
			require.ErrorIs(t, l.add(ctx, store.Sync), store.ErrDiskFull, "growth is refused")
			require.True(t, s.Stats().DiskFull)
		}
		for i := range 50 {
			free := freeing{set(fmt.Sprint("freed ", i), "1")}
			require.NoError(t, s.Do(ctx, free, store.Sync), "what makes room is let in, life %d", life)
		}
		if life == 0 {
			require.NoError(t, s.Close())
		}
	}
	lo, hi := store.Span(store.KindLogBatch, 7)
	empty := freeing{&op{run: func(t *store.Turn) error { t.DeleteRange(lo, hi); t.Delete(ledgerCount); return nil }}}
	require.NoError(t, s.Do(ctx, empty, store.Sync))
	q.Resize(plenty)
	<-time.After(time.Minute)
	require.False(t, s.Stats().DiskFull)
	require.True(t, lie || hasBallast(after), "the ballast is back")
	n, _, err := countEntries(s, entrySize)
	require.NoError(t, err)
	require.Zero(t, n)
	require.NoError(t, s.Do(ctx, set("grown", "1"), store.Sync))
	require.NoError(t, s.Close())
	s = openStore(t, small(after))
	require.True(t, hasBallast(after))
	require.Equal(t, "1", get(t, s, "freed 49"))
	require.NoError(t, s.Close())
}

func hasBallast(fs vfs.FS) bool {
	_, err := fs.Stat("data/BALLAST")
	return err == nil
}

// Once the ballast is given up, growth waits until there is room for a new one: the
// store would spend it otherwise.
func TestGrowthDoesNotSpendTheBallast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs, q := quotaFS(plenty, false)
		s := openStore(t, small(fs))
		require.True(t, hasBallast(fs))
		require.NoError(t, s.Close())
		q.Resize(q.Used() + fullReserve/2 - 1)
		s = openStore(t, small(fs))
		require.False(t, hasBallast(fs))
		q.Resize(q.Used() + fullReserve + 1<<20)
		<-time.After(time.Minute)
		require.ErrorIs(t, s.Do(ctx, set("k", "v"), store.Sync), store.ErrDiskFull)
		q.Resize(q.Used() + fullReserve + 3<<20)
		<-time.After(time.Minute)
		require.NoError(t, s.Do(ctx, set("k", "v"), store.Sync))
		require.True(t, hasBallast(fs))
		require.NoError(t, s.Close())
	})
}

// The store is not worth less to its owner for the want of a ballast.
func TestAStoreWithoutRoomForABallastWorks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs, q := quotaFS(fullReserve+1<<20, false)
		s := openStore(t, small(fs))
		require.False(t, hasBallast(fs))
		require.NoError(t, s.Do(ctx, set("k", "v"), store.Sync))
		require.NoError(t, s.Close())
		require.Less(t, q.Used(), 1<<20)
	})
}

func TestABallastThatCannotBeMadeHarmsNothing(t *testing.T) {
	for _, operation := range []string{storetest.OpOpenRW, storetest.OpAllocate, storetest.OpWrite, storetest.OpClose, storetest.OpRemove} {
		synctest.Test(t, func(t *testing.T) {
			fs, _ := quotaFS(plenty, false)
			f := &storetest.Fault{Class: storetest.ClassBallast, Op: operation, N: 1, Forever: true}
			fs.SetHook(f.Hook)
			s := openStore(t, small(fs))
			l, err := openLedger(s, entrySize, 0)
			require.NoError(t, err)
			require.NoError(t, fill(l))
			require.NoError(t, s.Close())
			require.NoError(t, soundLife(fs, "data", l.synced()))
		})
	}
}

func TestAStoreHealsWithoutABallastThatCannotBeMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs, q := quotaFS(plenty, false)
		require.NoError(t, openStore(t, small(fs)).Close())
		q.Fill()
		s := openStore(t, small(fs))
		require.ErrorIs(t, s.Do(ctx, set("k", "v"), store.Sync), store.ErrDiskFull)
		f := &storetest.Fault{Class: storetest.ClassBallast, N: 1, Forever: true}
		fs.SetHook(f.Hook)
		q.Resize(plenty)
		<-time.After(time.Minute)
		require.True(t, f.Hit())
		require.NoError(t, s.Do(ctx, set("k", "v"), store.Sync))
		require.NoError(t, s.Close())
	})
}

// A file system that cannot tell its free space gets no ballast.
func TestAFileSystemWithoutFiguresHealsAfterAnOpenThatMetItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := storetest.NewFS(vfs.NewCrashableMem())
		require.NoError(t, openStore(t, small(fs)).Close())
		f := &storetest.Fault{Class: storetest.ClassWAL, Op: storetest.OpCreate, N: 1, Err: syscall.ENOSPC}
		fs.SetHook(f.Hook)
		s := openStore(t, small(fs))
		require.True(t, f.Hit())
		require.False(t, hasBallast(fs))
		require.NoError(t, s.Do(ctx, set("k", "v"), store.Sync))
		require.NoError(t, s.Close())
	})
}

func TestTheErrorOfADiskThatIsTooFullSaysWhatOpenNeeds(t *testing.T) {
	child(t, "TestTheErrorOfADiskThatIsTooFullSaysWhatOpenNeedsChild", "run")
}

func TestTheErrorOfADiskThatIsTooFullSaysWhatOpenNeedsChild(t *testing.T) {
	childArgs(t)
	fs, q := quotaFS(plenty, false)
	s := openStore(t, small(fs))
	l, err := openLedger(s, entrySize, 0)
	require.NoError(t, err)
	require.NoError(t, fill(l))
	require.NoError(t, errors.Join(s.Close(), fs.Remove("data/BALLAST")))
	q.Fill()
	_, err = store.Open(small(fs))
	require.ErrorIs(t, err, store.ErrDiskFull)
	require.NotErrorIs(t, err, store.ErrFailed)
	require.ErrorContains(t, err, "up to 2 MiB")
	q.Resize(plenty)
	require.NoError(t, soundLife(fs, "data", l.synced()))
	fmt.Println(childDone)
}
