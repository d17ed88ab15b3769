package store_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
)

func init() {
	for _, c := range []store.Class{store.ClassTopic, store.ClassGroup, store.ClassBroker} {
		store.RegisterCheck(c, func(*store.Audit, *store.Object) error { return nil })
	}
}

func saveOptions(fs vfs.FS) store.SalvageOptions { return store.SalvageOptions{FS: fs} }

func TestSalvageRefusesWhatItCannotDo(t *testing.T) {
	fs := vfs.NewMem()
	mixed(t, fs)
	require.NoError(t, fs.MkdirAll("other", 0o755))
	require.NoError(t, fs.MkdirAll("full/inside", 0o755))
	f, err := fs.Create("file", vfs.WriteCategoryUnspecified)
	require.NoError(t, errors.Join(err, f.Close()))
	for _, c := range []struct {
		src, dst string
		want     error
	}{
		{"nowhere", "saved", store.ErrNotStore},
		{"file", "saved", store.ErrNotStore},
		{"other", "saved", store.ErrNotStore},
		{"data", "full", os.ErrExist},
		{"data", "", store.ErrInvalid},
		{"data", "data", store.ErrInvalid},
		{"data", "data/saved", store.ErrInvalid},
		{"data", "file", store.ErrNotStore},
	} {
		_, err := store.Salvage(ctx, c.src, c.dst, saveOptions(fs))
		require.ErrorIs(t, err, c.want, "%s to %s", c.src, c.dst)
	}
	for _, dir := range []string{"saved", "data/saved"} {
		_, err = fs.Stat(dir)
		require.ErrorIs(t, err, os.ErrNotExist, dir)
	}

	s := openStore(t, small(fs))
	_, err = store.Salvage(ctx, "data", "saved", saveOptions(fs))
	require.ErrorIs(t, err, store.ErrLocked)
	require.NoError(t, s.Close())
	replace(t, fs, "FORMAT", []byte("pebblemq store, format 2\n"))
	_, err = store.Salvage(ctx, "data", "saved", saveOptions(fs))
	require.ErrorIs(t, err, store.ErrFormat)
}

func TestSalvageRefusesObjectsThatNoLayerRepairs(t *testing.T) {
	fs := vfs.NewMem()
	s := openStore(t, small(fs))
	inTurn(t, s, func(turn *store.Turn) error {
		_, err := turn.Create(store.ClassNamespace, "n", nil)
		return err
	})
	require.NoError(t, s.Close())
	_, err := store.Salvage(ctx, "data", "saved", saveOptions(fs))
	require.ErrorIs(t, err, store.ErrInvalid)
	require.ErrorContains(t, err, "package idempotency")
	_, err = fs.Stat("saved")
	require.ErrorIs(t, err, os.ErrNotExist)
}

// Whatever file cannot be created, Salvage says so and leaves nothing.
func TestSalvageThatFailsLeavesNothing(t *testing.T) { child(t, "TestFailingSalvageInChild", "run") }

func TestFailingSalvageInChild(t *testing.T) {
	childArgs(t)
	mem := vfs.NewMem()
	want := mixed(t, mem)
	for _, existed := range []bool{false, true} {
		for n := int64(1); ; n++ {
			fs := storetest.NewFS(mem)
			require.NoError(t, mem.RemoveAll("saved"))
			if existed {
				require.NoError(t, mem.MkdirAll("saved", 0o755))
			}
			fault := &storetest.Fault{Op: storetest.OpCreate, N: n, Forever: true, Err: syscall.EIO}
			fs.SetHook(fault.Hook)
			_, err := store.Salvage(ctx, "data", "saved", saveOptions(fs))
			if err == nil {
				require.False(t, fault.Hit())
				break
			}
			require.ErrorIs(t, err, syscall.EIO, "file %d", n)
			names, err := mem.List("saved")
			if existed {
				require.NoError(t, err)
				require.Empty(t, names)
			} else {
				require.ErrorIs(t, err, os.ErrNotExist)
			}
		}
	}
	o := small(mem)
	o.Dir = "saved"
	s := openStore(t, o)
	require.Equal(t, want, everything(t, s))
	require.NoError(t, s.Close())
	fmt.Println(childDone)
}

func TestSalvageEndsWithItsContext(t *testing.T) {
	fs := vfs.NewMem()
	mixed(t, fs)
	for stop := 1; stop < 40; stop += 3 {
		ctx, cancel := context.WithCancel(ctx)
		n := 0
		o := saveOptions(fs)
		o.Progress = func(store.SalvageProgress) {
			if n++; n == stop {
				cancel()
			}
		}
		_, err := store.Salvage(ctx, "data", "saved", o)
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, stop, n)
		_, err = fs.Stat("saved")
		require.ErrorIs(t, err, os.ErrNotExist)
	}
}

func TestSalvageTellsWhatWasAcknowledgedAndIsGone(t *testing.T) {
	fs := crashed(t, 300)
	log := newest(t, fs, ".log")
	replace(t, fs, log, contents(t, fs, log)[:10_000])
	_, err := store.Open(small(fs))
	require.ErrorIs(t, err, store.ErrCorrupt)
	r, s := salvage(t, fs)
	require.ErrorIs(t, r.Err(), store.ErrCorrupt)
	require.EqualValues(t, 300, r.LostTo)
	found := keys(t, s)
	require.Len(t, found, int(r.LostFrom)-1)
	require.Less(t, len(found), 300)
	require.Len(t, r.Damages, 1)
	require.Equal(t, log, r.Damages[0].File)
	require.True(t, s.Unclean())
	require.NoError(t, s.Close())
}

func TestSalvageOfATornWriteLosesNothing(t *testing.T) {
	fs := crashed(t, 100)
	log := newest(t, fs, ".log")
	replace(t, fs, log, append(contents(t, fs, log), "the beginning of another record"...))
	r, s := salvage(t, fs)
	require.NoError(t, r.Err())
	require.Len(t, keys(t, s), 100)
	require.NoError(t, s.Close())
}

func TestSalvageWithoutSomeFiles(t *testing.T) {
	for _, file := range []string{"FORMAT", "SYNCED", "MANIFEST", "marker.manifest", "marker.format", "OPTIONS"} {
		t.Run(file, func(t *testing.T) {
			fs := vfs.NewMem()
			want := mixed(t, fs)
			for _, name := range files(t, fs, file) {
				require.NoError(t, fs.Remove("data/"+name))
			}
			r, s := salvage(t, fs)
			isOurs := file == "FORMAT" || file == "MANIFEST" || file == "marker.manifest"
			require.Equal(t, isOurs, r.Err() != nil)
			require.Equal(t, want, everything(t, s))
			require.NoError(t, s.Close())
		})
	}
}

// TestSalvageLeavesOldTablesAlone salvages a store that a crash has kept from removing tables which
// it needs no more: what was deleted since is not back.
func TestSalvageLeavesOldTablesAlone(t *testing.T) {
	fs := vfs.NewMem()
	mixed(t, fs)
	old := make(map[string][]byte)
	for _, name := range files(t, fs, ".sst") {
		old[name] = contents(t, fs, name)
	}
	want := mixed(t, fs)
	s := openStore(t, small(fs)) // whose MANIFEST has never known them
	require.NoError(t, s.Close())
	for _, name := range files(t, fs, ".sst") {
		delete(old, name)
	}
	require.NotEmpty(t, old)
	for name, b := range old {
		replace(t, fs, name, b)
	}
	r, s := salvage(t, fs)
	require.NoError(t, r.Err())
	require.Equal(t, want, everything(t, s))
	require.NoError(t, s.Close())
}

func TestSalvageWithTablesSwappedOrMissing(t *testing.T) {
	fs := vfs.NewMem()
	want := mixed(t, fs)
	s := openStore(t, small(fs)) // and compact
	require.NoError(t, s.Close())
	tables := files(t, fs, ".sst")
	require.Greater(t, len(tables), 1)
	first, second := contents(t, fs, tables[0]), contents(t, fs, tables[1])
	replace(t, fs, tables[0], second)
	replace(t, fs, tables[1], first)
	r, s := salvage(t, fs)
	require.NotEmpty(t, r.Damages)
	require.ErrorContains(t, r.Damages[0].Err, "another table")
	require.Equal(t, want, everything(t, s), "nothing of it is lost")
	require.NoError(t, s.Close())

	replace(t, fs, tables[0], first)
	require.NoError(t, fs.Remove("data/"+tables[1]))
	r, s = salvage(t, fs)
	require.Len(t, r.Damages, 1)
	require.Equal(t, tables[1], r.Damages[0].File)
	require.ErrorContains(t, r.Damages[0].Err, "missing")
	require.NoError(t, s.Close())
}

func TestSalvageDropsWhatIsLeftOfLostObjects(t *testing.T) {
	fs := vfs.NewMem()
	s := openStore(t, small(fs))
	record := func(turn *store.Turn, id uint32, n int) {
		for i := range n {
			turn.Set(append(store.Key(store.KindLogBatch, id, 1), byte(i)), []byte(strings.Repeat("x", 100)))
		}
	}
	inTurn(t, s, func(turn *store.Turn) error {
		o, err := turn.Create(store.ClassTopic, "events", nil)
		record(turn, o.ID, 3)
		record(turn, 77, 5)
		turn.Set(store.Key(store.KindLogMeta, 77, 0), nil)
		_, groupErr := turn.Create(store.ClassGroup, string(binary.BigEndian.AppendUint32(nil, 99))+"orphan", nil)
		return errors.Join(err, groupErr)
	})
	v, err := s.Verify(ctx, fast())
	require.NoError(t, err)
	var found []string
	for _, c := range v.Contradictions {
		found = append(found, c.String())
	}
	text := strings.Join(found, "\n")
	require.Contains(t, text, `5 keys, 530 bytes of records belong to object 77, which is not in the catalog`)
	require.Contains(t, text, `lies in a topic that is not in the catalog`)
	require.Contains(t, text, `the next object id is 00000003, ids up to 77 are in use`)
	require.NoError(t, s.Close())
	r, s := salvage(t, fs)
	require.Len(t, r.Lost, 1)
	require.Equal(t, "records, partition starts of object 77, which is not in the catalog: 6 keys, 535 bytes", r.Lost[0].String())
	require.Empty(t, r.Unrepaired)
	require.Equal(t, []string{"events #1 "}, listing(t, s, store.ClassTopic, ""))
	require.Empty(t, listing(t, s, store.ClassGroup, ""))
	inTurn(t, s, func(turn *store.Turn) error {
		o, err := turn.Create(store.ClassTopic, "new", nil)
		require.EqualValues(t, 78, o.ID, "no id is used again")
		return err
	})
	require.NoError(t, s.Close())
}

func TestSalvageDropsMalformedRecordsOfTheKernel(t *testing.T) {
	fs := vfs.NewMem()
	s := openStore(t, small(fs))
	inTurn(t, s, func(turn *store.Turn) error {
		for _, key := range []string{"\x00sxx", "\x01\x01bad", "\x03\x00\x01", "\x04\x00\x00\x00\x01"} {
			turn.Set([]byte(key), []byte{1})
		}
		turn.Set([]byte("\x00i"), []byte{1})
		turn.Set([]byte("\x02app"), []byte("kept"))
		return nil
	})
	require.NoError(t, s.Close())
	_, err := store.Open(small(fs))
	require.ErrorIs(t, err, store.ErrCorrupt)
	r, s := salvage(t, fs)
	require.Len(t, r.Repaired, 5, fmt.Sprint(r.Repaired))
	require.Equal(t, map[string]string{"\x02app": "kept"}, everything(t, s))
	require.NoError(t, s.Close())
}
