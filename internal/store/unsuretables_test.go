package store

import (
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

// hookedFile calls a function before each read, and says when it is closed.
type hookedFile struct {
	vfs.File
	onRead func()
	closed chan struct{}
}

func (f *hookedFile) ReadAt(p []byte, at int64) (int, error) {
	f.onRead()
	return f.File.ReadAt(p, at)
}

func (f *hookedFile) Close() error {
	close(f.closed)
	return f.File.Close()
}

// readTable returns a table that is open and was read, but not compared since.
func readTable(t *testing.T) (*hookedFile, *knownFile, *unsureTables) {
	t.Helper()
	fs := vfs.NewMem()
	w, err := fs.Create("000001.sst", vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	_, err = w.Write(make([]byte, 2*footerLen))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	r, err := fs.OpenReadWrite("000001.sst", vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	file := &hookedFile{File: r, onRead: func() {}, closed: make(chan struct{})}
	tables := new(unsureTables)
	known, err := newKnownFile(file, "000001.sst", 1, tables)
	require.NoError(t, err)
	known.compared.Store(int64(time.Hour)) // so that reads do not compare
	_, err = known.ReadAt(make([]byte, 1), 0)
	require.NoError(t, err)
	return file, known, tables
}

func TestATableIsClosedAfterItsComparison(t *testing.T) {
	file, known, tables := readTable(t)
	done := make(chan error)
	file.onRead = func() {
		go func() { done <- known.Close() }()
		select {
		case <-file.closed:
			t.Error("closed while it is compared")
		case <-time.After(20 * time.Millisecond):
		}
	}
	require.NoError(t, tables.compare())
	require.NoError(t, <-done)
	require.NoError(t, tables.compare(), "nothing is left to compare")
}

// A compaction closes a table that it has read to its end before it finishes its own.
func TestATableThatWasClosedIsCompared(t *testing.T) {
	file, known, tables := readTable(t)
	_, err := file.WriteAt([]byte("other"), footerLen)
	require.NoError(t, err)
	require.NoError(t, known.Close())
	require.ErrorIs(t, tables.compare(), pebble.ErrCorruption)
	require.NoError(t, tables.compare(), "said once")
}

func TestATableIsComparedAfterEachRead(t *testing.T) {
	file, known, tables := readTable(t)
	require.NoError(t, tables.compare())
	compared := false
	file.onRead = func() { compared = true }
	require.NoError(t, tables.compare())
	require.False(t, compared, "it was not read since")
	_, err := known.ReadAt(make([]byte, 1), 0)
	require.NoError(t, err)
	compared = false
	require.NoError(t, tables.compare())
	require.True(t, compared)
	require.NoError(t, known.Close())
}
