package store_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
)

// deeds are things that a process may do to the directory of a store that it
// has open. Each returns the names under which the store can be found then.
var deeds = map[string]func(dir string) ([]string, error){
	"nothing": func(dir string) ([]string, error) { return []string{dir}, nil },
	"read-LOCK": func(dir string) ([]string, error) {
		_, err := os.ReadFile(filepath.Join(dir, "LOCK"))
		return []string{dir}, err
	},
	"write-LOCK": func(dir string) ([]string, error) {
		return []string{dir}, os.WriteFile(filepath.Join(dir, "LOCK"), []byte("x"), 0o600)
	},
	"copy": func(dir string) ([]string, error) {
		return []string{dir}, os.CopyFS(dir+".copy", os.DirFS(dir))
	},
	"rename": func(dir string) ([]string, error) {
		return []string{dir + ".moved"}, os.Rename(dir, dir+".moved")
	},
	"symlink": func(dir string) ([]string, error) {
		return []string{dir, dir + ".link"}, os.Symlink(dir, dir+".link")
	},
	"link-LOCK": func(dir string) ([]string, error) {
		return []string{dir}, os.Link(filepath.Join(dir, "LOCK"), dir+".LOCK")
	},
	"link-the-tree": func(dir string) ([]string, error) {
		return []string{dir, dir + ".twin"}, linkTree(dir, dir+".twin")
	},
	"remove-LOCK": func(dir string) ([]string, error) {
		return []string{dir}, os.Remove(filepath.Join(dir, "LOCK"))
	},
	"replace-LOCK": func(dir string) ([]string, error) {
		name := filepath.Join(dir, "LOCK")
		return []string{dir}, errors.Join(os.Remove(name), os.WriteFile(name, nil, 0o600))
	},
	"rename-and-remove-LOCK": func(dir string) ([]string, error) {
		moved := dir + ".moved"
		return []string{moved}, errors.Join(os.Rename(dir, moved), os.Remove(filepath.Join(moved, "LOCK")))
	},
}

func linkTree(from, to string) error {
	return filepath.WalkDir(from, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		target := to + strings.TrimPrefix(name, from)
		if d.IsDir() {
			return os.MkdirAll(target, 0o755)
		}
		return os.Link(name, target)
	})
}

func TestADirectoryHasOneOwnerWhateverIsDoneToIt(t *testing.T) {
	for name, deed := range deeds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "data")
			s := openStore(t, store.Options{Dir: dir})
			require.NoError(t, s.Do(ctx, set("k", "v"), store.Sync))
			paths, err := deed(dir)
			require.NoError(t, err)
			for _, path := range paths {
				_, err := store.Open(store.Options{Dir: path})
				require.ErrorIs(t, err, store.ErrLocked, "in the same process: %s", path)
				require.Equal(t, "locked", openElsewhere(t, path), "in another process: %s", path)
			}
			require.NoError(t, s.Close())
			require.Equal(t, "opened", openElsewhere(t, paths[0]))
			s = openStore(t, store.Options{Dir: paths[0]})
			require.Equal(t, "v", get(t, s, "k"))
			require.NoError(t, s.Close())
		})
	}
}

// openElsewhere tries to open a store in another process.
func openElsewhere(t *testing.T, dir string) string {
	t.Helper()
	limited, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	out, err := childCommand(limited, "TestOpenElsewhereChild", dir).CombinedOutput()
	require.NoError(t, err, "%s", out)
	first, _, _ := strings.Cut(string(out), "\n")
	return first
}

func TestOpenElsewhereChild(t *testing.T) {
	dir := childArgs(t)[0]
	s, err := store.Open(store.Options{Dir: dir})
	if errors.Is(err, store.ErrLocked) {
		fmt.Println("locked")
		return
	}
	require.NoError(t, err)
	require.Equal(t, "v", get(t, s, "k"))
	require.NoError(t, s.Close())
	fmt.Println("opened")
}

// An owner that is killed leaves nothing behind, not even by a process that it
// has started and that lives on.
func TestADirectoryIsFreeWhenItsOwnerIsKilled(t *testing.T) {
	for name := range deeds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "data")
			owner, paths := startOwner(t, name, dir)
			for _, path := range paths {
				_, err := store.Open(store.Options{Dir: path})
				require.ErrorIs(t, err, store.ErrLocked, path)
				if !strings.HasSuffix(name, "LOCK") {
					require.ErrorContains(t, err, fmt.Sprintf("process %d", owner.Process.Pid))
				}
			}
			require.NoError(t, owner.Process.Kill())
			require.Error(t, owner.Wait())
			s := openStore(t, store.Options{Dir: paths[0]})
			require.Equal(t, "v", get(t, s, "k"))
			require.NoError(t, s.Close())
		})
	}
}

// startOwner starts a process that owns dir, has done the deed and has a child
// of its own, which outlives it.
func startOwner(t *testing.T, deed, dir string) (owner *exec.Cmd, paths []string) {
	t.Helper()
	limited, cancel := context.WithTimeout(ctx, time.Minute)
	t.Cleanup(cancel)
	owner = childCommand(limited, "TestOwnerChild", deed, dir)
	stay, hold, err := os.Pipe() // the grandchild lives until the test ends
	require.NoError(t, err)
	owner.Stdin = stay
	t.Cleanup(func() { require.NoError(t, errors.Join(stay.Close(), hold.Close())) })
	out, err := owner.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, owner.Start())
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if line, ok := strings.CutPrefix(lines.Text(), "owned: "); ok {
			return owner, strings.Fields(line)
		}
	}
	require.Fail(t, "the owner ended")
	return nil, nil
}

func TestOwnerChild(t *testing.T) {
	args := childArgs(t)
	s := openStore(t, store.Options{Dir: args[1]})
	require.NoError(t, s.Do(ctx, set("k", "v"), store.Sync))
	paths, err := deeds[args[0]](args[1])
	require.NoError(t, err)
	outlives := childCommand(ctx, "TestChildOfAnOwnerChild", "run")
	outlives.Stdin = os.Stdin
	require.NoError(t, outlives.Start())
	fmt.Println("owned:", strings.Join(paths, " "))
	<-make(chan struct{}) // until it is killed
}

// TestChildOfAnOwnerChild lives until its standard input ends.
func TestChildOfAnOwnerChild(t *testing.T) {
	childArgs(t)
	_, err := io.Copy(io.Discard, os.Stdin)
	require.NoError(t, err)
}

func TestTheOwnerOfADirectoryIsNamed(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, store.Options{Dir: dir})
	_, err := store.Open(store.Options{Dir: dir})
	require.ErrorContains(t, err, "this process")
	require.ErrorContains(t, err, dir)
	require.NoError(t, s.Close())
	text, err := os.ReadFile(filepath.Join(dir, "LOCK"))
	require.NoError(t, err)
	require.Empty(t, text, "no owner")
}

func TestACheckpointOpensBesideItsSource(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "data")
	s := openStore(t, store.Options{Dir: dir})
	require.NoError(t, s.Do(ctx, set("k", "v"), store.Sync))
	require.NoError(t, s.Checkpoint(ctx, filepath.Join(root, "copy")))
	require.Equal(t, "opened", openElsewhere(t, filepath.Join(root, "copy")))
	copied := openStore(t, store.Options{Dir: filepath.Join(root, "copy")})
	require.NoError(t, copied.Do(ctx, set("k", "w"), store.Sync))
	require.NoError(t, copied.Close())
	require.Equal(t, "locked", openElsewhere(t, dir))
	require.NoError(t, s.Close())
}

func TestAStoreLeavesADirectoryAloneThatTookThePlaceOfItsOwn(t *testing.T) {
	child(t, "TestAStoreLeavesADirectoryAloneThatTookThePlaceOfItsOwnChild", t.TempDir())
}

func TestAStoreLeavesADirectoryAloneThatTookThePlaceOfItsOwnChild(t *testing.T) {
	dir := filepath.Join(childArgs(t)[0], "data")
	o := store.Options{Dir: dir, MemoryBytes: store.MinMemoryBytes}
	first := openStore(t, o)
	old, err := openLedger(first, entrySize, 0)
	require.NoError(t, err)
	require.NoError(t, fill(old))
	require.NoError(t, os.Rename(dir, dir+".moved"))

	second := openStore(t, o)
	l, err := openLedger(second, entrySize, 0)
	require.NoError(t, err)
	require.NoError(t, fill(l))
	err = fill(old)
	require.ErrorIs(t, err, store.ErrFailed)
	require.ErrorContains(t, err, dir+" is not the directory that was opened")
	require.ErrorIs(t, first.Close(), store.ErrFailed)

	require.NoError(t, fill(l))
	require.NoError(t, second.Close())
	second = openStore(t, o)
	_, err = openLedger(second, entrySize, l.synced())
	require.NoError(t, err)
	require.NoError(t, second.Close())
	require.NoError(t, soundLife(vfs.Default, dir+".moved", old.synced()))
	fmt.Println(childDone)
}
