package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
)

// crashed returns what a crash leaves after n Sync changes.
func crashed(t *testing.T, n int) *vfs.MemFS {
	t.Helper()
	mem := vfs.NewCrashableMem()
	s := openStore(t, small(mem))
	for i := range n {
		require.NoError(t, s.Do(ctx, set(fmt.Sprintf("%04d", i), strings.Repeat("x", 100)), store.Sync))
	}
	clone := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: noRand})
	require.NoError(t, s.Close())
	return clone
}

func contents(t *testing.T, fs vfs.FS, name string) []byte {
	t.Helper()
	f, err := fs.Open("data/" + name)
	require.NoError(t, err)
	defer f.Close()
	b, err := io.ReadAll(f)
	require.NoError(t, err)
	return b
}

func replace(t *testing.T, fs vfs.FS, name string, b []byte) {
	t.Helper()
	f, err := fs.Create("data/"+name, vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	_, err = f.Write(bytes.Clone(b)) // under the race detector the file system spoils what it was given
	require.NoError(t, errors.Join(err, f.Sync(), f.Close()))
}

func flip(t *testing.T, fs vfs.FS, name string, at int) {
	t.Helper()
	b := contents(t, fs, name)
	b[at] ^= 0x10
	replace(t, fs, name, b)
}

// files lists those whose names begin or end with part, oldest first.
func files(t *testing.T, fs vfs.FS, part string) []string {
	t.Helper()
	names, err := fs.List("data")
	require.NoError(t, err)
	names = slices.DeleteFunc(names, func(n string) bool { return !strings.HasPrefix(n, part) && !strings.HasSuffix(n, part) })
	slices.Sort(names)
	require.NotEmpty(t, names)
	return names
}

func newest(t *testing.T, fs vfs.FS, part string) string {
	t.Helper()
	names := files(t, fs, part)
	return names[len(names)-1]
}

// The engine takes damage at the end of its newest WAL for a torn write. The store must not:
// acknowledged changes are gone.
func TestDamagedWALIsReported(t *testing.T) {
	size := len(contents(t, crashed(t, 300), newest(t, crashed(t, 300), ".log")))
	for at := 3; at < size; at += size/25 - 1 {
		fs := crashed(t, 300)
		log := newest(t, fs, ".log")
		if at%2 == 0 {
			flip(t, fs, log, at)
		} else {
			replace(t, fs, log, contents(t, fs, log)[:at])
		}
		for i := range 2 { // it stays an error
			_, err := store.Open(small(fs))
			require.ErrorIs(t, err, store.ErrCorrupt, "at %d of %d", at, size)
			if i == 0 {
				require.ErrorContains(t, err, log)
			}
			fs = fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: noRand})
		}
		require.NoError(t, fs.Remove("data/SYNCED"))
		s, err := store.Open(small(fs))
		if err != nil {
			require.ErrorIs(t, err, store.ErrCorrupt, "the engine knows it by itself")
			continue
		}
		found := keys(t, s)
		require.Less(t, len(found), 300)
		for i := range len(found) {
			require.Contains(t, found, fmt.Sprintf("%04d", i), "what is left is the beginning")
		}
		require.NoError(t, s.Close())
	}
}

func TestTornTailOfUnsyncedDataIsFine(t *testing.T) {
	fs := crashed(t, 100)
	log := newest(t, fs, ".log")
	replace(t, fs, log, append(contents(t, fs, log), "the beginning of another record"...))
	s := openStore(t, small(fs))
	require.Len(t, keys(t, s), 100)
	require.NoError(t, s.Close())
}

// severalWALs returns what a crash leaves of a store whose tables cannot be written, and its
// WALs.
func severalWALs(t *testing.T) (crashed *vfs.MemFS, logs []string) {
	t.Helper()
	s, gate, fs := gated(t, storetest.ClassTable, storetest.OpCreate)
	gate.Shut()
	for i := range 60 {
		require.NoError(t, s.Do(ctx, set(fmt.Sprint(i), strings.Repeat("x", 9<<10)), store.Sync))
	}
	crashed = fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: noRand})
	gate.Open()
	require.NoError(t, s.Close())
	logs = files(t, crashed, ".log")
	require.Greater(t, len(logs), 1)
	return crashed, logs
}

func TestDamagedOlderWALIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clone, logs := severalWALs(t)
		flip(t, clone, logs[0], 5000)
		_, err := store.Open(small(clone))
		require.ErrorIs(t, err, store.ErrCorrupt)
	})
}

// damageLargeTables flips bits all over the tables that hold entries, and reports
// whether there are any.
func damageLargeTables(t *testing.T, fs vfs.FS) (found bool) {
	t.Helper()
	for _, name := range files(t, fs, ".sst") {
		b := contents(t, fs, name)
		if len(b) <= 100<<10 {
			continue
		}
		for at := 1000; at < len(b)-1000; at += 500 {
			b[at] ^= 0x10
		}
		replace(t, fs, name, b)
		found = true
	}
	return found
}

func TestDamagedTableIsAnErrorOfItsReaders(t *testing.T) {
	child(t, "TestDamagedTableReadersChild", "-")
}

func TestDamagedTableReadersChild(t *testing.T) {
	childArgs(t)
	fs := vfs.NewMem()
	s := openStore(t, small(fs))
	l, err := openLedger(s, entrySize, 0)
	require.NoError(t, err)
	require.NoError(t, fill(l))
	require.NoError(t, s.Close())
	damaged := false
	for try := 0; try < 20 && !damaged; try++ {
		if try > 0 { // Close was quicker than the flush; Open flushes what it replays
			require.NoError(t, openStore(t, small(fs)).Close())
		}
		damaged = damageLargeTables(t, fs)
	}
	require.True(t, damaged)

	s, err = store.Open(small(fs))
	require.NoError(t, err)
	var readErr error
	for n := uint64(1); n <= l.next && readErr == nil; n++ {
		_, readErr = s.Get(ctx, entryKey(n))
	}
	require.ErrorIs(t, readErr, store.ErrCorrupt)
	_, _, err = countEntries(s, entrySize)
	require.ErrorIs(t, err, store.ErrCorrupt)
	require.NoError(t, s.Do(ctx, set("a", "1"), store.Sync), "the rest of the store goes on")
	require.Equal(t, "1", get(t, s, "a"))
	require.NoError(t, s.Close())
	fmt.Println(childDone)
}

func TestDamagedFiles(t *testing.T) {
	garbage := []byte(strings.Repeat("no such thing ", 10))
	for _, c := range []struct {
		file  string
		bytes []byte // nil: remove the file
		want  error  // nil: it opens
	}{
		{"FORMAT", garbage, store.ErrCorrupt},
		{"FORMAT", []byte{}, store.ErrCorrupt},
		{"FORMAT", []byte("pebblemq store, format 1"), store.ErrCorrupt},
		{"FORMAT", []byte("pebblemq store, format 1\nmore\n"), store.ErrCorrupt},
		{"FORMAT", []byte("pebblemq store, format +1\n"), store.ErrCorrupt},
		{"FORMAT", []byte("pebblemq store, format 99999999999999999999\n"), store.ErrCorrupt},
		{"FORMAT", []byte("pebblemq store, format 2\n"), store.ErrFormat},
		{"FORMAT", []byte("pebblemq store, format 0\n"), store.ErrFormat},
		{"FORMAT", nil, store.ErrCorrupt},
		{"SYNCED", garbage, nil},
		{"SYNCED", garbage[:5], nil},
		{"SYNCED", []byte{}, nil},
		{"SYNCED", nil, nil},
		{"MANIFEST", garbage, store.ErrCorrupt},
		{"MANIFEST", []byte{}, store.ErrCorrupt},
		{"MANIFEST", nil, store.ErrCorrupt},
		{"marker.manifest", nil, store.ErrCorrupt},
		{".log", nil, store.ErrCorrupt},
	} {
		t.Run(fmt.Sprintf("%s %.30q", c.file, c.bytes), func(t *testing.T) {
			fs := crashed(t, 20)
			name := newest(t, fs, c.file)
			if c.bytes == nil {
				require.NoError(t, fs.Remove("data/"+name))
			} else {
				replace(t, fs, name, c.bytes)
			}
			for range 2 {
				s, err := store.Open(small(fs))
				require.ErrorIs(t, err, c.want)
				if err == nil {
					require.Len(t, keys(t, s), 20)
					require.NoError(t, s.Close())
				}
			}
		})
	}
}

// A manifest cut short anywhere either says so or has lost nothing that counts.
func TestTruncatedManifest(t *testing.T) {
	size := len(contents(t, crashed(t, 20), newest(t, crashed(t, 20), "MANIFEST")))
	for at := range size {
		fs := crashed(t, 20)
		name := newest(t, fs, "MANIFEST")
		replace(t, fs, name, contents(t, fs, name)[:at])
		s, err := store.Open(small(fs))
		if err != nil {
			require.ErrorIs(t, err, store.ErrCorrupt, "at %d", at)
			continue
		}
		require.Len(t, keys(t, s), 20, "at %d", at)
		require.NoError(t, s.Close())
	}
}
