package store_test

import (
	"os"
	"path"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
)

// refusedRead is an injector that makes one read fail.
type refusedRead struct {
	left atomic.Int64
	path atomic.Pointer[string]
}

func (r *refusedRead) String() string { return "one read fails" }

func (r *refusedRead) MaybeError(op errorfs.Op) error {
	switch op.Kind {
	case errorfs.OpOpen, errorfs.OpList, errorfs.OpStat, errorfs.OpFileRead, errorfs.OpFileReadAt, errorfs.OpFileStat:
	default:
		return nil
	}
	if r.left.Add(-1) != 0 {
		return nil
	}
	r.path.Store(&op.Path)
	return &os.PathError{Op: "read", Path: "?", Err: syscall.EIO}
}

// Each read of an Open is refused in turn. Open does without it, or names the file.
func TestRefusedReadsOfOpenNameTheFile(t *testing.T) {
	whole := crashed(t, 300)
	for n := int64(1); ; n++ {
		r := &refusedRead{}
		r.left.Store(n)
		fs := whole.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: noRand})
		s, err := store.Open(small(errorfs.Wrap(fs, r)))
		over := r.left.Swap(0) > 0 // there is no n-th read
		if err == nil {
			require.Len(t, keys(t, s), 300, "read %d", n)
			require.NoError(t, s.Close())
		} else {
			require.ErrorIs(t, err, store.ErrUnreadable, "read %d", n)
			require.ErrorContains(t, err, path.Base(*r.path.Load()), "read %d", n)
		}
		if over {
			require.Greater(t, n, int64(20))
			return
		}
	}
}
