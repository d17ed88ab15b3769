package store_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
)

// A disk that is frozen keeps neither Close nor Stats nor a view waiting for ever, and
// a call no longer than its context and the grace.
func TestFrozenDiskHoldsNobodyForEver(t *testing.T) {
	for _, class := range []string{storetest.ClassWAL, storetest.ClassManifest, storetest.ClassTable, ""} {
		t.Run("class "+class, func(t *testing.T) {
			t.Parallel()
			child(t, "TestFrozenDiskChild", "class="+class)
		})
	}
}

func TestFrozenDiskChild(t *testing.T) {
	class := childArgs(t)[0][len("class="):]
	synctest.Test(t, func(t *testing.T) {
		fs := storetest.NewFS(vfs.NewMem())
		gate := &storetest.Gate{Class: class}
		fs.SetHook(gate.Hook)
		s := openStore(t, small(fs))
		require.NoError(t, s.Do(ctx, set("a", "1"), store.Sync))
		gate.Shut()
		for i := range 2000 {
			timed(t, "Do", 2*time.Second, func(ctx context.Context) error {
				return s.Do(ctx, set(fmt.Sprint(i), string(make([]byte, 1000))), store.NoSync)
			})
			if gate.Held() > 1 {
				break
			}
		}
		timed(t, "Do", 2*time.Second, func(ctx context.Context) error { return s.Do(ctx, set("b", "1"), store.Sync) })
		timed(t, "Snapshot", 2*time.Second, func(ctx context.Context) error {
			sn, err := s.Snapshot(ctx)
			if err == nil {
				sn.Close()
			}
			return err
		})
		timed(t, "Stats", 2*time.Second, func(context.Context) error { s.Stats(); return nil })
		timed(t, "Checkpoint", 2*time.Second, func(ctx context.Context) error { return s.Checkpoint(ctx, "copy") })
		timed(t, "Close", 61*time.Second, func(context.Context) error { return s.Close() })
		fmt.Println(childDone)
		os.Exit(0) // the engine hangs for ever
	})
}

// timed fails the test unless f, with a context of a second, returns within the limit.
func timed(t *testing.T, what string, limit time.Duration, f func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	start := time.Now()
	err := f(ctx)
	require.LessOrEqual(t, time.Since(start), limit, "%s: %v", what, err)
}
