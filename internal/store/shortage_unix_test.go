//go:build unix

package store_test

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
)

func TestAProcessRunsOutOfOpenFilesForAMoment(t *testing.T) {
	child(t, "TestAProcessRunsOutOfOpenFilesForAMomentChild", t.TempDir())
}

func TestAProcessRunsOutOfOpenFilesForAMomentChild(t *testing.T) {
	dir := childArgs(t)[0]
	s := openStore(t, store.Options{Dir: dir, MemoryBytes: store.MinMemoryBytes})
	l, err := openLedger(s, entrySize, 0)
	require.NoError(t, err)
	require.NoError(t, fill(l))
	free := takeAllFiles(t)
	err = fillUp(l)
	require.ErrorIs(t, err, store.ErrDiskFull)
	require.ErrorIs(t, err, syscall.EMFILE)
	require.Equal(t, "open files of the process", s.Stats().Shortage)
	_, err = store.Open(store.Options{Dir: dir + "2"})
	require.ErrorIs(t, err, syscall.EMFILE)

	free()
	for err = l.add(ctx, store.Sync); errors.Is(err, store.ErrDiskFull); err = l.add(ctx, store.Sync) {
		runtime.Gosched()
	}
	require.NoError(t, err)
	require.NoError(t, l.disorder)
	require.NoError(t, s.Close())
	s = openStore(t, store.Options{Dir: dir})
	_, err = openLedger(s, entrySize, l.synced())
	require.NoError(t, err)
	require.NoError(t, s.Close())
	fmt.Println(childDone)
}

// takeAllFiles opens files until the process may open no more. free closes them.
func takeAllFiles(t *testing.T) (free func()) {
	limit := syscall.Rlimit{}
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	limit.Cur = min(limit.Cur, 256)
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit))
	var taken []*os.File
	for {
		f, err := os.Open(os.DevNull)
		if errors.Is(err, syscall.EMFILE) {
			break
		}
		require.NoError(t, err)
		taken = append(taken, f)
	}
	require.NotEmpty(t, taken)
	return func() {
		for _, f := range taken {
			require.NoError(t, f.Close())
		}
	}
}
