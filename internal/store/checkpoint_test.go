package store_test

import (
	"context"
	"errors"
	"os"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
)

func TestACancelledCheckpointReturnsAndLeavesNothing(t *testing.T) {
	fs := storetest.NewFS(vfs.NewMem())
	s := openStore(t, store.Options{FS: fs, Dir: "data"})
	limited, cancel := context.WithCancel(ctx)
	release := make(chan struct{})
	var once sync.Once
	fs.SetHook(func(c storetest.Call) error {
		if c.Class == storetest.ClassOptions { // the copy is under way, and stuck
			once.Do(cancel)
			<-release
		}
		return nil
	})
	require.ErrorIs(t, s.Checkpoint(limited, "copy"), context.Canceled)
	close(release)
	require.NoError(t, s.Close(), "which waits for the copy to be discarded")
	_, err := fs.Stat("copy")
	require.True(t, errors.Is(err, os.ErrNotExist), "%v", err)

	s = openStore(t, store.Options{FS: fs, Dir: "data"})
	require.ErrorIs(t, s.Checkpoint(limited, "copy"), context.Canceled)
	require.NoError(t, s.Checkpoint(ctx, "copy"))
	require.NoError(t, s.Close())
}
