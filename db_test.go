package pebblemq_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/stretchr/testify/require"
)

func TestOpenRefusesWhatIsNotItsDirectory(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
		return path
	}
	for name, c := range map[string]struct {
		path string
		want error
		says string
	}{
		"no name":                     {"", pebblemq.ErrInvalid, "directory name is empty"},
		"a file":                      {write("file", "text"), pebblemq.ErrNotStore, "is a file"},
		"below a file":                {write("above", "text") + "/store", pebblemq.ErrNotStore, "lies below a file"},
		"a directory of other things": {filepath.Dir(write("other/notes.txt", "text")), pebblemq.ErrNotStore, "notes.txt"},
		"a newer store":               {filepath.Dir(write("newer/FORMAT", "pebblemq store, format 2\n")), pebblemq.ErrFormat, "format 2, this release reads 1"},
		"a damaged FORMAT":            {filepath.Dir(write("damaged/FORMAT", "pebb")), pebblemq.ErrCorrupt, "FORMAT"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := pebblemq.Open(c.path, nil)
			require.ErrorIs(t, err, c.want)
			require.ErrorContains(t, err, c.says)
		})
	}
}

func TestOptionsOutOfRange(t *testing.T) {
	for name, o := range map[string]*pebblemq.Options{
		"a negative sync interval": {SyncInterval: -1},
		"an absurd sync interval":  {SyncInterval: time.Hour},
		"an unknown durability":    {Durability: 9},
		"a tiny memory budget":     {MemoryBytes: 1},
		"a negative memory budget": {MemoryBytes: -1},
	} {
		_, err := pebblemq.OpenMemory(o)
		require.ErrorIs(t, err, pebblemq.ErrInvalid, name)
	}
}

func TestADirectoryIsOpenOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	db, err := pebblemq.Open(dir, nil)
	require.NoError(t, err)

	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(dir, link))
	wd, err := os.Getwd()
	require.NoError(t, err)
	relative, err := filepath.Rel(wd, dir)
	require.NoError(t, err)
	for name, path := range map[string]string{"the same path": dir, "a relative path": relative, "a link": link} {
		_, err := pebblemq.Open(path, nil)
		require.ErrorIs(t, err, pebblemq.ErrLocked, name)
	}
	out, exit := inChild(t, "TestOpenInChild", dir)
	require.Equal(t, exitLocked, exit, out)
	require.NoError(t, db.Close())
	out, exit = inChild(t, "TestOpenInChild", dir)
	require.Zero(t, exit, out)
}

const childEnv = "PEBBLEMQ_CHILD"

// inChild runs a test of this binary in another process, with an argument, and
// returns what it printed.
func inChild(t *testing.T, test, arg string) (output string, exit int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(bg, time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run", "^"+test+"$")
	cmd.Env = append(os.Environ(), childEnv+"="+arg)
	out, _ := cmd.CombinedOutput()
	return string(out), cmd.ProcessState.ExitCode()
}

func childArg(t *testing.T) string {
	t.Helper()
	arg := os.Getenv(childEnv)
	if arg == "" {
		t.Skip("the other half of a test that runs it in a child process")
	}
	return arg
}

const exitLocked = 3

func TestOpenInChild(t *testing.T) {
	db, err := pebblemq.Open(childArg(t), nil)
	if err != nil {
		require.ErrorIs(t, err, pebblemq.ErrLocked)
		os.Exit(exitLocked)
	}
	require.NoError(t, db.Close())
}

func TestCloseIsIdempotentAndFinal(t *testing.T) {
	db := storetest.Open(t, nil)
	require.NoError(t, db.Close())
	require.NoError(t, db.Close())
	require.ErrorIs(t, db.Update(bg, increment), pebblemq.ErrClosed)
	require.ErrorIs(t, db.View(bg, func(*pebblemq.Tx) error { return nil }), pebblemq.ErrClosed)
	require.ErrorIs(t, db.Checkpoint(bg, filepath.Join(t.TempDir(), "copy")), pebblemq.ErrInvalid, "in memory")
	_ = db.Stats()
}

func TestACheckpointIsAStore(t *testing.T) {
	dir := t.TempDir()
	db, err := pebblemq.Open(filepath.Join(dir, "store"), nil)
	require.NoError(t, err)
	defer storetest.Close(t, db)
	set(t, db, "k", "1")
	require.NoError(t, db.Update(pebblemq.WithDurability(bg, pebblemq.NoSync), func(tx *pebblemq.Tx) error {
		return tx.Set([]byte("unsynced"), nil)
	}))
	require.NoError(t, db.Checkpoint(bg, filepath.Join(dir, "copy")))
	set(t, db, "k", "2")

	copied, err := pebblemq.Open(filepath.Join(dir, "copy"), nil)
	require.NoError(t, err)
	require.Equal(t, map[string]string{"k": "1", "unsynced": ""}, all(t, copied))
	require.NoError(t, copied.Close())
	require.Equal(t, "2", all(t, db)["k"])

	require.ErrorIs(t, db.Checkpoint(bg, filepath.Join(dir, "copy")), os.ErrExist)
	require.ErrorIs(t, db.Checkpoint(bg, ""), pebblemq.ErrInvalid)
	require.ErrorIs(t, db.Checkpoint(bg, filepath.Join(dir, "store", "inside")), pebblemq.ErrInvalid)
}

func TestStatsCount(t *testing.T) {
	db := storetest.Open(t, nil)
	before := db.Stats()
	set(t, db, "k", "v")
	after := db.Stats()
	require.Equal(t, before.Operations+1, after.Operations)
	require.Greater(t, after.Syncs, before.Syncs)
	require.Positive(t, after.WALBytes)
	require.GreaterOrEqual(t, after.DiskBytes, after.WALBytes)
	require.False(t, after.Unclean || after.Failed || after.DiskFull)
}

func TestAnIdleStoreIsSmall(t *testing.T) {
	for name, c := range map[string]struct {
		open  func() (*pebblemq.DB, error)
		limit int64
	}{
		"in memory": {func() (*pebblemq.DB, error) { return pebblemq.OpenMemory(nil) }, 2 << 20},
		"on disk":   {func() (*pebblemq.DB, error) { return pebblemq.Open(t.TempDir(), nil) }, 20 << 20},
	} {
		before := storetest.Heap()
		db, err := c.open()
		require.NoError(t, err)
		used := storetest.Heap() - before
		require.NoError(t, db.Close())
		require.Less(t, used, c.limit, name)
		t.Logf("%s: %d KiB", name, used>>10)
	}
}

// BenchmarkOpen is how long a test or a service waits for an empty store.
func BenchmarkOpen(b *testing.B) {
	b.Run("memory", func(b *testing.B) {
		for b.Loop() {
			db, err := pebblemq.OpenMemory(nil)
			require.NoError(b, err)
			b.StopTimer()
			require.NoError(b, db.Close())
			b.StartTimer()
		}
	})
	b.Run("disk", func(b *testing.B) {
		dir := b.TempDir()
		for b.Loop() {
			db, err := pebblemq.Open(dir, nil)
			require.NoError(b, err)
			b.StopTimer()
			require.NoError(b, db.Close())
			b.StartTimer()
		}
	})
}
