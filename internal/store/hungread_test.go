package store_test

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
)

// A read that the disk never answers, with an error or otherwise, does not keep Close
// waiting for ever: neither one beside the baton nor one of an operation that holds it.
func TestAReadThatHangsDoesNotHoldUpClose(t *testing.T) {
	for _, where := range []string{"beside", "under"} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			child(t, "TestAReadThatHangsChild", where, t.TempDir())
		})
	}
}

func TestAReadThatHangsChild(t *testing.T) {
	args := childArgs(t)
	synctest.Test(t, func(t *testing.T) { closeBesideAHungRead(t, args[0], args[1]) })
}

// closeBesideAHungRead ends the process from within the bubble, because goroutines stay behind.
func closeBesideAHungRead(t *testing.T, where, dir string) {
	fs := storetest.NewFS(vfs.Default)
	s := openStore(t, store.Options{FS: fs, Dir: dir})
	require.NoError(t, s.Do(ctx, set("a", "1"), store.Sync))
	for range 2 { // the first Open flushes the WAL
		require.NoError(t, s.Close())
		s = openStore(t, store.Options{FS: fs, Dir: dir})
	}
	hung := make(chan struct{})
	var once sync.Once
	fs.SetReadHook(func(storetest.Call) error {
		once.Do(func() { close(hung) })
		select {}
	})
	read := store.OpFunc(func(turn *store.Turn) error {
		_, err := turn.Get(key("a"))
		return err
	})
	if where == "beside" {
		go func() { _, _ = s.Get(ctx, key("a")) }()
	} else {
		go func() { _ = s.Do(ctx, read, store.NoSync) }()
	}
	<-hung
	closed := make(chan error, 2)
	for range 2 {
		go func() { closed <- s.Close() }()
	}
	for range 2 {
		select {
		case err := <-closed:
			require.Equal(t, where == "under", errors.Is(err, store.ErrFailed), err)
		case <-time.After(70 * time.Second):
			t.Fatal("Close goes on")
		}
	}
	again := openStore(t, store.Options{Dir: dir})
	require.Equal(t, "1", get(t, again, "a"))
	require.NoError(t, again.Close())
	fmt.Println(childDone)
	os.Exit(0)
}
