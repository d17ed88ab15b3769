package store

import (
	"context"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

// TestABackupIsOnRecordAsSoonAsItIsOpened is about a backup that takes the place of the store. Until its
// first fsync the record said that nothing is on disk, so Salvage took the end of a WAL for damage.
func TestABackupIsOnRecordAsSoonAsItIsOpened(t *testing.T) {
	fs := vfs.NewMem()
	s, err := Open(Options{FS: fs, Dir: "data"})
	require.NoError(t, err)
	set := OpFunc(func(t *Turn) error {
		t.Set([]byte{byte(KindApp), 'k'}, []byte("v"))
		return nil
	})
	require.NoError(t, s.Do(context.Background(), set, Sync))
	require.NoError(t, s.Checkpoint(context.Background(), "copy"))
	require.NoError(t, s.Close())

	s, err = Open(Options{FS: fs, Dir: "copy"})
	require.NoError(t, err)
	p, err := readRecord(fs, "copy")
	require.NoError(t, err)
	require.NotZero(t, p.seq)
	require.Equal(t, s.marks.newest, p.seq)
	require.NoError(t, s.Close())
}
