package store_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
)

// tabled is a store with the key "a" in a table that no cache knows.
func tabled(t *testing.T) (*store.Store, *storetest.FS) {
	t.Helper()
	fs := storetest.NewFS(vfs.NewMem())
	s := openStore(t, store.Options{FS: fs, Dir: "db"})
	require.NoError(t, s.Do(ctx, set("a", "1"), store.Sync))
	for range 2 { // the first Open flushes the WAL
		require.NoError(t, s.Close())
		s = openStore(t, store.Options{FS: fs, Dir: "db"})
	}
	return s, fs
}

// hang begins an Op that reads a table, which the disk does not answer before answer is
// called, and writes then.
func hang(s *store.Store, fs *storetest.FS) (answer func(), ended <-chan error) {
	hung, released, result := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	var once sync.Once
	fs.SetReadHook(func(storetest.Call) error {
		once.Do(func() { close(hung) })
		<-released
		return nil
	})
	go func() {
		result <- s.Do(ctx, store.OpFunc(func(turn *store.Turn) error {
			_, err := turn.Get(key("a"))
			turn.Set(key("c"), []byte("3"))
			return err
		}), store.Sync)
	}()
	<-hung
	return func() { close(released) }, result
}

// An Op that waits for the disk has the baton. Other callers wait no longer than their context
// says. Calls that only look at counters do not wait at all.
func TestCallsEndWithTheirContextBesideAReadThatHangs(t *testing.T) {
	s, fs := tabled(t)
	answer, ended := hang(s, fs)
	for verb, call := range map[string]func(ctx context.Context) error{
		"Do":       func(ctx context.Context) error { return s.Do(ctx, set("b", "2"), store.Sync) },
		"Go":       func(ctx context.Context) error { return s.Go(ctx, set("b", "2"), store.Sync, func(error) {}) },
		"Get":      func(ctx context.Context) error { _, err := s.Get(ctx, key("a")); return err },
		"Probe":    func(ctx context.Context) error { _, err := s.Probe(ctx, key("a")); return err },
		"Iter":     func(ctx context.Context) error { _, err := s.Iter(ctx, nil, nil); return err },
		"Snapshot": func(ctx context.Context) error { _, err := s.Snapshot(ctx); return err },
		"Fence":    s.Fence,
		"commit": func(ctx context.Context) error {
			x, err := s.Begin(ctx)
			require.NoError(t, err)
			require.NoError(t, x.Set([]byte("b"), nil))
			return x.Commit()
		},
	} {
		short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
		require.ErrorIs(t, call(short), context.DeadlineExceeded, verb)
		cancel()
	}
	require.Positive(t, s.Stats().Operations)
	require.True(t, s.Spawn(func(context.Context) {}))
	answer()
	require.NoError(t, <-ended)
	require.NoError(t, s.Do(ctx, set("b", "2"), store.Sync))
	require.Equal(t, "2", get(t, s, "b"))
	require.NoError(t, s.Close())
}

// A store that fails while an Op hangs lets go whoever waits for an fsync or the baton.
func TestAFailureReachesAllBesideAReadThatHangs(t *testing.T) {
	child(t, "TestAFailureReachesAllChild", "run")
}

func TestAFailureReachesAllChild(t *testing.T) {
	childArgs(t)
	s, fs := tabled(t)
	syncing, fail := make(chan struct{}), make(chan struct{})
	fs.SetHook(func(c storetest.Call) error {
		if c.Op != storetest.OpSync || c.Class != storetest.ClassWAL {
			return nil
		}
		close(syncing)
		<-fail
		return errors.New("the disk is gone")
	})
	waiting := make(chan error, 2)
	wait := func(name string) { waiting <- s.Do(ctx, set(name, "2"), store.Sync) }
	go wait("for the fsync")
	<-syncing
	answer, ended := hang(s, fs)
	go wait("for the baton")
	close(fail)
	for range 2 {
		require.ErrorIs(t, <-waiting, store.ErrFailed)
	}
	answer()
	err := timely("the one that read", func() error { return <-ended })
	require.ErrorIs(t, err, store.ErrFailed, "nobody comes to tell it later")
	require.ErrorIs(t, s.Close(), store.ErrFailed)
	fmt.Println(childDone)
}
