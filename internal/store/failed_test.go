package store_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
)

func TestFailedStore(t *testing.T) { child(t, "TestFailedStoreChild", "run") }

// TestFailedStoreChild starts all calls that can wait, fails the disk under them and checks that
// each gets the right error.
func TestFailedStoreChild(t *testing.T) {
	childArgs(t)
	fs := storetest.NewFS(vfs.NewCrashableMem())
	gate := &storetest.Gate{Class: storetest.ClassWAL, Op: storetest.OpSync}
	broken := make(chan struct{})
	fs.SetHook(func(c storetest.Call) error {
		err := gate.Hook(c)
		select {
		case <-broken:
			return storetest.ErrInjected
		default:
			return err
		}
	})
	s := openStore(t, small(fs))
	require.NoError(t, s.Do(ctx, set("old", "1"), store.Sync))
	held := gate.Held()
	gate.Shut()

	var calls []func() error
	wait := func(f func() error) {
		done := start(f)
		calls = append(calls, func() error { return <-done })
	}
	wait(func() error { return s.Do(ctx, set("a", "1"), store.Sync) })
	for gate.Held() == held {
		runtime.Gosched() // until the fsync is under way
	}
	wait(func() error { return s.Do(ctx, set("b", "1"), store.Sync) })
	for get(t, s, "b") == "" {
		runtime.Gosched() // until it is accepted
	}
	results := make(chan error, 2)
	require.NoError(t, s.Go(ctx, set("c", "1"), store.Sync, func(err error) { results <- err }))
	refuse := &op{run: func(*store.Turn) error { return errRefused }}
	refusal := make(chan error, 2)
	require.NoError(t, s.Go(ctx, refuse, store.Sync, func(err error) { refusal <- err }))
	down := make(chan struct{})
	require.True(t, s.Spawn(func(context.Context) { <-s.Down(); close(down) }))

	close(broken)
	gate.Open()
	for _, call := range calls {
		err := call()
		require.ErrorIs(t, err, store.ErrFailed)
		require.ErrorIs(t, err, store.ErrUnknownOutcome)
		require.ErrorIs(t, err, storetest.ErrInjected)
	}
	require.ErrorIs(t, <-results, store.ErrUnknownOutcome)
	err := <-refusal
	require.ErrorIs(t, err, store.ErrFailed)
	require.NotErrorIs(t, err, errRefused, "the grounds of the refusal may be gone after a crash")
	require.NotErrorIs(t, err, store.ErrUnknownOutcome)
	<-down
	require.ErrorIs(t, s.Cause(), store.ErrFailed)

	require.ErrorIs(t, s.Do(ctx, set("d", "1"), store.NoSync), store.ErrFailed)
	require.ErrorIs(t, s.Checkpoint(ctx, "copy"), store.ErrFailed)
	_, err = s.Begin(ctx)
	require.ErrorIs(t, err, store.ErrFailed)
	require.Equal(t, "1", get(t, s, "old"), "reads go on")
	view, err := s.Snapshot(ctx)
	require.NoError(t, err)
	v, err := view.Get(key("old"))
	require.NoError(t, err)
	require.Equal(t, "1", string(v))
	view.Close()
	require.Contains(t, keys(t, s), "old")
	require.True(t, s.Stats().Failed)
	require.ErrorIs(t, s.Health().Err, store.ErrFailed)
	require.ErrorIs(t, s.Err(), storetest.ErrInjected)

	fs.SetHook(nil)
	require.ErrorIs(t, timely("Close", s.Close), storetest.ErrInjected)
	require.ErrorIs(t, s.Close(), store.ErrFailed, "as the first time")
	require.Empty(t, errors.Join(drainOf(results), drainOf(refusal)), "done is called once")
	s = openStore(t, small(fs))
	require.True(t, s.Unclean())
	require.Equal(t, "1", get(t, s, "old"))
	require.NoError(t, s.Close())
	fmt.Println(childDone)
}

func drainOf(c chan error) error {
	select {
	case err := <-c:
		return fmt.Errorf("one more: %w", err)
	default:
		return nil
	}
}
