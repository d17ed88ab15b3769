package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
)

// crashTorn returns what a crash leaves, with the beginning of a record at the end of the
// newest WAL.
func crashTorn(t *testing.T, fs *vfs.MemFS) *vfs.MemFS {
	t.Helper()
	fs = fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: noRand})
	log := newest(t, fs, ".log")
	replace(t, fs, log, append(contents(t, fs, log), "the beginning of a record that was not synced"...))
	return fs
}

func requireWhole(t *testing.T, s *store.Store) {
	t.Helper()
	r, err := s.Verify(ctx, fast())
	require.NoError(t, err)
	require.NoError(t, r.Err())
}

// A WAL whose changes are in tables may still be there when the engine fails to delete it.
func TestObsoleteWALMayBeTorn(t *testing.T) {
	fs := storetest.NewFS(crashTorn(t, crashed(t, 100)))
	old := newest(t, fs, ".log")
	fs.SetHook(func(c storetest.Call) error {
		if c.Op == storetest.OpRemove && strings.HasSuffix(c.Name, ".log") {
			return errors.New("not now")
		}
		return nil
	})
	s := openStore(t, small(fs))
	require.Contains(t, files(t, fs, ".log"), old)
	requireWhole(t, s)
	require.NoError(t, s.Close())
}

// A life that has nothing to recover must not keep the WAL: the end of one that is not the
// newest may not be torn.
func TestWALWithoutAWholeRecordMayBeTorn(t *testing.T) {
	fs := crashed(t, 100)
	s := openStore(t, small(fs))
	torn := crashTorn(t, fs)
	require.NoError(t, s.Close())

	s = openStore(t, small(torn))
	requireWhole(t, s)
	require.NoError(t, s.Do(ctx, set("another", "value"), store.Sync))
	requireWhole(t, s)
	again := crashTorn(t, torn)
	require.NoError(t, s.Close())

	s = openStore(t, small(again))
	require.Len(t, keys(t, s), 101)
	requireWhole(t, s)
	require.NoError(t, s.Close())
}

func TestVerifyFindsLossInAnOlderWAL(t *testing.T) {
	s, gate, fs := gated(t, storetest.ClassTable, storetest.OpCreate)
	gate.Shut() // so that several WALs are live
	for i := range 60 {
		require.NoError(t, s.Do(ctx, set(fmt.Sprint(i), strings.Repeat("x", 9<<10)), store.Sync))
	}
	logs := files(t, fs, ".log")
	require.Greater(t, len(logs), 1)
	requireWhole(t, s)
	whole := contents(t, fs, logs[0])
	for _, harm := range []func([]byte) []byte{
		func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
		func(b []byte) []byte { return b[:len(b)-len(b)/4] },
	} {
		replace(t, fs, logs[0], harm(bytes.Clone(whole)))
		r, err := s.Verify(ctx, fast())
		require.NoError(t, err)
		require.NotEmpty(t, r.Damages)
		require.Equal(t, logs[0], r.Damages[0].File)
	}
	replace(t, fs, logs[0], whole)
	gate.Open()
	require.NoError(t, s.Close())
}
