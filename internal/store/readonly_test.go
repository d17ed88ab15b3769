package store_test

import (
	"io"
	"io/fs"
	"os"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
)

// readOnlyFS is a file system that was mounted, or a directory that is owned,
// such that nothing can be written.
type readOnlyFS struct {
	vfs.FS
	err error
}

func (f readOnlyFS) refuse(name string) error {
	return &fs.PathError{Op: "open", Path: name, Err: f.err}
}

func (f readOnlyFS) Create(name string, _ vfs.DiskWriteCategory) (vfs.File, error) {
	return nil, f.refuse(name)
}

func (f readOnlyFS) Lock(name string) (io.Closer, error)       { return nil, f.refuse(name) }
func (f readOnlyFS) MkdirAll(name string, _ os.FileMode) error { return f.refuse(name) }

func TestADirectoryThatCannotBeWritten(t *testing.T) {
	for name, cause := range map[string]error{
		"mounted read-only": syscall.EROFS, "owned by someone else": syscall.EACCES,
	} {
		t.Run(name, func(t *testing.T) {
			base := vfs.NewMem()
			for _, state := range []string{"no directory", "an empty directory", "a store"} {
				switch state {
				case "an empty directory":
					require.NoError(t, base.MkdirAll("data", 0o755))
				case "a store":
					s, err := store.Open(store.Options{FS: base, Dir: "data"})
					require.NoError(t, err)
					require.NoError(t, s.Close())
				}
				_, err := store.Open(store.Options{FS: readOnlyFS{base, cause}, Dir: "data"})
				require.ErrorIs(t, err, cause, state)
				require.ErrorContains(t, err, "pebblemq: ", state)
				require.ErrorContains(t, err, "data", state)
				require.NotErrorIs(t, err, store.ErrLocked, state)
			}
			s, err := store.Open(store.Options{FS: base, Dir: "data"})
			require.NoError(t, err, "nothing was harmed")
			require.NoError(t, s.Close())
		})
	}
}

func TestARealDirectoryThatCannotBeWritten(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may write anywhere")
	}
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o500))
	_, err := store.Open(store.Options{Dir: dir})
	require.ErrorIs(t, err, fs.ErrPermission)
}
