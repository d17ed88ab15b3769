package store_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
)

func TestCleanMark(t *testing.T) {
	crash := func(fs *vfs.MemFS) *vfs.MemFS { return fs.CrashClone(vfs.CrashCloneCfg{}) }
	life := func(t *testing.T, fs vfs.FS, unclean bool, changes int) *store.Store {
		t.Helper()
		s := openStore(t, small(fs))
		require.Equal(t, unclean, s.Unclean())
		for i := range changes {
			require.NoError(t, s.Do(ctx, set(fmt.Sprint(i), "x"), store.Sync))
		}
		return s
	}
	t.Run("closed", func(t *testing.T) {
		fs := vfs.NewCrashableMem()
		for range 3 {
			require.NoError(t, life(t, fs, false, 2).Close())
		}
	})
	t.Run("crash in the first life", func(t *testing.T) {
		fs := vfs.NewCrashableMem()
		s := life(t, fs, false, 1)
		after := crash(fs)
		require.NoError(t, s.Close())
		require.NoError(t, life(t, after, true, 0).Close())
		require.NoError(t, life(t, after, false, 0).Close())
	})
	t.Run("crash right after open", func(t *testing.T) {
		fs := vfs.NewCrashableMem()
		require.NoError(t, life(t, fs, false, 1).Close())
		s := life(t, fs, false, 0)
		after := crash(fs)
		require.NoError(t, s.Close())
		require.NoError(t, life(t, after, true, 0).Close())
	})
	t.Run("crash after a life without changes", func(t *testing.T) {
		fs := vfs.NewCrashableMem()
		require.NoError(t, life(t, fs, false, 0).Close())
		s := life(t, fs, false, 1)
		after := crash(fs)
		require.NoError(t, s.Close())
		require.NoError(t, life(t, after, true, 0).Close())
	})
	t.Run("crash twice", func(t *testing.T) {
		fs := vfs.NewCrashableMem()
		s := life(t, fs, false, 1)
		after := crash(fs)
		require.NoError(t, s.Close())
		s = life(t, after, true, 0)
		again := crash(after)
		require.NoError(t, s.Close())
		require.NoError(t, life(t, again, true, 0).Close())
	})
}

func TestCloseDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, gate, fs := gated(t, storetest.ClassWAL, storetest.OpSync)
		// What becomes visible while Close waits posts more, and that more again.
		last := set("posted by the posted", "x")
		posted := set("posted", "x")
		posted.visible = func(t *store.Turn) { t.Post(last, store.NoSync) }
		o := set("op", "x")
		o.visible = func(t *store.Turn) { t.Post(posted, store.Sync) }

		gate.Shut()
		done := start(func() error { return s.Do(ctx, o, store.Sync) })
		synctest.Wait()
		closed := start(s.Close)
		synctest.Wait()
		pending(t, closed, "Close")
		gate.Open()
		require.NoError(t, <-done)
		require.NoError(t, <-closed)

		s = openStore(t, small(fs))
		require.False(t, s.Unclean())
		require.Len(t, keys(t, s), 3)
		require.NoError(t, s.Close())
	})
}

func TestCloseWakesWhoeverWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, gate, _ := gated(t, storetest.ClassWAL, "")
		gate.Shut()
		var waiting []chan error
		for i := range 100 {
			waiting = append(waiting, start(func() error {
				return s.Do(ctx, set(fmt.Sprint(i), string(make([]byte, 8<<10))), store.NoSync)
			}))
		}
		joined := false
		require.True(t, s.Spawn(func(ctx context.Context) {
			<-ctx.Done()
			<-s.Down()
			<-time.After(10 * time.Second)
			joined = true
		}))
		synctest.Wait()
		closed, again := start(s.Close), start(s.Close)
		synctest.Wait()
		turnedAway := 0
		for _, w := range waiting {
			if err := <-w; errors.Is(err, store.ErrClosed) {
				turnedAway++
			} else {
				require.NoError(t, err)
			}
		}
		require.Positive(t, turnedAway)
		require.ErrorIs(t, s.Cause(), store.ErrClosed)
		pending(t, closed, "Close")
		pending(t, again, "the second Close")
		gate.Open()
		require.NoError(t, <-closed)
		require.NoError(t, <-again)
		require.True(t, joined)
		require.NoError(t, s.Close())
	})
}

func TestUseAfterClose(t *testing.T) {
	s := openStore(t, small(vfs.NewMem()))
	tx, err := s.Begin(ctx)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	for name, f := range map[string]func() error{
		"Do":         func() error { return s.Do(ctx, set("a", ""), store.Sync) },
		"NoSync":     func() error { return s.Do(ctx, set("a", ""), store.NoSync) },
		"Go":         func() error { return s.Go(ctx, set("a", ""), store.Sync, func(error) { t.Error("called") }) },
		"Get":        func() error { _, err := s.Get(ctx, key("a")); return err },
		"Iter":       func() error { _, err := s.Iter(ctx, nil, nil); return err },
		"Snapshot":   func() error { _, err := s.Snapshot(ctx); return err },
		"Begin":      func() error { _, err := s.Begin(ctx); return err },
		"BeginView":  func() error { _, err := s.BeginView(ctx); return err },
		"Checkpoint": func() error { return s.Checkpoint(ctx, "copy") },
		"tx get":     func() error { _, err := tx.Get([]byte("a")); return err },
		"tx scan":    func() error { _, err := tx.Scan(nil, nil); return err },
	} {
		require.ErrorIs(t, f(), store.ErrClosed, name)
	}
	require.NoError(t, tx.Add(set("a", ""), 1))
	require.ErrorIs(t, tx.Commit(), store.ErrClosed)
	require.False(t, s.Spawn(func(context.Context) { t.Error("runs") }))
	require.NotPanics(t, func() { s.Stats() })
	require.NoError(t, s.Close())
}

func TestReadersKeepTheEngineOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openStore(t, small(vfs.NewMem()))
		require.NoError(t, s.Do(ctx, set("a", "1"), store.Sync))
		it, err := s.Iter(ctx, nil, nil)
		require.NoError(t, err)
		view, err := s.Snapshot(ctx)
		require.NoError(t, err)
		closed := start(s.Close)
		synctest.Wait()
		pending(t, closed, "Close")
		require.True(t, it.Last())
		require.Equal(t, key("a"), it.Key())
		v, err := view.Get(key("a"))
		require.NoError(t, err)
		require.Equal(t, "1", string(v))
		require.NoError(t, it.Close())
		synctest.Wait()
		pending(t, closed, "Close")
		view.Close()
		require.NoError(t, <-closed)
	})
}

func TestReadersAgainstClose(t *testing.T) {
	for range 20 {
		s := openStore(t, small(vfs.NewMem()))
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for {
					err := s.Do(ctx, set("a", "1"), store.NoSync)
					_, getErr := s.Get(ctx, key("a"))
					it, iterErr := s.Iter(ctx, nil, nil)
					if iterErr == nil {
						it.First()
						iterErr = it.Close()
					}
					s.Stats()
					if errors.Is(errors.Join(err, getErr, iterErr), store.ErrClosed) {
						return
					}
				}
			})
		}
		require.NoError(t, s.Close())
		wg.Wait()
	}
}

func TestOneStoreADirectory(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "deep", "data")
	s := openStore(t, store.Options{Dir: dir})
	link := filepath.Join(root, "link")
	require.NoError(t, os.Symlink(dir, link))
	wd, err := os.Getwd()
	require.NoError(t, err)
	relative, err := filepath.Rel(wd, dir)
	require.NoError(t, err)
	for _, name := range []string{dir, dir + "/", link, relative} {
		_, err := store.Open(store.Options{Dir: name})
		require.ErrorIs(t, err, store.ErrLocked, name)
	}
	require.NoError(t, s.Close())
	s = openStore(t, store.Options{Dir: link})
	require.NoError(t, s.Close())
}

func TestOpenRefusesWhatIsNoStore(t *testing.T) {
	root := t.TempDir()
	file := filepath.Join(root, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err := store.Open(store.Options{Dir: file})
	require.ErrorIs(t, err, store.ErrNotStore)
	_, err = store.Open(store.Options{Dir: root})
	require.ErrorIs(t, err, store.ErrNotStore)
	require.ErrorContains(t, err, "file")
	_, err = store.Open(store.Options{})
	require.ErrorIs(t, err, store.ErrInvalid)
	for _, o := range []store.Options{
		{SyncInterval: -1}, {SyncInterval: 2 * time.Minute}, {MemoryBytes: 1}, {MemoryBytes: -1}, {Durability: 9},
	} {
		o.FS, o.Dir = vfs.NewMem(), "data"
		_, err := store.Open(o)
		require.ErrorIs(t, err, store.ErrInvalid, "%+v", o)
	}
}

func TestCheckpoint(t *testing.T) {
	root := t.TempDir()
	s := openStore(t, store.Options{Dir: filepath.Join(root, "data")})
	require.NoError(t, s.Do(ctx, set("a", "1"), store.NoSync))
	copied := filepath.Join(root, "copies", "one")
	require.NoError(t, s.Checkpoint(ctx, copied))
	require.ErrorIs(t, s.Checkpoint(ctx, copied), os.ErrExist)
	require.ErrorIs(t, s.Checkpoint(ctx, ""), store.ErrInvalid)
	require.ErrorIs(t, s.Checkpoint(ctx, filepath.Join(root, "data", "inside")), store.ErrInvalid)
	require.NoError(t, s.Do(ctx, set("b", "1"), store.Sync))
	require.NoError(t, s.Close())

	s = openStore(t, store.Options{Dir: copied})
	require.Equal(t, map[string]string{"a": "1"}, keys(t, s))
	require.True(t, s.Unclean(), "a copy of a running store is like one after a crash")
	require.NoError(t, s.Close())
	require.ErrorIs(t, openMem(t).Checkpoint(ctx, copied), store.ErrInvalid)
}

// The function of a transaction has returned, but a goroutine of its own goes
// on with it, waiting for the state while the transaction commits.
func TestLeakedTransactionCannotHoldUpTheStore(t *testing.T) {
	s := openMem(t)
	for range 100 {
		owner, err := s.Begin(ctx)
		require.NoError(t, err)
		require.NoError(t, owner.Set([]byte("a"), nil))
		leaked, err := s.Begin(ctx)
		require.NoError(t, err)
		require.NoError(t, leaked.Add(&op{}, 0))
		read := start(func() error { _, err := leaked.Get([]byte("a")); return err })
		commit := start(leaked.Commit)
		require.NoError(t, timely("Commit", owner.Commit))
		require.NoError(t, <-commit)
		if err := <-read; err != nil {
			require.ErrorIs(t, err, store.ErrTxDone)
		}
		require.ErrorIs(t, leaked.Set([]byte("b"), nil), store.ErrTxDone)
		require.ErrorIs(t, leaked.Commit(), store.ErrTxDone)
	}
}
