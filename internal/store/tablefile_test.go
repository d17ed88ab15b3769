package store

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/sstable/block"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

// writtenTable writes a store of one large table, and returns the file and its name.
func writtenTable(t *testing.T, keys, valueSize int) (fs *vfs.MemFS, name string) {
	t.Helper()
	fs = vfs.NewMem()
	s, err := Open(Options{FS: fs, Dir: "data", MemoryBytes: 64 << 20})
	require.NoError(t, err)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range keys {
		value := make([]byte, valueSize)
		for j := range value {
			value[j] = byte(rng.Uint32())
		}
		require.NoError(t, s.db.Set(fmt.Appendf([]byte{byte(KindApp)}, "key %06d", i), value, nil))
	}
	require.NoError(t, s.db.DeleteRange([]byte{byte(KindApp), 'x'}, []byte{byte(KindApp), 'y'}, nil))
	require.NoError(t, s.db.Flush())
	require.NoError(t, s.Close())
	names, err := fs.List("data")
	require.NoError(t, err)
	var largest int64
	for _, n := range names {
		info, err := fs.Stat("data/" + n)
		require.NoError(t, err)
		if strings.HasSuffix(n, ".sst") && info.Size() > largest {
			name, largest = n, info.Size()
		}
	}
	return fs, name
}

func unpaced(int) error { return nil }

func openTableFile(t *testing.T, fs vfs.FS, name string) *tableFile {
	t.Helper()
	f, err := openTable(fs, "data", name, unpaced)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	return f
}

// read returns the keys of a map's data blocks.
func (m *tableMap) read(t *testing.T, f *tableFile) (keys []string) {
	t.Helper()
	for _, e := range m.data {
		b, err := f.block(e.Handle)
		if err != nil {
			require.ErrorIs(t, err, ErrCorrupt)
			continue
		}
		var c blockCursor
		for err = c.open(b); err == nil && c.valid(); err = c.next() {
			require.LessOrEqual(t, bytes.Compare(c.key.UserKey, e.hi), 0)
			keys = append(keys, string(c.key.UserKey[1:]))
		}
		require.NoError(t, err)
	}
	return keys
}

func rewrite(t *testing.T, fs vfs.FS, name string, edit func([]byte)) {
	t.Helper()
	f, err := fs.Open("data/" + name)
	require.NoError(t, err)
	b, err := io.ReadAll(f)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	edit(b)
	w, err := fs.Create("data/"+name, vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	_, err = w.Write(b)
	require.NoError(t, err)
	require.NoError(t, w.Close())
}

func TestWholeTableIsSurveyed(t *testing.T) {
	const keys = 20000
	fs, name := writtenTable(t, keys, 100)
	f := openTableFile(t, fs, name)
	m, err := f.survey()
	require.NoError(t, err)
	require.Empty(t, m.damaged)
	require.False(t, m.blind)
	require.Empty(t, m.gaps(f.size), "each byte of the file belongs to a known block")
	found := m.read(t, f)
	require.Len(t, found, keys)
	require.True(t, slices.IsSorted(found))
}

// Each block of the file is damaged in turn. Apart from data blocks, none costs a key.
func TestTableIsReadAroundADamagedBlock(t *testing.T) {
	const keys = 20000
	fs, name := writtenTable(t, keys, 100)
	f := openTableFile(t, fs, name)
	whole, err := f.survey()
	require.NoError(t, err)
	isData := make(map[block.Handle]int)
	for _, e := range whole.data {
		b, err := f.block(e.Handle)
		require.NoError(t, err)
		var c blockCursor
		for err = c.open(b); err == nil && c.valid(); err = c.next() {
			isData[e.Handle]++
		}
		require.NoError(t, err)
	}
	require.Greater(t, len(whole.data), 50)
	require.Greater(t, len(whole.known)-len(whole.data), 4)
	for i, h := range whole.known {
		if isData[h] > 0 && i%100 > 0 {
			continue
		}
		at := h.Offset + h.Length/2
		flip := func(b []byte) { b[at] ^= 0x10 }
		rewrite(t, fs, name, flip)
		f := openTableFile(t, fs, name)
		m, err := f.survey()
		require.NoError(t, err)
		if isData[h] == 0 {
			require.Len(t, m.damaged, 1, "block at %d", h.Offset)
			require.Equal(t, h, m.damaged[0].Handle)
		}
		if m.blind {
			require.NoError(t, f.scan(m))
			require.Len(t, m.damaged, 1, "block at %d", h.Offset)
		}
		require.Len(t, m.read(t, f), keys-isData[h], "block at %d of %d", h.Offset, f.size)
		rewrite(t, fs, name, flip)
	}
}

// With the footer gone nothing leads to the blocks, and a damaged one among them hides
// where the next begins.
func TestTableWithoutFooterIsScannedPastDamage(t *testing.T) {
	const keys = 20000
	fs, name := writtenTable(t, keys, 100)
	f := openTableFile(t, fs, name)
	whole, err := f.survey()
	require.NoError(t, err)
	bad := whole.data[len(whole.data)/2]
	rewrite(t, fs, name, func(b []byte) {
		b[len(b)-1]++
		b[bad.Offset+7]++
	})
	f = openTableFile(t, fs, name)
	m, err := f.survey()
	require.NoError(t, err)
	require.NoError(t, f.scan(m))
	require.Len(t, m.data, len(whole.data)-1)
	require.Len(t, m.damaged, 2)
	require.Equal(t, partUnknown, m.damaged[1].part)
	require.Equal(t, block.Handle{Offset: bad.Offset, Length: bad.Length + block.TrailerLen}, m.damaged[1].Handle)
	require.Equal(t, m.data[len(whole.data)/2-1].hi, m.damaged[1].lo)
	require.Len(t, whole.deletions, 1)
	require.Equal(t, whole.deletions, m.deletions)
}
