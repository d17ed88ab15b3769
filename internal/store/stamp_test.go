package store_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
)

const (
	generations = 3
	cells       = 1000 // keys of a generation
	cellBytes   = 2000
)

// cell is the value of a key in a generation. All values have one size and cannot be
// compressed, so the blocks of two generations lie at the same offsets.
func cell(generation, n int) string {
	b := make([]byte, cellBytes)
	_, _ = rand.NewChaCha8([32]byte{byte(generation), byte(n), byte(n >> 8)}).Read(b)
	return string(b)
}

// overwritten returns a closed store whose keys were all written several times, and the
// table of each generation.
func overwritten(t *testing.T) (fs *vfs.MemFS, tables []string) {
	t.Helper()
	fs = vfs.NewMem()
	o := store.Options{FS: fs, Dir: "data", MemoryBytes: 32 << 20, NoCompactions: true}
	for g := range generations {
		s := openStore(t, o)
		for n := range cells {
			require.NoError(t, s.Do(ctx, set(fmt.Sprintf("%04d", n), cell(g, n)), store.NoSync))
		}
		require.NoError(t, s.Close())
	}
	require.NoError(t, openStore(t, o).Close())
	tables = slices.DeleteFunc(files(t, fs, ".sst"), func(name string) bool { return len(contents(t, fs, name)) < cells*cellBytes })
	require.Len(t, tables, generations)
	return fs, tables
}

// inPlace overwrites a file: those who have it open see it.
func inPlace(t *testing.T, fs vfs.FS, name string, b []byte) {
	t.Helper()
	f, err := fs.OpenReadWrite("data/"+name, vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	_, err = f.WriteAt(b, 0)
	require.NoError(t, errors.Join(err, f.Close()))
}

// readCells reads all keys. It returns how many are right; the others are refused as
// damage that names one of the tables.
func readCells(t *testing.T, s *store.Store, tables []string) (right int) {
	t.Helper()
	for n := range cells {
		v, err := s.Get(ctx, key(fmt.Sprintf("%04d", n)))
		if err == nil {
			require.Equal(t, cell(generations-1, n), string(v), "key %d", n)
			right++
			continue
		}
		require.ErrorIs(t, err, store.ErrCorrupt)
		require.Condition(t, func() bool {
			return slices.ContainsFunc(tables, func(name string) bool { return strings.Contains(err.Error(), name) })
		}, err)
	}
	return right
}

// put gives a file the content of a table.
type put func(t *testing.T, fs vfs.FS, name string, b []byte)

// misplacements put whole tables into the place of others.
var misplacements = []struct {
	name string
	do   func(t *testing.T, fs vfs.FS, tables []string, put put)
}{
	{"swapped", func(t *testing.T, fs vfs.FS, tables []string, put put) {
		older, newer := contents(t, fs, tables[1]), contents(t, fs, tables[2])
		put(t, fs, tables[2], older)
		put(t, fs, tables[1], newer)
	}},
	{"overwritten by an older one", func(t *testing.T, fs vfs.FS, tables []string, put put) {
		put(t, fs, tables[2], contents(t, fs, tables[0]))
	}},
	{"deleted and made again", func(t *testing.T, fs vfs.FS, tables []string, _ put) {
		older := contents(t, fs, tables[1])
		require.NoError(t, fs.Remove("data/"+tables[2]))
		replace(t, fs, tables[2], older)
	}},
}

func withoutCompactions(fs vfs.FS) store.Options {
	o := small(fs)
	o.NoCompactions = true
	return o
}

func TestTableInThePlaceOfAnotherIsRefused(t *testing.T) {
	for _, m := range misplacements {
		t.Run(m.name, func(t *testing.T) {
			fs, tables := overwritten(t)
			require.Equal(t, len(contents(t, fs, tables[0])), len(contents(t, fs, tables[2])), "the engine compares sizes")
			m.do(t, fs, tables, replace)
			s := openStore(t, withoutCompactions(fs))
			require.Zero(t, readCells(t, s, tables))
			r, err := s.Verify(ctx, fast())
			require.NoError(t, err)
			require.ErrorContains(t, r.Err(), "another table")
			require.NoError(t, s.Close())
		})
	}
}

// The index of the table that was opened leads to blocks of the other one, whose checksums
// are right.
func TestOpenTableIsNoticedToBeAnother(t *testing.T) {
	for _, m := range misplacements {
		t.Run(m.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fs, tables := overwritten(t)
				s := openStore(t, withoutCompactions(fs))
				require.Equal(t, cells, readCells(t, s, tables))
				m.do(t, fs, tables, inPlace)
				<-time.After(time.Second)
				readCells(t, s, tables) // those of the cache, and of a deleted file that is open, are right
				require.NoError(t, s.Close())
			})
		})
	}
}

// A compaction that has read a block of another table must not put it into the store for good.
// It is parked instead, for ever, so a process of its own has the bubble: there no time passes
// while the compaction reads, and none of its reads compares the footer.
func TestACompactionKeepsNoBlockOfAnotherTable(t *testing.T) {
	child(t, "TestCompactionOfAnotherTableChild", "-")
}

func TestCompactionOfAnotherTableChild(t *testing.T) {
	childArgs(t)
	synctest.Test(t, func(t *testing.T) {
		mem, tables := overwritten(t)
		newest := tables[len(tables)-1]
		older := contents(t, mem, tables[0])
		fs := storetest.NewFS(mem)
		var reads atomic.Int32
		fs.SetReadHook(func(c storetest.Call) error {
			if c.Name == newest && reads.Add(1) == 100 { // behind the footer, the index and some blocks
				inPlace(t, mem, newest, older)
			}
			return nil
		})
		s := openStore(t, small(fs))
		for n := range 500 {
			require.NoError(t, s.Do(ctx, set(fmt.Sprintf("%04d/more", n), cell(0, n)), store.NoSync))
		}
		synctest.Wait()
		require.Greater(t, reads.Load(), int32(100), "a compaction reads it")
		<-time.After(time.Second) // then each read compares
		readCells(t, s, append(tables, "store is damaged"))
		fmt.Println(childDone)
		os.Exit(0)
	})
}

// The engine panics if a key of a lower level is newer than one of the first.
func TestTablesThatWereSwappedDoNotEndTheHost(t *testing.T) {
	child(t, "TestSwappedTablesChild", "-")
}

func TestSwappedTablesChild(t *testing.T) {
	childArgs(t)
	fs, tables := overwritten(t)
	misplacements[0].do(t, fs, tables, replace)
	s := openStore(t, small(fs))
	require.Zero(t, readCells(t, s, tables))
	for i := range 2000 {
		require.NoError(t, s.Do(ctx, set(fmt.Sprintf("other/%d", i), cell(0, i)), store.NoSync))
	}
	require.NoError(t, s.Close())
	fmt.Println(childDone)
}

// The engine takes in the tables of Salvage under new names.
func TestTablesOfSalvageAreStamped(t *testing.T) {
	fs, _ := overwritten(t)
	_, err := store.Salvage(ctx, "data", "saved", saveOptions(fs))
	require.NoError(t, err)
	names, err := fs.List("saved")
	require.NoError(t, err)
	tables := slices.DeleteFunc(names, func(name string) bool { return !strings.HasSuffix(name, ".sst") })
	require.NotEmpty(t, tables)
	for _, name := range tables {
		f, err := fs.Open("saved/" + name)
		require.NoError(t, err)
		b, err := io.ReadAll(f)
		require.NoError(t, errors.Join(err, f.Close()))
		const footer, number = 57, 33
		require.Equal(t, name, fmt.Sprintf("%06d.sst", binary.BigEndian.Uint64(b[len(b)-footer+number:])))
	}
}

// A table without a stamp was written before there were any.
func TestTableWithoutAStampIsRead(t *testing.T) {
	fs, tables := overwritten(t)
	for _, name := range tables {
		b := contents(t, fs, name)
		footer := b[len(b)-57:]
		clear(footer[33:41])
		crc := crc32.MakeTable(crc32.Castagnoli)
		sum := crc32.Update(crc32.Checksum(footer[:41], crc), crc, footer[45:])
		binary.LittleEndian.PutUint32(footer[41:], (sum>>15|sum<<17)+0xa282ead8)
		replace(t, fs, name, b)
	}
	s := openStore(t, withoutCompactions(fs))
	require.Equal(t, cells, readCells(t, s, tables))
	r, err := s.Verify(ctx, fast())
	require.NoError(t, err)
	require.NoError(t, r.Err())
	require.NoError(t, s.Close())
}
