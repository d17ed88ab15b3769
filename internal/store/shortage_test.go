package store_test

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
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

// shortages are the errors of a system that refuses for now and has done nothing.
var shortages = []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.ENOBUFS, syscall.EAGAIN, syscall.EINTR}

var shortOps = []string{
	storetest.OpCreate, storetest.OpOpenRW, storetest.OpReuse, storetest.OpWrite,
	storetest.OpRename, storetest.OpLink, storetest.OpMkdir, storetest.OpOpenDir,
}

// TestAShortageOfASecondIsNoFailure begins a shortage at the n-th call of an
// operation, for every n until the load passes without meeting it.
func TestAShortageOfASecondIsNoFailure(t *testing.T) {
	for _, operation := range shortOps {
		t.Run(operation, func(t *testing.T) {
			t.Parallel()
			for n := int64(1); ; n = laterCall(operation, n) {
				err := shortages[int(n)%len(shortages)]
				f := &storetest.Fault{Op: operation, N: n, Forever: true, For: time.Second, Err: err}
				synctest.Test(t, func(t *testing.T) { passShortage(t, f) })
				if !f.Hit() {
					break
				}
			}
		})
	}
}

// laterCall tries every call, but of the writes, of which there are many, only a few.
func laterCall(operation string, n int64) int64 {
	if operation == storetest.OpWrite || underRace {
		return later(n)
	}
	return n + 1
}

func passShortage(t *testing.T, f *storetest.Fault) {
	mem := vfs.NewCrashableMem()
	require.NoError(t, soundLife(mem, "data", 0))
	fs := storetest.NewFS(mem)
	s := openStore(t, small(fs))
	l, err := openLedger(s, entrySize, 1)
	require.NoError(t, err)
	fs.SetHook(f.Hook)
	begin := time.Now()
	for err = fill(l); errors.Is(err, store.ErrDiskFull); err = fill(l) {
		require.ErrorIs(t, err, f.Err, "the cause is told")
		<-time.After(100 * time.Millisecond)
	}
	require.NoError(t, err, "%s %d: %v", f.Op, f.N, f.Err)
	require.Less(t, time.Since(begin), 10*time.Second, "callers are told, not left waiting")
	<-time.After(5 * time.Second)
	st := s.Stats()
	require.False(t, st.Failed)
	require.False(t, st.DiskFull)
	require.Empty(t, st.Shortage)
	require.NoError(t, l.add(ctx, store.Sync))
	require.NoError(t, l.disorder)
	clone := fs.CrashClone(vfs.CrashCloneCfg{})
	require.NoError(t, s.Close())
	require.NoError(t, soundLife(mem, "data", l.synced()))
	require.NoError(t, soundLife(clone, "data", l.synced()))
}

// shortFS is short of something while a flag is set.
func shortFS(class, operation string, short error) (*storetest.FS, *atomic.Bool) {
	fs, on := storetest.NewFS(vfs.NewCrashableMem()), new(atomic.Bool)
	fs.SetHook(func(c storetest.Call) error {
		if c.Class == class && c.Op == operation && on.Load() {
			return short
		}
		return nil
	})
	return fs, on
}

func TestAShortageIsSeenAndTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs, short := shortFS(storetest.ClassWAL, storetest.OpCreate, syscall.EMFILE)
		o, log := small(fs), new(logText)
		o.Logger = slog.New(slog.NewTextHandler(log, nil))
		s := openStore(t, o)
		l, err := openLedger(s, entrySize, 0)
		require.NoError(t, err)
		require.NoError(t, l.add(ctx, store.Sync))
		short.Store(true)
		begin := time.Now()
		for range 2 {
			err = fillUp(l)
			require.ErrorIs(t, err, store.ErrDiskFull)
			require.ErrorIs(t, err, syscall.EMFILE)
			require.ErrorContains(t, err, ".log: too many open files")
			require.ErrorContains(t, err, "limit of open files")
			require.NotContains(t, err.Error(), "disk is full")
		}
		require.Less(t, time.Since(begin), time.Second)
		st := s.Stats()
		require.True(t, st.DiskFull)
		require.Equal(t, "open files of the process", st.Shortage)
		require.True(t, hasEntry(t, s, 1), "reads go on")
		requireAnswers(t, s)
		err = s.Checkpoint(ctx, "copy")
		require.ErrorIs(t, err, syscall.EMFILE)

		<-time.After(20 * time.Second)
		short.Store(false)
		<-time.After(2 * time.Second)
		require.False(t, s.Stats().DiskFull)
		require.NoError(t, l.add(ctx, store.Sync))
		require.NoError(t, l.disorder)
		require.NoError(t, s.Close())
		require.Equal(t, 1, strings.Count(log.String(), `level=WARN msg="store is short of open files of the process"`), log)
	})
}

// A shortage that a retry overcomes at once is not worth a word.
func TestAnInterruptedCallIsRepeatedInSilence(t *testing.T) {
	for _, operation := range []string{storetest.OpCreate, storetest.OpWrite, storetest.OpSync, storetest.OpClose} {
		synctest.Test(t, func(t *testing.T) {
			fs := storetest.NewFS(vfs.NewCrashableMem())
			o, log := small(fs), new(logText)
			o.Logger = slog.New(slog.NewTextHandler(log, nil))
			s := openStore(t, o)
			l, err := openLedger(s, entrySize, 0)
			require.NoError(t, err)
			var seen sync.Map
			fs.SetHook(func(c storetest.Call) error {
				if c.Op != operation {
					return nil
				}
				if _, again := seen.LoadOrStore(c.Name, true); again {
					return nil
				}
				return syscall.EINTR
			})
			require.NoError(t, fill(l), operation)
			require.NoError(t, s.Close(), operation)
			_, hit := seen.Load("000002.log")
			require.True(t, hit || operation == storetest.OpCreate)
			require.Empty(t, log.String())
			fs.SetHook(nil)
			require.NoError(t, soundLife(fs, "data", l.synced()))
		})
	}
}

// The engine reuses a WAL by a rename and an open. If the open is refused, the
// rename has been carried out.
func TestAShortageBetweenTheStepsOfAReuse(t *testing.T) {
	for n := int64(1); ; n++ {
		f := &storetest.Fault{Op: storetest.OpReuse, N: n, Err: storetest.Late{Err: syscall.EMFILE}}
		synctest.Test(t, func(t *testing.T) { passShortage(t, f) })
		if !f.Hit() {
			require.Greater(t, n, int64(1))
			break
		}
	}
}

// The engine holds its lock while it opens, which stops the time of a bubble, so
// this one passes in real time.
func TestOpenWaitsForAShortageThatPasses(t *testing.T) {
	for _, operation := range shortOps {
		t.Run(operation, func(t *testing.T) {
			t.Parallel()
			for n := int64(1); ; n = laterCall(operation, n) {
				err := shortages[int(n)%len(shortages)]
				f := &storetest.Fault{Op: operation, N: n, Forever: true, For: 15 * time.Millisecond, Err: err}
				openInShortage(t, f)
				if !f.Hit() {
					break
				}
			}
		})
	}
}

func openInShortage(t *testing.T, f *storetest.Fault) {
	mem := vfs.NewCrashableMem()
	require.NoError(t, soundLife(mem, "data", 0))
	fs := storetest.NewFS(mem)
	fs.SetHook(f.Hook)
	s, err := store.Open(small(fs))
	if err != nil { // the kernel met it, outside the engine
		require.ErrorIs(t, err, f.Err)
		require.NotErrorIs(t, err, store.ErrFailed)
		f.Stop()
		s = openStore(t, small(fs))
	}
	_, err = openLedger(s, entrySize, 1)
	require.NoError(t, err)
	require.NoError(t, s.Close())
}

func TestAShortageThatLastsFailsTheStore(t *testing.T) {
	child(t, "TestAShortageThatLastsFailsTheStoreChild", "run")
}

// TestAShortageThatLastsFailsTheStoreChild leaves a parked engine, with which its
// bubble cannot end.
func TestAShortageThatLastsFailsTheStoreChild(t *testing.T) {
	childArgs(t)
	synctest.Test(t, func(t *testing.T) {
		fs, short := shortFS(storetest.ClassTable, storetest.OpCreate, syscall.EMFILE)
		s := openStore(t, small(fs))
		l, err := openLedger(s, entrySize, 0)
		require.NoError(t, err)
		short.Store(true)
		require.ErrorIs(t, fillUp(l), store.ErrDiskFull)
		begin := time.Now()
		<-s.Down()
		require.InDelta(t, store.MaxShortage.Seconds(), time.Since(begin).Seconds(), 3)
		require.ErrorIs(t, l.add(ctx, store.Sync), store.ErrFailed)
		require.ErrorIs(t, s.Cause(), syscall.EMFILE)
		require.ErrorIs(t, timely("Close", s.Close), store.ErrFailed)
		short.Store(false)
		require.NoError(t, soundLife(fs, "data", l.synced()))
		fmt.Println(childDone)
		os.Exit(0)
	})
}

// An fsync that failed is never repeated, whatever the reason: the system may have
// dropped what it could not write, and would report success.
func TestAFailedFsyncIsFinal(t *testing.T) {
	for _, err := range []syscall.Errno{syscall.EAGAIN, syscall.ENOMEM, syscall.ENOBUFS, syscall.ENOSPC} {
		child(t, "TestAFailedFsyncIsFinalChild", fmt.Sprint(int(err)))
	}
}

func TestAFailedFsyncIsFinalChild(t *testing.T) {
	var errno syscall.Errno
	_, err := fmt.Sscan(childArgs(t)[0], &errno)
	require.NoError(t, err)
	fs := storetest.NewFS(vfs.NewCrashableMem())
	f := &storetest.Fault{Class: storetest.ClassWAL, Op: storetest.OpSync, N: 1, Err: errno}
	s := openStore(t, small(fs))
	fs.SetHook(f.Hook)
	err = s.Do(ctx, set("k", "v"), store.Sync)
	require.ErrorIs(t, err, store.ErrFailed)
	require.ErrorIs(t, err, errno)
	require.ErrorIs(t, s.Close(), store.ErrFailed)
	fmt.Println(childDone)
}
