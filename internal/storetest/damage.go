package storetest

import (
	"context"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/sstable/block"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
)

// DamageTables flips a bit in each table of directory "data" that holds keys of a kind. It does
// so in the data blocks at the given parts of the table: 0 is its first block, 1 its last. The
// store must be closed, and have such a table. Undo makes the tables whole again.
func DamageTables(t testing.TB, fs vfs.FS, kind store.Kind, parts ...float64) (undo func()) {
	t.Helper()
	whole := make(map[string][]byte)
	names, err := fs.List("data")
	require.NoError(t, err)
	for _, name := range names {
		if !strings.HasSuffix(name, ".sst") {
			continue
		}
		path := fs.PathJoin("data", name)
		blocks := dataBlocks(t, fs, path, kind)
		if len(blocks) == 0 {
			continue
		}
		content := contents(t, fs, path)
		whole[path] = slices.Clone(content)
		for _, at := range damagedBlocks(len(blocks), parts) {
			content[blocks[at].Offset+blocks[at].Length/2] ^= 0x10
		}
		overwrite(t, fs, path, content)
	}
	require.NotEmpty(t, whole, "no table holds keys of kind %#x", byte(kind))
	return func() {
		for path, content := range whole {
			overwrite(t, fs, path, content)
		}
	}
}

// EachFifth is the durability of message i, so that five messages share a segment of their queue, and
// a damaged block has some segments and not all.
func EachFifth(i int) store.Durability {
	if i%5 == 4 {
		return store.Sync
	}
	return store.NoSync
}

// damagedBlocks returns the numbers of the blocks at the given parts, each once.
func damagedBlocks(blocks int, parts []float64) []int {
	var list []int
	for _, part := range parts {
		list = append(list, int(part*float64(blocks-1)+0.5))
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// dataBlocks returns the data blocks of a table if its keys are of a kind.
func dataBlocks(t testing.TB, fs vfs.FS, path string, kind store.Kind) (blocks []block.HandleWithProperties) {
	t.Helper()
	f, err := fs.Open(path)
	require.NoError(t, err)
	readable, err := sstable.NewSimpleReadable(f)
	require.NoError(t, err)
	o := &pebble.Options{}
	o.EnsureDefaults()
	r, err := sstable.NewReader(context.Background(), readable, o.MakeReaderOptions())
	require.NoError(t, err)
	defer func() { require.NoError(t, r.Close()) }()
	it, err := r.NewIter(sstable.NoTransforms, nil, nil, sstable.AssertNoBlobHandles)
	require.NoError(t, err)
	first := it.First()
	mine := first != nil && first.K.UserKey[0] == byte(kind)
	require.NoError(t, it.Close())
	if !mine {
		return nil
	}
	layout, err := r.Layout()
	require.NoError(t, err)
	return layout.Data
}

func contents(t testing.TB, fs vfs.FS, path string) []byte {
	t.Helper()
	f, err := fs.Open(path)
	require.NoError(t, err)
	b, err := io.ReadAll(f)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	return b
}

func overwrite(t testing.TB, fs vfs.FS, path string, content []byte) {
	t.Helper()
	f, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	_, err = f.Write(content)
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, f.Close())
}
